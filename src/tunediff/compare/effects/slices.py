"""The paired comparison on slices of the test set, those that depart most from the rest first.

    slices(aligned, cases, task.features(cases, train), task.families, 0.95, 20, clusters)
    #  family    value           n  accuracy_base  accuracy_tuned  delta  ...  repaired  broken       p       q
    #  negation  in hypothesis  81           0.31            0.72   0.41  ...        37       4  1.1e-7  2.3e-6

If the accuracy rises by 30 points overall, it rises on most slices, and the interesting one may be that where it does
not. So slices are sorted by how far their difference departs from that of the other cases; p and q tell whether a slice
changed at all. As many slices are compared, some differ by chance: q is the p-value adjusted by Benjamini and Hochberg
1995, and among the slices with q below 0.05 about one in twenty is expected to be due to chance.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.transitions import change_interval, delta_interval
from tunediff.data.cases import MODELS, RIGHT, Case
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters, cluster_codes
from tunediff.stats.multiple import benjamini_hochberg
from tunediff.stats.paired import mcnemar_exact
from tunediff.tasks.families import Family

COLUMNS = (
    *("family", "value", "n", "accuracy_base", "accuracy_tuned", "delta", "low", "high"),
    *("repaired", "broken", "p", "q", "delta_rest", "departure"),
)

# A family of slices: its name, the row of the case and the index of the value for each membership, names of the values.
Members = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64], Sequence[str]]


def slices(
    aligned: pd.DataFrame,
    cases: Sequence[Case],
    texts: pd.DataFrame,
    families: Sequence[Family],
    confidence: float,
    min_cases: int,
    clusters: Clusters,
) -> pd.DataFrame:
    """Return the paired comparison on each slice of the test set.

    There is one slice per tag, per gold label and per value of each family. Slices of all cases are omitted.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        cases: the test cases, in any order; empty if only two prediction files are compared.
        texts: `tunediff.compare.comparison.Comparison.features`.
        families: families of the task and of the user's own columns.
        confidence: level of the intervals.
        min_cases: smaller slices are omitted, and not tested.
        clusters: cluster of each case, such as its premise, of length n_cases; None: cases are independent.

    Returns:
        family, value: which slice. n: cases. accuracy_base, accuracy_tuned: 0..1. delta: tuned minus base, in -1..1,
        with its interval low..high (`tunediff.compare.effects.transitions.delta_interval`). repaired, broken: cases.
        p: exact McNemar test. q: p adjusted over all rows (Benjamini and Hochberg). delta_rest: the delta of all other
        cases. departure: delta minus delta_rest in standard errors; rows are sorted by its absolute value, then by q.

    Raises:
        TunediffError: a case of `aligned` is not among `cases`.
    """
    before, after = (aligned[f"outcome_{who}"].to_numpy() == RIGHT for who in MODELS)
    change = after.astype(int) - before
    codes = cluster_codes(clusters, len(aligned))
    rows: list[Any] = []
    for family, places, values, names in _families(aligned, cases, texts, families):
        for value, name in enumerate(names):
            inside = places[values == value]
            if min_cases <= len(inside) < len(before):
                ends = change_interval(change[inside], confidence, codes[inside])
                counts = (int(flags[inside].sum()) for flags in (before, after, change > 0, change < 0))
                rows.append((family, name, len(inside), *counts, *ends))
    return _compared(rows, (len(before), int((change > 0).sum()), int((change < 0).sum())))


def tag_slices(
    tags: Iterable[Sequence[str]], cells: pd.Series, family: str, confidence: float, clusters: Clusters
) -> pd.DataFrame:
    """Return the paired comparison by tag, largest tag first, if nothing else is known about the cases.

    Args:
        tags: tags of each case; a tag that all cases have is omitted.
        cells: the transition of each case.
        family: name of the family of tags.
        confidence: level of the intervals.
        clusters: as for `slices`.

    Returns:
        The columns of `slices` except q, delta_rest and departure.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for row, marks in enumerate(tags):
        for tag in dict.fromkeys(marks):
            places[tag].append(row)
    codes = cluster_codes(clusters, len(cells))
    rows = []
    for tag, inside in places.items():
        if len(inside) == len(cells):
            continue
        counts, n = cells.iloc[inside].value_counts(), len(inside)
        right, repaired, broken = (int(counts.get(name, 0)) for name in ("both_right", "repaired", "broken"))
        ends = delta_interval(cells.iloc[inside], confidence, codes[inside])
        shares = (right + broken) / n, (right + repaired) / n, (repaired - broken) / n
        p = mcnemar_exact(repaired, broken)
        rows.append((family, tag, n, *shares, *ends, repaired, broken, p, np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(
        ["n", "value"], ascending=[False, True], ignore_index=True
    )


def slices_of_cases(
    aligned: pd.DataFrame,
    cases: Sequence[Case],
    texts: pd.DataFrame,
    families: Sequence[Family],
    table: pd.DataFrame,
) -> list[list[str]]:
    """Return the slices of each case, as "family: value", in the order of `aligned`.

    Args:
        aligned: as for `slices`.
        cases: as for `slices`.
        texts: as for `slices`.
        families: as for `slices`.
        table: the result of `slices`; other slices are omitted.

    Raises:
        TunediffError: a case of `aligned` is not among `cases`.
    """
    compared = {(str(family), str(value)) for family, value in zip(table["family"], table["value"], strict=True)}
    found: list[list[str]] = [[] for _ in range(len(aligned))]
    for family, places, values, names in _families(aligned, cases, texts, families):
        for row, value in zip(places.tolist(), values.tolist(), strict=True):
            if (family, str(names[value])) in compared:
                found[row].append(f"{family}: {names[value]}")
    return found


def _compared(rows: list[Any], total: tuple[int, int, int]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    found = [
        (
            *(family, value, n, right / n, right_after / n, (repaired - broken) / n, low, high, repaired, broken),
            *(mcnemar_exact(repaired, broken), np.nan, *_departure((n, repaired, broken), total)),
        )
        for family, value, n, right, right_after, repaired, broken, low, high in rows
    ]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    table["q"] = benjamini_hochberg(table["p"].tolist())
    # The two halves of a family depart equally up to rounding.
    size = -table["departure"].abs().round(9)
    order = table.assign(size=size).sort_values(["size", "q", "family", "value"], kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _departure(inside: tuple[int, int, int], total: tuple[int, int, int]) -> tuple[float, float]:
    """The delta of the cases outside a slice, and the delta of the slice minus it, in standard errors.

    Both arguments are (cases, repaired, broken). Standard errors as in Agresti and Min 2005, so that none is 0.
    """
    rest = tuple(of_all - of_slice for of_all, of_slice in zip(total, inside, strict=True))
    deltas = [(repaired - broken) / n for n, repaired, broken in (inside, rest)]
    variances = [
        (repaired + broken + 1 - (repaired - broken) ** 2 / (n + 2)) / (n + 2) ** 2
        for n, repaired, broken in (inside, rest)
    ]
    return deltas[1], (deltas[0] - deltas[1]) / sqrt(sum(variances))


def _families(
    aligned: pd.DataFrame, cases: Sequence[Case], texts: pd.DataFrame, families: Sequence[Family]
) -> Iterator[Members]:
    """The families of slices; `texts` is in the order of `cases`, or of `aligned` if there are no cases."""
    if cases:
        texts = yield from _tags(aligned, cases, texts)
    yield _family("label", aligned["label"])
    for column, name, cut in families:
        if column in texts:
            yield _family(name, texts[column], cut)


def _tags(aligned: pd.DataFrame, cases: Sequence[Case], texts: pd.DataFrame) -> Generator[Members, None, pd.DataFrame]:
    """The family of tags; returns `texts` in the order of `aligned`."""
    places = pd.Index([case.case_id for case in cases]).get_indexer(pd.Index(aligned["case_id"]))
    if (places < 0).any():
        first = aligned["case_id"].iloc[int((places < 0).argmax())]
        raise TunediffError(f"slices: found no case for prediction {first} ({(places < 0).sum()} such predictions)")
    texts = texts.iloc[places]
    tags = [(row, tag) for row, place in enumerate(places.tolist()) for tag in dict.fromkeys(cases[place].tags)]
    codes, names = pd.factorize(np.array([tag for _, tag in tags], dtype=object), sort=True)
    yield "tag", np.array([row for row, _ in tags], dtype=np.int64), codes.astype(np.int64), [*names]
    return texts


def _family(name: str, values: pd.Series, cut: Callable[[pd.Series], npt.ArrayLike] = np.asarray) -> Members:
    """The members of a family; a case without a value is in none of its slices."""
    known = np.flatnonzero(values.notna().to_numpy())
    codes, names = pd.factorize(np.asarray(cut(values.iloc[known]), dtype=object), sort=True)
    return name, known, codes.astype(np.int64), [str(value) for value in names]
