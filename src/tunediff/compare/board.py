"""Compare many runs on the same cases: accuracies with intervals, ranks as intervals, and groups of ties.

    board = make_board(runs, base="base", confidence=0.95)
    board.rows[0].accuracy, board.rows[0].groups, (board.rows[0].rank_low, board.rows[0].rank_high)
    board.pairs[0].p_adjusted                   # exact test, adjusted over all pairs (Holm 1979)

Two runs are separated if the adjusted test rejects that they are equally good. No two runs of a group are separated. If
all runs are equally good, the probability that any two are separated is at most one minus the confidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.transitions import change_interval
from tunediff.compare.pairs.align import SharedColumns, check_columns, paired_rows
from tunediff.compare.verdict import Gain
from tunediff.data.cases import RIGHT
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.discordance import Flags, discordance, pair_tests
from tunediff.stats.intervals import wilson
from tunediff.stats.multiple import holm
from tunediff.stats.shares import share_interval
from tunediff.stats.ties import letters, rank_intervals, tie_groups


class Retained(NamedTuple):
    """The change on another test set: n cases, forgotten (right, then not) and gained cases, and the difference."""

    n: int
    forgotten: int
    gained: int
    difference: Gain


@dataclass(frozen=True)
class Answered:
    """A run with its answers to the cases.

    Attributes:
        name: unique among the runs.
        frame: case_id, label, prediction, outcome, prompt_hash, scorer, and if known cluster and confidence (the
            probability of the answer).
        measure: name of the share of right cases, such as "accuracy".
        parameters: parameters of its params.yaml, by dotted name; empty if unknown.
        base: answers of the base model that it was tuned from, if known, in the form of `frame`.
        base_name: the run that these answers belong to, if it is not the base of the board.
        over_baseline: gain over the best trivial baseline.
        retained: changes on other test sets, by name.
        seconds: training time.
    """

    name: str
    frame: pd.DataFrame
    measure: str = "accuracy"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    base: pd.DataFrame | None = None
    base_name: str | None = None
    over_baseline: Gain | None = None
    retained: Mapping[str, Retained] = field(default_factory=dict)
    seconds: float | None = None


class Difference(NamedTuple):
    """The difference of a run to another: gain in -1..1 with its interval, cases, exact p-value, alone and adjusted."""

    gain: float
    low: float
    high: float
    repaired: int
    broken: int
    p: float
    p_adjusted: float


class Row(NamedTuple):
    """A run on the board; shares in 0..1, ranks from 1."""

    name: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    rank_low: int
    rank_high: int
    groups: tuple[str, ...]
    to_base: Difference | None
    to_best: Difference | None
    over_baseline: Gain | None
    retained: Mapping[str, Retained]
    seconds: float | None
    parameters: Mapping[str, Any]  # those that differ between the runs
    on_frontier: bool = False

    @property
    def forgotten(self) -> float | None:
        """The share of cases of all other test sets that were right before and are not after; None if unknown."""
        cases = sum(one.n for one in self.retained.values())
        return sum(one.forgotten for one in self.retained.values()) / cases if cases else None


class Pair(NamedTuple):
    """Two runs, with the cases that only b has right (repaired) and those that only a has right (broken)."""

    a: str
    b: str
    repaired: int
    broken: int
    p: float
    p_adjusted: float
    separated: bool


@dataclass(frozen=True)
class Board:
    """Runs sorted by accuracy, best first, all pairs of runs, and the groups of ties by letter."""

    measure: str
    confidence: float
    rows: Sequence[Row]
    pairs: Sequence[Pair]
    groups: Mapping[str, Sequence[str]]
    base: str | None
    right: Flags  # of shape (n_runs, n_cases), in the order of `rows`
    answers: Sequence[pd.DataFrame]  # of each run, in the order of `rows`; see `Answered.frame`
    clusters: Clusters
    notes: Sequence[str]

    @property
    def n(self) -> int:
        """The number of cases."""
        return int(self.right.shape[1])


def make_board(runs: Sequence[Answered], base: str | None, confidence: float) -> Board:
    """Compare all runs with each other.

    Args:
        runs: at least two.
        base: name of the run that the others are compared with, if any.
        confidence: level of every interval, in 0.5..1; one minus it is the level of the tests over all pairs.

    Raises:
        TunediffError: fewer than two runs, two of the same name, no run with the name of the base, or runs with
            different cases, labels or measures.
    """
    check_names(runs, "board")
    names = [run.name for run in runs]
    if base is not None and base not in names:
        raise TunediffError(f"board: --base: found {base}, expected one of {', '.join(names)}")
    frames, notes = in_common_order(runs)
    right = np.stack([(frame["outcome"] == RIGHT).to_numpy(dtype=bool) for frame in frames])
    order = sorted(range(len(runs)), key=lambda run: (-int(right[run].sum()), runs[run].name))
    runs, right = [runs[run] for run in order], right[order]
    answers = [frames[run] for run in order]
    clusters = next((frame["cluster"] for frame in frames if "cluster" in frame), None)
    counts, p = discordance(right), pair_tests(right, clusters)
    adjusted = _adjusted(p)
    separated = adjusted < 1 - confidence
    np.fill_diagonal(separated, False)
    try:
        found = tie_groups(separated)
    except ValueError as error:
        raise TunediffError(f"board: {error}; compare fewer runs") from None
    groups = dict(zip(letters(len(found)), found, strict=True))
    low, high = rank_intervals(separated, right.mean(axis=1))
    places = {run.name: at for at, run in enumerate(runs)}

    def difference(to: int | None, run: int) -> Difference | None:
        if to is None or to == run:
            return None
        change = right[run].astype(np.int64) - right[to]
        return Difference(
            float(change.mean()),
            *change_interval(change, confidence, clusters),
            repaired=int(counts[to, run]),
            broken=int(counts[run, to]),
            p=float(p[to, run]),
            p_adjusted=float(adjusted[to, run]),
        )

    parameters = differing(runs)
    rows = [
        Row(
            run.name,
            right.shape[1],
            float(right[at].mean()),
            *share_interval(right[at], wilson, confidence, clusters),
            *(int(low[at]), int(high[at])),
            tuple(name for name, group in groups.items() if at in group),
            to_base=difference(places.get(run.base_name or base or ""), at),
            to_best=difference(0, at),
            over_baseline=run.over_baseline,
            retained=MappingProxyType(dict(run.retained)),
            seconds=run.seconds,
            parameters=parameters[at],
        )
        for at, run in enumerate(runs)
    ]
    pairs = [
        Pair(
            *(runs[a].name, runs[b].name, int(counts[a, b]), int(counts[b, a])),
            *(float(p[a, b]), float(adjusted[a, b]), bool(separated[a, b])),
        )
        for a, b in combinations(range(len(runs)), 2)
    ]
    named = {letter: [runs[at].name for at in group] for letter, group in groups.items()}
    ranked = _frontier(rows, 1 - confidence)
    return Board(runs[0].measure, confidence, ranked, pairs, named, base, right, answers, clusters, notes)


def differing(runs: Sequence[Answered]) -> list[dict[str, Any]]:
    """Return the parameters of each run that differ between the runs; missing ones are None."""
    known = [run.parameters for run in runs if run.parameters]
    names = sorted({name for one in known for name in one})
    names = [name for name in names if any(one.get(name) != known[0].get(name) for one in known)]
    return [{name: run.parameters.get(name) for name in names} if run.parameters else {} for run in runs]


def check_names(runs: Sequence[Answered], command: str) -> None:
    """Check that runs can be compared, before their answers are read.

    Args:
        runs: the runs.
        command: name of the command for error messages.

    Raises:
        TunediffError: fewer than two runs, two of the same name, or runs with different measures.
    """
    names = [run.name for run in runs]
    if len(names) < 2:
        raise TunediffError(
            f"{command}: found {len(names)} run, expected at least two (of one file: columns as --prediction-field A,B)"
        )
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise TunediffError(f"{command}: found the run {repeated} twice, expected each once")
    measures = {run.measure: run.name for run in runs}
    if len(measures) > 1:
        measured = ", ".join(f"{measure} ({name})" for measure, name in measures.items())
        raise TunediffError(f"{command}: found runs measured by {measured}, expected one measure")


def in_common_order(runs: Sequence[Answered]) -> tuple[list[pd.DataFrame], list[str]]:
    """Return the answers of each run in the order of the first run's cases, and notes on anything unusual.

    Raises:
        TunediffError: the runs have different cases or labels.
    """
    first = runs[0].frame
    check_columns(first, runs[0].name)
    frames, notes = [first.reset_index(drop=True)], []
    for run in runs[1:]:
        frames.append(reordered(runs[0].name, frames[0], run.name, run.frame))
        for column, what in (("prompt_hash", "prompts"), ("scorer", "scoring methods")):
            ours, theirs = frames[0][column], frames[-1][column]
            other = int(((ours != theirs) & ours.notna() & theirs.notna()).sum())
            if other:
                notes.append(
                    f"{run.name} answered {other:,} of {len(first):,} cases with different {what} than {runs[0].name}."
                )
    return frames, notes


def reordered(name: str, first: pd.DataFrame, other_name: str, other: pd.DataFrame) -> pd.DataFrame:
    """Return the answers of another run in the order of the first run's cases.

    Prompts and scoring methods may differ: they are part of what is compared.

    Raises:
        TunediffError: the cases, labels or clusters of the two differ.
    """
    check_columns(other, other_name)
    names = name, other_name
    rows = paired_rows(lambda: [first["case_id"]], lambda: [other["case_id"]], names)
    arranged = other.iloc[rows].reset_index(drop=True)
    agreement = SharedColumns(["cluster"] if "cluster" in first and "cluster" in arranged else [])
    agreement.look(*(frame.assign(prompt_hash=None, scorer=None) for frame in (first, arranged)))
    agreement.check(names)
    return arranged


def _adjusted(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    upper = np.triu_indices(len(p), 1)
    adjusted = np.ones_like(p)
    adjusted[upper] = holm(p[upper].tolist())
    return np.minimum(adjusted, adjusted.T)


def _frontier(rows: Sequence[Row], level: float) -> list[Row]:
    """Mark the Pareto-optimal rows among those that beat the base.

    The criteria are gain, forgotten cases and training time, as far as they are known for all of them.
    """
    able = [row for row in rows if row.to_base is not None and row.to_base.gain > 0 and row.to_base.p_adjusted < level]
    figures = pd.DataFrame(
        {
            "gain": [row.accuracy for row in able],
            "forgotten": [np.nan if row.forgotten is None else -row.forgotten for row in able],
            "seconds": [np.nan if row.seconds is None else -row.seconds for row in able],
        }
    )
    scores = figures.dropna(axis="columns").to_numpy(dtype=float)
    beaten = [
        bool(((scores >= run_scores).all(axis=1) & (scores > run_scores).any(axis=1)).any()) for run_scores in scores
    ]
    best = {row.name for row, one in zip(able, beaten, strict=True) if not one}
    return [row._replace(on_frontier=row.name in best) for row in rows]
