"""Fine-tune the base model on the training split, or pin a tuned model that was trained elsewhere.

    python stages/train.py --settings data/settings/train.json --train data/splits/train.jsonl \
        --validation data/splits/validation.jsonl --base models/base --features data/features.safetensors \
        --tuned models/tuned --log data/train_log.csv --loss metrics/loss.json --metrics metrics/train.json \
        --environment metrics/environment/train.json --cost metrics/cost/train.json
"""

import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial

from tunediff.config.adapt import LORA
from tunediff.config.settings import TrainSettings, read_machine, read_settings
from tunediff.data.cases import read_cases
from tunediff.models.adapt import adapt_model
from tunediff.models.dequantized import keep_dequantized
from tunediff.models.environment import environment
from tunediff.models.load import load_base
from tunediff.models.sources import CONFIG, FINDERS
from tunediff.models.tuned import check_tuned, pin_tuned, save_tuned, with_trained
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import read_json, replacing, write_csv, write_json
from tunediff.runtime.processes import all_gather, is_main_process, launched
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import arguments
from tunediff.training.features import read_features
from tunediff.training.finetune import finetune, save_epochs
from tunediff.training.live_loss import LOSS, live_loss
from tunediff.training.loop import chosen_epoch
from tunediff.training.targets import parity, row_case_ids, training_rows


def main() -> None:
    args = arguments(
        __doc__,
        reads=("settings", "train", "validation", "base", "features"),
        writes=("tuned", "log", "loss", "metrics", "environment", "cost"),
    )
    settings, machine = read_settings(args.settings, TrainSettings), read_machine(args.settings)
    model, prompt, adapt = settings.model, settings.prompt, settings.adapt
    if adapt is None or settings.train is None:
        pin(args, settings)
        return
    run_here = {"logging_steps": machine.logging_steps, "save_total_limit": machine.save_total_limit}
    train = settings.train.model_copy(update=run_here)
    if launched(train.num_processes, args.train, args.validation, args.base, args.features):
        return
    scratch = scratch_folder("train", settings.model_dump(), args.train, args.validation, args.base)
    with measured(args.cost, scratch, all_gather) as note_cost:
        cases = [read_cases(path, settings.inputs, settings.labels) for path in (args.train, args.validation)]
        loaded = load_base(args.base, model, settings.labels)
        if machine.engine.get("keep_dequantized") == "auto":
            keep_dequantized(loaded.model)
        loaded = replace(loaded, model=adapt_model(loaded.model, adapt, train.seed))
        rows = [training_rows(loaded, split, settings.labels, prompt, model.head) for split in cases]
        proofs = [
            parity(loaded, split, settings.labels, prompt, split_rows)
            for split, split_rows in zip(cases, rows, strict=True)
        ]
        proof = {key: sum(counts[key] for counts in proofs) for key in proofs[0]}
        case_ids = partial(row_case_ids, loaded, cases[0], settings.labels, prompt, model.head)
        features = read_features(args.features)
        live = live_loss(args.loss)
        log = finetune(loaded, rows[0], rows[1], train, scratch, model.head, note_cost, case_ids, features, live)
        if not is_main_process():
            return
        with replacing(args.tuned) as folder:
            save_tuned(loaded.model, adapt, folder)
            if train.keep == "all":
                save_epochs(loaded.model, adapt, log, train, scratch, folder)
        chosen = chosen_epoch(log, train)
        losses = {key: chosen[key] for key in ("train_loss", "validation_loss")}
        write_csv(args.log, log)
        write_json(args.loss, {key: chosen[key] for key in LOSS})
        write_json(args.metrics, {"epochs": len(log), "steps": log[-1]["step"], **losses, **proof})
        found = with_trained(loaded, loaded.model, adapter=adapt.method in LORA).found
        write_json(args.environment, {**environment(loaded.model), "model": found})
        weights = sum(value.numel() for value in loaded.model.parameters() if value.requires_grad)
        print(f"train: {weights:,} weights on {len(cases[0]):,} cases, {len(log)} epochs, {log[-1]['step']:,} steps")
        if proof:
            print(
                f"  parity: in {proof['parity_equal']:,} of {proof['parity_cases']:,} cases the training sequence "
                "is, token for token, the evaluation prompt, the answer and the end of the turn"
            )
        for row in log:
            kept = "  <- kept" if row is chosen else ""
            print(
                f"  epoch {row['epoch']}: training loss {row['train_loss']:.4f}, "
                f"validation loss {row['validation_loss']:.4f}{kept}"
            )
        mark_done(scratch)


def pin(args: Namespace, settings: TrainSettings) -> None:
    """Pin a tuned model that was trained elsewhere; the log and the metrics of its training are empty."""
    tuned = settings.tuned
    with measured(args.cost):
        with replacing(args.tuned) as folder:
            pin_tuned(tuned, folder)
            config = read_json(args.base / CONFIG)
            if tuned.source in FINDERS and (unusual := check_tuned(tuned, config, settings.model, settings.labels)):
                print(f"train: {unusual}", file=sys.stderr)
        write_csv(args.log, [], LOSS)
        for path in (args.loss, args.metrics, args.environment):
            write_json(path, {})
        print(f"train: skipped; the tuned model is {tuned.id or 'another'}, from source {tuned.source}")


if __name__ == "__main__":
    run(main)
