"""Where the change happened: the same paired comparison on parts of the test set, the few that matter first.

    slices(aligned, cases, wording(cases, task, train))
    #  family    value           n  accuracy_base  accuracy_tuned  delta  ...  repaired  broken       p       q
    #  negation  in hypothesis  81           0.31            0.72   0.41  ...        37       4  1.1e-7  2.3e-6

Where the whole gained 30 points, most slices did, and the one that matters may be the one that did not. So those come
first whose difference departs most from that of the other cases; p and q say whether a slice changed at all.
Many slices are looked at, so some differ by chance: q is the p-value after Benjamini and Hochberg 1995, and among the
slices with q below 0.05 about one in twenty is expected to be chance.
"""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.cases import RIGHT, Case
from tunediff.runtime.errors import TunediffError
from tunediff.stats.multiple import benjamini_hochberg
from tunediff.stats.paired import difference_interval, mcnemar_exact

COLUMNS = (
    *("family", "value", "n", "accuracy_base", "accuracy_tuned", "delta", "low", "high"),
    *("repaired", "broken", "p", "q", "delta_rest", "departure"),
)

# A family: for each membership the row of the case and the number of the value, and the names of the values.
Members = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64], Sequence[str]]


def slices(
    aligned: pd.DataFrame,
    cases: Sequence[Case],
    texts: pd.DataFrame,
    confidence: float = 0.95,
    min_cases: int = 20,
) -> pd.DataFrame:
    """Return the paired comparison on each slice of the test set.

    The slices are those of each task tag, gold label, quarter of the length, place of a negation, lexical overlap,
    subsequence, number words and rare words; of questions, those of the question word, the lengths of answer and
    context, the overlaps and the third of the context that the answer starts in. One that holds all cases is none.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        cases: the test cases, in any order.
        texts: what `tunediff.compare.explanations.wording.wording` or, of questions, `question_wording` returns for
        them.
        confidence: of the intervals.
        min_cases: a smaller slice is left out, and not tested.

    Returns:
        family, value: which slice. n: cases. accuracy_base, accuracy_tuned: 0..1. delta: tuned minus base, in -1..1,
        with its interval low..high (Tango 1998). repaired, broken: cases. p: exact McNemar test. q: p after
        Benjamini and Hochberg over all rows. delta_rest: the delta of all other cases. departure: delta less
        delta_rest in standard errors; the rows are sorted by its size, then by q.

    Raises:
        TunediffError: a case of `aligned` is not among `cases`.
    """
    before, after = (aligned[f"outcome_{who}"].to_numpy() == RIGHT for who in ("base", "tuned"))
    rows = []
    for family, where, values, names in _families(aligned, cases, texts):
        counts = [
            np.bincount(values, weights=weights[where], minlength=len(names)).astype(np.int64)
            for weights in (np.ones(len(before)), before, after, ~before & after, before & ~after)
        ]
        rows += [
            (family, name, *numbers)
            for name, *numbers in zip(names, *(count.tolist() for count in counts), strict=True)
            if min_cases <= numbers[0] < len(before)
        ]
    whole = len(before), int((~before & after).sum()), int((before & ~after).sum())
    return _compared(rows, whole, confidence)


def slices_of_cases(
    aligned: pd.DataFrame, cases: Sequence[Case], texts: pd.DataFrame, table: pd.DataFrame
) -> list[list[str]]:
    """Return the slices that each case is in, as "family: value", in the order of `aligned`.

    Args:
        aligned: as for `slices`.
        cases: as for `slices`.
        texts: as for `slices`.
        table: what `slices` returns: a slice that is not in it is left out.

    Raises:
        TunediffError: a case of `aligned` is not among `cases`.
    """
    compared = {(str(family), str(value)) for family, value in zip(table["family"], table["value"], strict=True)}
    found: list[list[str]] = [[] for _ in range(len(aligned))]
    for family, where, values, names in _families(aligned, cases, texts):
        for row, value in zip(where.tolist(), values.tolist(), strict=True):
            if (family, str(names[value])) in compared:
                found[row].append(f"{family}: {names[value]}")
    return found


