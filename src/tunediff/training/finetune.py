"""Fine-tune a model on training rows in the training loop.

rows = training_rows(loaded, cases, labels, prompt, "lm")
log = finetune(loaded, rows, validation_rows, train, scratch, "lm")      # the model is trained in place
log[-1]                                  # {"epoch": 3, "step": 750, "train_loss": 0.31, "validation_loss": 0.35}
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from tunediff.config.adapt import Adapt
from tunediff.config.train import Train
from tunediff.models.adapt import disable_dropout, gather_trained, load_trained
from tunediff.models.load import Loaded, Network
from tunediff.models.logits import batch_kinds
from tunediff.models.tuned import epoch_folder, save_tuned
from tunediff.runtime.processes import make_shared_folder, rank_and_size
from tunediff.training.batches import split_rows
from tunediff.training.features import Features, frozen_base
from tunediff.training.loop import Loop, Objective, chosen_epoch
from tunediff.training.loss import without_beginning
from tunediff.training.targets import TARGETS


def finetune(
    loaded: Loaded,
    train_rows: Sequence[Any],
    validation_rows: Sequence[Any],
    train: Train,
    scratch: Path,
    head: str,
    saved: Callable[[], None] = lambda: None,
    case_ids: Callable[[], Sequence[str]] | None = None,
    features: Features | None = None,
    log: Callable[[Mapping[str, float]], None] = lambda entry: None,  # noqa: ARG005
) -> list[dict[str, float]]:
    """Train the weights of `loaded.model` that require a gradient, in place.

    Args:
        loaded: the model, from `adapt_model`.
        train_rows: rows of `targets.training_rows`.
        validation_rows: the same for the validation split, for the validation loss after each epoch.
        train: the section train.
        scratch: folder for a checkpoint per epoch, shared by all processes; training resumes from the latest complete
            one.
        head: the model's head.
        saved: called after each checkpoint, in each process.
        case_ids: returns the case of each training row, to name the cases of a failed step.
        features: cached hidden states of a frozen base; without them the base runs in every epoch.
        log: called with the loss of the last steps, and after each epoch; see `Loop`.

    Returns:
        A row per epoch: epoch, step, train_loss (mean over the epoch) and validation_loss in nats per target, and the
        head's `Target.figures` on the validation split.

    Raises:
        TunediffError: the loss is not finite or has exploded, there is not enough memory for one row, or the optimizer
            needs a GPU and there is none.
    """
    target, model = TARGETS[head], loaded.model
    if train.disable_dropout:
        disable_dropout(model)
    loss = target.loss
    if target.after_prompt:
        beginning: list[int] = []
        if not train.prompt_loss_weight:
            beginning, (train_rows, validation_rows) = without_beginning(model.config, [train_rows, validation_rows])
        loss = partial(loss, prompt_weight=train.prompt_loss_weight, beginning=beginning)
    make_shared_folder(scratch)
    with frozen_base(loaded, [row for row, _ in chain(train_rows, validation_rows)], head, features or {}):
        collate = partial(target.batch, pad=loaded.pad)
        loop = Loop(
            model,
            Objective(collate, loss, target.length),
            train_rows,
            train,
            train.num_train_epochs,
            scratch,
            "train",
            model.config.dtype,
            case_ids,
            log,
        )
        size = 2 * train.per_device_train_batch_size
        kinds = batch_kinds(model.config, list(map(target.length, validation_rows)))
        batches = split_rows(range(len(validation_rows)), size, kinds)
        # Each forward pass of a sharded model needs all processes, so all of them measure all batches.
        number, processes = rank_and_size() if train.fsdp is None else (0, 1)
        measured: Any = validation_rows
        validation: Any = DataLoader(measured, batch_sampler=batches[number::processes], collate_fn=collate)
        rows = loop.run(validation, target.figures, saved)
    gather_trained(model)
    return [row | {"epoch": round(row["epoch"])} for row in rows]


def save_epochs(
    model: Network, adapt: Adapt, log: Sequence[dict[str, float]], train: Train, scratch: Path, folder: Path
) -> None:
    """Write the tuned model after each epoch to subfolders, and load the weights of the chosen epoch again.

    Args:
        model: the model that `finetune` trained.
        adapt: the section adapt.
        log: the result of `finetune`.
        train: the section train.
        scratch: folder of the checkpoints, one per epoch.
        folder: folder of the tuned model.
    """
    for row in log:
        load_trained(model, scratch / f"checkpoint-{row['step']}")
        save_tuned(model, adapt, epoch_folder(folder, int(row["epoch"])))
    load_trained(model, scratch / f"checkpoint-{chosen_epoch(log, train)['step']}")
