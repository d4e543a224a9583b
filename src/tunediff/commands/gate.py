"""Hold the last result of the pipeline against promises: pass (exit code 0), fail (3) or inconclusive (4).

    tunediff gate --max-negative-flip-rate 0.05 --non-inferiority-margin 0.02
    tunediff gate --non-inferiority-margin 0.05 --slice "label: neutral" --slice "negation: in hypothesis"
    tunediff gate --min-gain-over-baseline 0.1 --max-forgotten-rate 0.03
    tunediff gate --sequential --non-inferiority-margin 0.02

A promise passes where its whole interval keeps it and fails where none of the interval does. Where the interval holds
both, too few cases were asked to tell: inconclusive, with the number that would do at these rates. A slice is one of
data/cases.jsonl or a gold label; what may be forgotten is promised of each other test set (`also`). --sequential looks
after every case, in their order, and stops at the first look that tells, by a test that allows for so many looks; by
itself it promises a margin of 0. Reads what the stages wrote and runs nothing; `dvc status` says whether that is up to
date. Bad input: one line and exit code 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tunediff.commands.revisions import HEADLINE, folder_files, set_changes
from tunediff.commands.runs import PIPELINE, stage_path
from tunediff.compare.effects.transitions import TRANSITIONS, changes
from tunediff.compare.verdict import Asked, Flags, Gain, Judged, Wanted, judge, judged_line, overall, verdict_text
from tunediff.config.settings import DiffSettings, read_settings
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import numbered_jsonl, read_json, shown
from tunediff.tasks import task_of

GATE_CLOSED, INCONCLUSIVE = 3, 4
PROMISES = ("max_negative_flip_rate", "non_inferiority_margin", "max_forgotten_rate", "min_gain_over_baseline")
GAIN = ("gain_over_baseline", "gain_over_baseline_low", "gain_over_baseline_high")


def add_promises(parser: argparse.ArgumentParser) -> None:
    """Add what may be promised of any two models."""
    parser.add_argument(
        "--max-negative-flip-rate",
        type=float,
        metavar="X",
        help="the share of all cases that break is at most this, in 0..1",
    )
    parser.add_argument(
        "--non-inferiority-margin", type=float, metavar="M", help="the difference is above minus this, in 0..1"
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="NAME",
        help="apply the margin to these cases as well: 'label: yes'",
    )
    parser.add_argument(
        "--sequential", action="store_true", help="look after every case and stop at the first conclusive look"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff gate`."""
    add_promises(parser)
    parser.add_argument(
        "--max-forgotten-rate",
        type=float,
        metavar="X",
        help="the share of cases of each other test set that break is at most this, in 0..1",
    )
    parser.add_argument(
        "--min-gain-over-baseline",
        type=float,
        metavar="G",
        help="the tuned model's gain over the best trivial baseline is at least this, in 0..1",
    )


def main(args: argparse.Namespace) -> None:
    """Run `tunediff gate`; it ends with the exit code of the verdict.

    Raises:
        TunediffError: nothing is promised, an argument is at fault, or what the stage wrote is not there.
    """
    wanted = promises(args)
    if wanted == Wanted():
        options = ", ".join(f"--{name.replace('_', '-')}" for name in PROMISES)
        raise TunediffError(f"gate: found no promise, expected one of {options}")
    settings = read_settings(stage_path("diff_cases", "settings"), DiffSettings)
    confidence = settings.diff.confidence
    cells, labels, slices, sources = _cases(
        stage_path("diff_cases", "cases"), task_of(settings.sets[HEADLINE]).source_input
    )
    inside = {name: np.array([name in one for one in slices]) for name in args.slice if not name.startswith("label: ")}
    _not_empty(inside, {name for one in slices for name in one})
    inside = of_labels([name for name in args.slice if name not in inside], labels) | inside
    gain = None if wanted.min_gain_over_baseline is None else _gain(stage_path("diff_cases", "metrics"))
    others = {} if wanted.max_forgotten_rate is None else _other_sets(settings)
    judged = judge(wanted, changes(cells), sources, inside, confidence, gain, others, args.sequential)
    end_with(judged, confidence)


def promises(args: argparse.Namespace) -> Wanted:
    """What the arguments promise.

    Raises:
        TunediffError: one is outside of 0..1, or a slice is named without a margin.
    """
    wanted = Wanted(**{name: getattr(args, name, None) for name in PROMISES})
    for name, value in zip(PROMISES, wanted, strict=True):
        if value is not None and not 0 <= value <= 1:
            raise TunediffError(f"--{name.replace('_', '-')}: found {value}, expected a share in 0..1")
    if args.sequential and wanted.min_gain_over_baseline is not None:
        raise TunediffError(
            "--sequential: found --min-gain-over-baseline, whose interval is valid for one look only; "
            "expected one without the other"
        )
    if args.sequential and wanted == Wanted():
        wanted = wanted._replace(non_inferiority_margin=0.0)
    if args.slice and wanted.non_inferiority_margin is None:
        raise TunediffError("--slice: found without --non-inferiority-margin, expected both")
    return wanted


def of_labels(names: Sequence[str], labels: pd.Series) -> dict[str, Flags]:
    """Which cases have each of some gold labels, given as "label: NAME".

    Raises:
        TunediffError: no case is in one.
    """
    texts = labels.astype(str)
    inside: dict[str, Flags] = {name: (texts == name.removeprefix("label: ")).to_numpy() for name in names}
    _not_empty(inside, {f"label: {text}" for text in labels.dropna().astype(str).unique()})
    return inside


def end_with(judged: Sequence[Judged], confidence: float) -> None:
    """Say the verdict, where there is one, and end with its exit code; what did not pass on standard error too."""
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
    """Of each case its transition, its gold label, its slices and its source text."""
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


def _other_sets(settings: DiffSettings) -> dict[str, Asked]:
    """What became of the cases of each other test set.

    Raises:
        TunediffError: there is none, or its predictions are not there.
    """
    others = {name: task_of(section).source_input for name, section in settings.sets.items() if name != HEADLINE}
    if not others:
        raise TunediffError("--max-forgotten-rate: found no other test set (also), expected at least one")
    files = folder_files(Path())
    return {name: set_changes("gate", files, PIPELINE, name, source) for name, source in others.items()}


def _gain(path: Path) -> Gain:
    """The gain over the best trivial baseline.

    Raises:
        TunediffError: the file is none of the stage diff_cases.
    """
    metrics = read_json(path)
    found = [metrics.get(name) if isinstance(metrics, dict) else None for name in GAIN]
    for name, value in zip(GAIN, found, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TunediffError(f"{path}: {name}: found {shown(value)}, expected a number (dvc repro)")
    gain, low, high = (float(value) for value in found if value is not None)
    return Gain(gain, low, high)