def _compared(rows: list[Any], whole: tuple[int, int, int], confidence: float) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    found = [
        (
            *(family, value, n, right / n, right_after / n, (repaired - broken) / n),
            *difference_interval(repaired, broken, n, confidence),
            *(repaired, broken, mcnemar_exact(repaired, broken), np.nan, *_departure((n, repaired, broken), whole)),
        )
        for family, value, n, right, right_after, repaired, broken in rows
    ]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    table["q"] = benjamini_hochberg(table["p"].tolist())
    # Two halves of one family depart equally, but for a rounding.
    size = -table["departure"].abs().round(9)
    order = table.assign(size=size).sort_values(["size", "q", "family", "value"], kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _departure(own: tuple[int, int, int], whole: tuple[int, int, int]) -> tuple[float, float]:
    """The delta of the cases outside a slice, and that of the slice less it in standard errors.

    Both are given as cases, repaired and broken. Errors as in Agresti and Min 2005, so that none is 0.
    """
    rest = tuple(of_all - of_slice for of_all, of_slice in zip(whole, own, strict=True))
    deltas = [(repaired - broken) / n for n, repaired, broken in (own, rest)]
    variances = [
        (repaired + broken + 1 - (repaired - broken) ** 2 / (n + 2)) / (n + 2) ** 2
        for n, repaired, broken in (own, rest)
    ]
    return deltas[1], (deltas[0] - deltas[1]) / sqrt(sum(variances))


def _families(aligned: pd.DataFrame, cases: Sequence[Case], texts: pd.DataFrame) -> Iterator[Members]:
    """The families of slices; `texts` is in the order of `cases`."""
    places = pd.Index([case.case_id for case in cases]).get_indexer(pd.Index(aligned["case_id"]))
    if (places < 0).any():
        first = aligned["case_id"].iloc[int((places < 0).argmax())]
        raise TunediffError(f"slices: found no case for prediction {first} ({(places < 0).sum()} such predictions)")
    texts = texts.iloc[places]
    tags = [(row, tag) for row, place in enumerate(places.tolist()) for tag in dict.fromkeys(cases[place].tags)]
    codes, names = pd.factorize(np.array([tag for _, tag in tags], dtype=object), sort=True)
    yield "tag", np.array([row for row, _ in tags], dtype=np.int64), codes.astype(np.int64), [*names]
    yield _family("label", aligned["label"])
    for column, (name, of) in _FAMILIES.items():
        if column in texts:
            yield _family(name, texts[column], of)


def _family(name: str, values: pd.Series, of: Callable[[pd.Series], npt.ArrayLike] = np.asarray) -> Members:
    """The members of a family; a case without a value is in none of its slices."""
    there = np.flatnonzero(values.notna().to_numpy())
    codes, names = pd.factorize(np.asarray(of(values.iloc[there]), dtype=object), sort=True)
    return name, there, codes.astype(np.int64), [str(value) for value in names]


def _yes_no(flags: pd.Series) -> npt.ArrayLike:
    return np.where(flags, "yes", "no")


def _share(shares: pd.Series) -> npt.ArrayLike:
    return np.select([shares == 1, shares >= 0.5], ["all", "half or more"], "under half")


def _third(places: pd.Series) -> npt.ArrayLike:
    return np.select([places < 1 / 3, places < 2 / 3], ["first third", "second third"], "last third")


def _quarters(words: pd.Series) -> npt.ArrayLike:
    """The quarter of the length that each case is in, as words; fewer than four where lengths are the same."""
    lengths = words.to_numpy(dtype=np.int64)
    if not len(lengths):
        return []
    ends = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75, 1.0], method="lower")).astype(np.int64)
    starts = [int(lengths.min()), *(int(end) + 1 for end in ends[:-1])]
    names = [
        f"{low} to {high} words" if low < high else f"{low} word{'s' * (low != 1)}"
        for low, high in zip(starts, ends, strict=True)
    ]
    return np.array(names, dtype=object)[np.searchsorted(ends, lengths)]


# The columns of `texts`, what the family of each is called, and how its values become slices.
_FAMILIES: dict[str, tuple[str, Callable[[pd.Series], npt.ArrayLike]]] = {
    "words": ("length", _quarters),
    "negation": ("negation", np.asarray),
    "number_words": ("number words", _yes_no),
    "overlap": ("overlap", _share),
    "subsequence": ("subsequence", _yes_no),
    "rare_words": ("rare words", np.asarray),
    "question_word": ("question word", np.asarray),
    "answer_words": ("answer length", _quarters),
    "context_words": ("context length", _quarters),
    "answer_overlap": ("sentence overlap", _share),
    "position": ("answer in the context", _third),
}
