"""Every causal layout of transformers a few units wide, asked and trained as the pipeline does it, and by hand.

    python -m tests.layout_trials llama qwen2        # a line of JSON per layout

By hand means: one row at a time, without padding, without a cache, and with nothing but the model's own forward pass.
`tests/test_every_layout.py` runs all layouts, in processes of their own, and writes benchmarks/results/layouts.json.
"""

import contextlib
import io
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tests.tiny import adapt_section, load, small_tokenizer, train_section
from tests.tiny_layouts import small_layout
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generate import generate
from tunediff.models.adapt import adapt_model
from tunediff.models.load import Loaded, load_model
from tunediff.models.merge import merge_adapter, save_merged
from tunediff.models.sources import CONFIG
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json
from tunediff.training.finetune import finetune
from tunediff.training.loss import answer_loss, answer_rows, pad_answers, without_beginning

TOKENIZER = small_tokenizer()
# Nats that a sum of a few log-probabilities may be off by rounding, in float32 and with logits of a few units.
ROUNDING = 2e-3
# Behind an instruction that all share: of like and of other lengths, some within and some beyond the small windows.
INSTRUCTION = list(range(100, 109))
PROMPTS = [[1, *INSTRUCTION, *range(20 + i, 20 + i + n)] for i, n in enumerate((1, 2, 2, 9, 17))]
PROMPTS += [[1, *range(150 + 10 * i, 150 + 10 * i + n)] for i, n in enumerate((2, 7))]
CHOICES = [[40, 41], [42], [40, 43, 44, 45]]
WRITTEN = 5


def trial(name: str, folder: Path) -> dict[str, Any]:
    """What comes of a layout: built, refused, or how far each way of asking is from doing it by hand.

    Returns:
        layout, and one of: unbuilt, the reason; refused, our line; or the outcome of each step by its name: `agrees`,
        refused: LINE, or differs: HOW.
    """
    try:
        model: Any = small_layout(name)
        logits_by_hand(model, PROMPTS[0])
        with quiet():
            model.save_pretrained(folder / "model")
    except Exception as error:  # each layout says in its own way that it cannot be made or run
        return {"layout": name, "unbuilt": f"{type(error).__name__}: {one_line(error)}"[:300]}
    TOKENIZER.save_pretrained(folder / "model")
    found: dict[str, Any] = {"layout": name, "class": type(model).__name__}
    try:
        loaded = base(folder)
    except TunediffError as error:
        return found | {"refused": said(error, folder)}
    steps: dict[str, Callable[[], str]] = {
        "scores": lambda: scores(loaded.model),
        "texts": lambda: texts(loaded.model),
        "loss": lambda: loss(loaded),
        "lora": lambda: trained(folder, "lora", "none"),
        "qlora": lambda: trained(folder, "qlora", "nf4"),
    }
    for step, run in steps.items():
        with quiet() as output:
            try:
                found[step] = run()
            except TunediffError as error:
                found[step] = f"refused: {said(error, folder)}"
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                found[step] = f"crashes: {type(error).__name__}: {one_line(error)} ({Path(place.filename).name})"[:300]
        for line in output.getvalue().splitlines():
            if "does not support prefix trees" in line:
                found["tree"] = False
            elif " at a time" in line:
                found["batches"] = line.partition(" generates ")[2]
    return found


def base(folder: Path, **keys: Any) -> Loaded:
    """The layout as the pipeline loads it."""
    with quiet():
        return load(folder / f"base-{keys.get('quantization', 'none')}", folder / "model", **keys)


