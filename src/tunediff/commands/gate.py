"""Check the last result of the pipeline against promises: pass (exit code 0), fail (3) or inconclusive (4).

    tunediff gate --max-negative-flip-rate 0.05 --non-inferiority-margin 0.02
    tunediff gate --non-inferiority-margin 0.05 --slice "label: neutral" --slice "negation: in hypothesis"
    tunediff gate --min-gain-over-baseline 0.1 --max-forgotten-rate 0.03
    tunediff gate --sequential --non-inferiority-margin 0.02

A promise passes if the whole interval keeps it, and fails if the whole interval breaks it. Otherwise there are too few
cases, and it is inconclusive; the number of cases that would be enough at these rates is printed. A slice is one of
data/cases.jsonl or a gold label; --max-forgotten-rate applies to each other test set (`also`). --sequential checks
after every case, in order, and stops at the first conclusive look, by a test that is valid for any number of looks; its
default margin is 0. Reads the outputs of the stages and runs nothing; `dvc status` tells whether they are up to date.
Bad input ends with one line and exit code 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tunediff.commands.revisions import GAIN, folder_files, set_changes
from tunediff.commands.runs import PIPELINE, read_numbers, stage_path
from tunediff.compare.effects.transitions import TRANSITIONS, changes
from tunediff.compare.verdict import Evaluated, Gain, Judged, Promises, judge, judged_line, overall, verdict_text
from tunediff.config.settings import DiffSettings, read_settings
from tunediff.inputs.settings import HEADLINE
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import numbered_jsonl, shown
from tunediff.stats.discordance import Flags
from tunediff.tasks import task_of

GATE_CLOSED, INCONCLUSIVE = 3, 4


def add_promises(parser: argparse.ArgumentParser) -> None:
    """Add the options for promises about any two models."""
    parser.add_argument(
        "--max-negative-flip-rate",
        type=float,
        metavar="X",
        help="maximum share of cases that break, in 0..1",
    )
    parser.add_argument(
        "--non-inferiority-margin", type=float, metavar="M", help="the difference must be above minus this, in 0..1"
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="NAME",
        help="apply the margin to these cases too, such as 'label: yes'",
    )
    parser.add_argument(
        "--sequential", action="store_true", help="check after every case and stop at the first conclusive look"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff gate`."""
    add_promises(parser)
    parser.add_argument(
        "--max-forgotten-rate",
        type=float,
        metavar="X",
        help="maximum share of cases that break on each other test set, in 0..1",
    )
    parser.add_argument(
        "--min-gain-over-baseline",
        type=float,
        metavar="G",
        help="minimum gain of the tuned model over the best trivial baseline, in 0..1",
    )


def main(args: argparse.Namespace) -> None:
    """Run `tunediff gate`, which exits with the code of the verdict.

    Raises:
        TunediffError: there is no promise, an argument is invalid, or an output of the stage is missing.
    """
    wanted = promises(args)
    if wanted == Promises():
        options = ", ".join(f"--{name.replace('_', '-')}" for name in Promises._fields)
        raise TunediffError(f"gate: found no promise, expected one of {options}")
    settings = read_settings(stage_path("diff_cases", "settings"), DiffSettings)
    confidence = settings.diff.confidence
    cells, labels, slices, sources = _cases(
        stage_path("diff_cases", "cases"), task_of(settings.sets[HEADLINE]).source_input
    )
    inside = {name: np.array([name in one for one in slices]) for name in args.slice if not name.startswith("label: ")}
    _not_empty(inside, {name for one in slices for name in one})
    inside = of_labels([name for name in args.slice if name not in inside], labels) | inside
    gain = None
    if wanted.min_gain_over_baseline is not None:
        metrics = read_numbers(stage_path("diff_cases", "metrics"), GAIN)
        gain = Gain(*(float(metrics[name]) for name in GAIN))
    others = {} if wanted.max_forgotten_rate is None else _other_sets(settings)
    judged = judge(wanted, changes(cells), sources, inside, confidence, gain, others, args.sequential)
    end_with(judged, confidence)


