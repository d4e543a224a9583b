"""Fine-tune the base model on the training split; the validation split may choose the epoch.

    python stages/train.py --train data/splits/train.jsonl --validation data/splits/validation.jsonl \
        --base models/base --features data/features.safetensors --tuned models/tuned --log data/train_log.csv \
        --metrics metrics/train.json --environment metrics/environment/train.json --cost metrics/cost/train.json
"""

from argparse import Namespace
from dataclasses import replace
from functools import partial

from tunediff.config.params import read_params
from tunediff.config.tuned import Tuned
from tunediff.data.cases import read_cases
from tunediff.models.adapt import adapt_model
from tunediff.models.environment import environment
from tunediff.models.load import load_base
from tunediff.models.tuned import pin_tuned, save_tuned
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_csv, write_json
from tunediff.runtime.processes import first, gathered, launched
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import PARAMS, arguments
from tunediff.training.features import read_features
from tunediff.training.finetune import chosen_epoch, finetune, row_case_ids, training_rows

# A model that was not trained here has the header alone.
LOG = ("epoch", "step", "train_loss", "validation_loss")


def main() -> None:
    args = arguments(
        __doc__,
        reads=("train", "validation", "base", "features"),
        writes=("tuned", "log", "metrics", "environment", "cost"),
    )
    params = read_params(PARAMS)
    task, prompt, train = params.task, params.prompt, params.train
    if params.tuned.source != "train":
        pin(args, params.tuned)
        return
    if launched(train.num_processes, args.train, args.validation, args.base, args.features):
        return
    sections = [task, prompt, params.model, params.adapt, train]
    scratch = scratch_folder(
        "train", [section.model_dump() for section in sections], args.train, args.validation, args.base
    )
    with measured(args.cost, scratch, gathered) as note_cost:
        cases = [read_cases(path, task.inputs, task.labels) for path in (args.train, args.validation)]
        loaded = load_base(args.base, params.model, task.labels)
        loaded = replace(loaded, model=adapt_model(loaded.model, params.adapt, train.seed))
        rows = [training_rows(loaded, split, task, prompt, params.model.head) for split in cases]
        case_ids = partial(row_case_ids, loaded, cases[0], prompt, params.model.head)
        features = read_features(args.features)
        log = finetune(loaded, rows[0], rows[1], train, scratch, params.model.head, note_cost, case_ids, features)
        if not first():
            return
        with replacing(args.tuned) as folder:
            save_tuned(loaded.model, params.adapt, folder)
        chosen = chosen_epoch(log, train)
        losses = {key: chosen[key] for key in ("train_loss", "validation_loss")}
        write_csv(args.log, log)
        write_json(args.metrics, {"epochs": len(log), "steps": log[-1]["step"], **losses})
        write_json(args.environment, environment(loaded.model))
        weights = sum(value.numel() for value in loaded.model.parameters() if value.requires_grad)
        print(f"train: {weights:,} weights on {len(cases[0]):,} cases, {len(log)} epochs, {log[-1]['step']:,} steps")
        for row in log:
            kept = "  <- kept" if row is chosen else ""
            print(
                f"  epoch {row['epoch']}: training loss {row['train_loss']:.4f}, "
                f"validation loss {row['validation_loss']:.4f}{kept}"
            )
        mark_done(scratch)


def pin(args: Namespace, tuned: Tuned) -> None:
    """Write down which tuned model it is, in place of training one; of its training nothing is known."""
    with measured(args.cost):
        with replacing(args.tuned) as folder:
            pin_tuned(tuned, folder)
        write_csv(args.log, [], LOG)
        for path in (args.metrics, args.environment):
            write_json(path, {})
        print(f"train: nothing; the tuned model comes from source {tuned.source}")


if __name__ == "__main__":
    run(main)