@contextlib.contextmanager
def quiet() -> Any:
    """What is said meanwhile, on both streams."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        yield output


def said(error: Exception, folder: Path) -> str:
    """Our line, without the place of the trial."""
    return str(error).replace(f"{folder}/", "")


@torch.no_grad()
def logits_by_hand(model: Any, tokens: list[int]) -> torch.Tensor:
    """Logits of a row alone, of shape (n_tokens, vocabulary), float64."""
    logits: torch.Tensor = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double()
    return logits


def scores_by_hand(model: Any) -> torch.Tensor:
    """Log-likelihood of each choice behind each prompt, one row a choice."""
    table = torch.zeros(len(PROMPTS), len(CHOICES), dtype=torch.float64)
    for i, prompt in enumerate(PROMPTS):
        for j, choice in enumerate(CHOICES):
            log_probs = logits_by_hand(model, prompt + choice).log_softmax(-1)
            table[i, j] = sum(log_probs[len(prompt) - 1 + k, token] for k, token in enumerate(choice))
    return table


def asked(model: Any) -> torch.Tensor:
    """The same as the pipeline asks it."""
    return score_choices(model, PROMPTS, [CHOICES] * len(PROMPTS), 4096, "trial")


def scores(model: Any) -> str:
    """Whether choices in a tree, or in a batch, have the scores of one row a choice."""
    return close(asked(model), scores_by_hand(model), "nats")


def texts(model: Any) -> str:
    """Whether prompts that are written in batches get the texts that they get alone, without a cache."""
    written = generate(model, TOKENIZER, PROMPTS, 4096, WRITTEN, "trial")
    wrong = 0
    for prompt, found in zip(PROMPTS, written, strict=True):
        row, tied = list(prompt), False
        for _ in range(WRITTEN):
            last = logits_by_hand(model, row)[-1]
            best = last.topk(2).values
            tied = tied or bool(best[0] - best[1] < ROUNDING)
            row.append(int(last.argmax()))
            if row[-1] == TOKENIZER.eos_token_id:
                break
        text = TOKENIZER.decode(row[len(prompt) :], skip_special_tokens=False).removesuffix(TOKENIZER.eos_token)
        wrong += text != found.text and not tied
    return f"differs: {wrong} of {len(PROMPTS)} texts" if wrong else "agrees"


def training_split() -> list[tuple[list[int], int]]:
    """Rows of a prompt with one of the choices as its answer."""
    answers = [CHOICES[i % len(CHOICES)] for i in range(len(PROMPTS))]
    return answer_rows(PROMPTS, answers, TOKENIZER.eos_token_id)


def loss(loaded: Loaded) -> str:
    """Whether the loss of a batch is that of its rows alone, with the prompts' tokens at a weight and without."""
    rows, model = training_split(), loaded.model
    answers, prompts = 0.0, 0.0
    for tokens, targets in rows:
        logits, labels = logits_by_hand(model, tokens)[:-1], torch.tensor(tokens[1:])
        nats = cross_entropy(logits, labels, reduction="none")
        answers, prompts = answers + float(nats[-targets:].sum()), prompts + float(nats[:-targets].sum())
    weighed = float(answer_loss(model, pad_answers(rows, loaded.pad), 0.5).minimized)
    beginning, [rest] = without_beginning(model.config, [rows])
    plain = float(answer_loss(model, pad_answers(rest, loaded.pad), beginning=beginning).answers)
    found = torch.tensor([plain, weighed])
    return close(found / len(rows), torch.tensor([answers, answers + 0.5 * prompts]) / len(rows), "nats per row")


def trained(folder: Path, method: str, quantization: str) -> str:
    """Whether an adapter learns, answers when loaded again as when it was saved, and merges into the same answers."""
    place, adapt = folder / method, adapt_section(method)
    loaded = base(folder, quantization=quantization)
    if (found := scores(loaded.model)) != "agrees":
        return f"{found}, before training"
    untrained = asked(loaded.model)
    loaded = replace(loaded, model=adapt_model(loaded.model, adapt, seed=0))
    rows = training_split()
    train = train_section(num_train_epochs=1, per_device_train_batch_size=4, learning_rate=0.05)
    finetune(loaded, rows, rows, train, place / "scratch", "lm")
    model = loaded.model.eval()
    still = [name for name, value in model.named_parameters() if "lora_B" in name and not value.any()]
    adapters = sum("lora_B" in name for name, _ in model.named_parameters())
    if (found := scores(model)) != "agrees":
        return f"{found}, after training"
    expected = asked(model)
    if (expected - untrained).abs().max() < ROUNDING:
        return "differs: training changed nothing"
    save_tuned(model, adapt, place / "tuned")
    del loaded, model
    again = load_tuned(base(folder, quantization=quantization), place / "tuned").model
    if (found := close(asked(again), expected, "nats")) != "agrees":
        return f"{found}, loaded again"
    beside = load_tuned(base(folder), place / "tuned")
    expected = asked(beside.model)
    merged = merge_adapter(beside.model)
    with quiet():
        save_merged(replace(beside, model=merged), place / "merged")
        section = beside.section.model_copy(update={"id": str(place / "merged")})
        alone = load_model(place / "merged", read_json(place / "merged" / CONFIG), section, beside.labels).model
    if (found := close(asked(alone), expected, "nats")) != "agrees":
        return f"{found}, merged"
    return f"agrees, {len(still)} of {adapters} adapted layers learned nothing" if still else "agrees"


def close(found: torch.Tensor, expected: torch.Tensor, unit: str) -> str:
    """`agrees`, or by how much two tables differ at most."""
    off = float((found - expected).abs().max())
    return "agrees" if off <= ROUNDING else f"differs: by {off:.2g} {unit}"


if __name__ == "__main__":
    for layout in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary:
            print(json.dumps(trial(layout, Path(temporary))), flush=True)