def promises(args: argparse.Namespace) -> Promises:
    """Return the promises given by the arguments.

    Raises:
        TunediffError: a value is outside of 0..1, or a slice is named without a margin.
    """
    wanted = Promises(**{name: getattr(args, name, None) for name in Promises._fields})
    for name, value in wanted._asdict().items():
        if value is not None and not 0 <= value <= 1:
            raise TunediffError(f"--{name.replace('_', '-')}: found {value}, expected a share in 0..1")
    if args.sequential and wanted.min_gain_over_baseline is not None:
        raise TunediffError(
            "--sequential: found --min-gain-over-baseline, whose interval is valid for one look only; "
            "expected one without the other"
        )
    if args.sequential and wanted == Promises():
        wanted = wanted._replace(non_inferiority_margin=0.0)
    if args.slice and wanted.non_inferiority_margin is None:
        raise TunediffError("--slice: found without --non-inferiority-margin, expected both")
    return wanted


def of_labels(names: Sequence[str], labels: pd.Series) -> dict[str, Flags]:
    """Return the members of the slices of gold labels, given as "label: NAME".

    Raises:
        TunediffError: a slice has no case.
    """
    texts = labels.astype(str)
    inside: dict[str, Flags] = {name: (texts == name.removeprefix("label: ")).to_numpy() for name in names}
    _not_empty(inside, {f"label: {text}" for text in labels.dropna().astype(str).unique()})
    return inside


def end_with(judged: Sequence[Judged], confidence: float) -> None:
    """Print the verdict, if there is one, and exit with its code; failed promises go to standard error, too."""
    if not judged:
        return
    print(verdict_text(judged, confidence))
    verdict = overall(judged)
    if verdict == "pass":
        return
    sys.stdout.flush()
    for one in judged:
        if one.verdict != "pass":
            print(f"tunediff: {judged_line(one, confidence)}", file=sys.stderr)
    sys.exit(GATE_CLOSED if verdict == "fail" else INCONCLUSIVE)


def _not_empty(inside: dict[str, Flags], known: set[str]) -> None:
    for name, flags in inside.items():
        if not flags.any():
            available = ", ".join(sorted(known)[:20]) or "none"
            raise TunediffError(f"--slice: found {shown(name)}, which has no cases; expected one of {available}")


def _cases(path: Path, source: str) -> tuple[pd.Series, pd.Series, list[set[str]], pd.Series]:
    """The transition, gold label, slices and source text of each case."""
    rows = []
    for number, row in numbered_jsonl(path):
        for name in ("transition", "label", source):
            if not isinstance(row.get(name), str):
                raise TunediffError(f"{path}, row {number}: {name}: found {shown(row.get(name))}, expected text")
        if row["transition"] not in TRANSITIONS or not isinstance(row.get("slices"), list):
            raise TunediffError(f"{path}, row {number}: found no case of the stage diff_cases (dvc repro)")
        rows.append((row["transition"], row["label"], set(map(str, row["slices"])), row[source]))
    if not rows:
        raise TunediffError(f"{path}: has no case, expected at least one (dvc repro)")
    cells, labels, slices, sources = zip(*rows, strict=True)
    return pd.Series(cells), pd.Series(labels), list(slices), pd.Series(sources)


def _other_sets(settings: DiffSettings) -> dict[str, Evaluated]:
    """The changes on each other test set.

    Raises:
        TunediffError: there is none, or predictions are missing.
    """
    others = {name: task_of(section).source_input for name, section in settings.sets.items() if name != HEADLINE}
    if not others:
        raise TunediffError("--max-forgotten-rate: found no other test set (also), expected at least one")
    files = folder_files(Path())
    return {name: set_changes("gate", files, PIPELINE, name, source) for name, source in others.items()}
