"""Evaluate the model after each epoch: gain and forgetting during training, and significant differences of epochs.

    tunediff checkpoints
    tunediff checkpoints --cases 500 --json

Run it after a pipeline with train.keep: all. The models of all epochs answer every test set, or --cases of each, spread
evenly; the answers of the base are those of the pipeline. Each epoch is compared with the base and with the other
epochs, by exact tests adjusted over all pairs (Holm 1979). Writes metrics/checkpoints.json, which the report shows
after dvc repro --single-item --force report. An epoch that is selected by these figures must be measured on another
test set. Bad input ends with one line and exit code 1.
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tunediff.commands.agreement import spread
from tunediff.commands.controls import held_answers, keep, with_sources
from tunediff.commands.project import confidence_of_run, read_project
from tunediff.commands.table import change_lines
from tunediff.compare.epochs import compare_epochs
from tunediff.engines import open_engine
from tunediff.report.controls_and_epochs import epoch_sentences
from tunediff.runtime.errors import TunediffError

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff checkpoints`."""
    parser.add_argument("--cases", type=int, metavar="N", help="cases of each test set (all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff checkpoints`.

    Raises:
        TunediffError: an argument is invalid, or the models after each epoch are missing.
    """
    from tunediff.models.tuned import kept_epochs

    if args.cases is not None and args.cases < 1:
        raise TunediffError(f"--cases: found {args.cases}, expected a number of at least 1")
    first = read_project()
    epochs = kept_epochs(first.tuned)
    if not epochs:
        raise TunediffError(
            f"{first.tuned}: found no models of single epochs, expected those of a run with train.keep: all"
        )
    projects = [read_project(name) for name in first.settings.sets]
    cases = {one.set_name: spread(one.cases(), args.cases or len(one.cases())) for one in projects}
    answers: dict[str, dict[int, pd.DataFrame]] = {name: {} for name in cases}
    for number, folder in epochs.items():
        engine = open_engine(first.settings, first.base).tuned(folder)
        for one in projects:
            evaluated = cases[one.set_name]
            frame = one.ask(engine, evaluated, f"epoch {number}, {one.set_name}")
            answers[one.set_name][number] = with_sources(frame, one, evaluated)
    confidence = confidence_of_run()
    sets = {
        one.set_name: compare_epochs(
            held_answers(one, cases[one.set_name]), answers[one.set_name], one.task.words.measure, confidence
        )
        for one in projects
    }
    tables = (line for name, found in sets.items() for line in lines(name, found))
    keep("checkpoints", {"confidence": confidence, "sets": sets}, tables, args.json)


def lines(name: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table of the epochs on a test set, for a terminal."""
    yield f"{name}: {found['n']:,} cases"
    yield from change_lines("epoch", found["measure"], found["epochs"])
    yield from epoch_sentences(found)
    yield ""
