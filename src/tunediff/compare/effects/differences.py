"""Metrics of a classifier before and after on the same cases: difference, paired interval, paired test.

    [row.metric for row in class_differences(aligned, ["entailment", "neutral", "contradiction"], 0.95, None)]
    # ['balanced accuracy', 'macro F1']; of two labels besides 'precision of yes', 'recall of yes', 'F1 of yes'

The cube gold x before x after has all that these metrics need, so its cells are what is drawn and swapped: the cost
does not grow with the number of cases. With clusters, the cubes of the clusters are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array, hstack

from tunediff.data.cases import MODELS, RIGHT
from tunediff.stats.bootstrap import (
    AT_ONCE,
    Clusters,
    Floats,
    Units,
    bootstrap_interval,
    cluster_codes,
    mean_interval,
    merged,
    units,
)
from tunediff.stats.multiple import holm
from tunediff.stats.permutation import sign_flip, swap_test

# Gold labels that nothing names as labels are classes where there are few, or not too many with enough cases each, on
# average; else they are answers in words.
FEW_LABELS, MOST_LABELS, CASES_PER_LABEL = 10, 100, 10


# From sums of shape (replicates, 5 n_labels), the number of labels and the model to a rate of each replicate.
Rate = Callable[[Floats, int, int], Floats]


class ClassUnits(NamedTuple):
    """What of two models' answers is drawn and swapped, as sums by label (see `parts`), and of how many labels.

    everything: the sums of all cases, of shape (1, 5 n_labels). together: the units, drawn from all. strata: the same
    by gold label; the units as they are where clusters cross these. pairs: `together` beside the same with the models
    swapped.
    """

    size: int
    everything: Floats
    together: Units
    strata: list[Units]
    pairs: Units

    @property
    def n(self) -> int:
        """Cases or clusters, of which one alone says nothing about the next."""
        return int(self.together.counts.sum())


class Difference(NamedTuple):
    """A metric before and after, tuned minus base with its interval, and p before and after Holm's adjustment."""

    metric: str
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p: float
    p_holm: float


def planned(rows: Sequence[Difference]) -> list[Difference]:
    """Return the rows with their p-values adjusted for their number (Holm 1979)."""
    return [row._replace(p_holm=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]


def score_difference(
    metric: str,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    confidence: float,
    clusters: Clusters,
) -> Difference:
    """Compare a per-case score, such as token F1: paired bootstrap and sign-flip test, both by cluster.

    Args:
        metric: what to call it.
        before: score of each case, of length n_cases, in 0..1.
        after: the same after.
        confidence: of the interval.
        clusters: of length n_cases, such as the paragraph; None where every case stands for itself.
    """
    scores = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    change = scores[1] - scores[0]
    drawn = len(change) if clusters is None else cluster_codes(clusters).max() + 1
    # A single unit says nothing about the next one.
    low, high = mean_interval(change, clusters, confidence=confidence) if drawn > 1 else (-1.0, 1.0)
    p = sign_flip(change, clusters)
    return Difference(metric, float(scores[0].mean()), float(scores[1].mean()), float(change.mean()), low, high, p, p)


def class_differences(
    aligned: pd.DataFrame,
    labels: Sequence[str],
    confidence: float,
    clusters: Clusters,
) -> list[Difference]:
    """Compare the rates of classes by bootstrap, test them by swapping; balanced accuracy is stratified by gold label.

    Definitions are those of `tunediff.metrics.accuracy.score`: an undefined rate is 0, balanced accuracy is the
    mean recall over the labels that occur in gold, macro F1 the mean over those in gold or predictions; precision,
    recall and F1 are those of the last of two labels.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        labels: the label list.
        confidence: of the intervals.
        clusters: of length n_cases, drawn and swapped whole; strata are given up for them, which cross classes.

    Returns:
        Nothing where `no_classes` says why.
    """
    if no_classes(aligned, labels):
        return []
    found = class_units(aligned, labels, clusters)
    if found.n < 2:
        return []
    rates: list[tuple[str, Any, list[Units]]] = [
        ("balanced accuracy", _balanced, found.strata),
        ("macro F1", _macro_f1, [found.together]),
    ]
    if found.size == 2:
        label_rates = {"precision": precision, "recall": recall, "F1": f1}
        rates += [
            (f"{name} of {labels[-1]}", _of_the_last(rate), [found.together]) for name, rate in label_rates.items()
        ]
    rows = []
    for metric, rate, drawn in rates:

        def difference(sums: Floats, rate: Any = rate) -> Floats:
            return np.asarray(rate(sums, found.size, 1) - rate(sums, found.size, 0))

        low, high = bootstrap_interval(drawn, difference, confidence)
        p = swap_test(found.pairs, difference)
        base, tuned = (float(rate(found.everything, found.size, who)[0]) for who in (0, 1))
        rows.append(Difference(metric, base, tuned, tuned - base, low, high, p, p))
    return rows


def class_units(aligned: pd.DataFrame, labels: Sequence[str], clusters: Clusters) -> ClassUnits:
    """Return what of the answers is drawn and swapped; arguments as `class_differences`, each gold label a label."""
    size = len(labels)
    gold, *answers = _codes(aligned, labels)
    code_of_case = (gold.astype(np.int64) * (size + 1) + answers[0]) * (size + 1) + answers[1]
    place, codes = pd.factorize(code_of_case, sort=True)
    counts = np.bincount(place)
    rest, after = np.divmod(codes, size + 1)
    kind, before = np.divmod(rest, size + 1)
    kept, swapped = _totals(kind, before, after, size), _totals(kind, after, before, size)
    both = csr_array(hstack([kept, swapped]))
    if clusters is None:
        pairs = Units(both, counts)
        strata = [Units(kept[kind == code], counts[kind == code]) for code in np.unique(kind)]
        together = Units(kept, counts)
    else:
        cases = np.ones(len(gold), dtype=np.int32)
        by_cluster, step = csr_array((cases, (cluster_codes(clusters), place))), max(1, AT_ONCE // both.shape[1])
        starts = range(0, by_cluster.shape[0], step)
        pairs = merged(units((by_cluster[start : start + step] @ both).toarray()) for start in starts)
        together = Units(pairs.totals[:, : kept.shape[1]], pairs.counts)
        strata = [together]
    return ClassUnits(size, (counts @ kept)[None], together, strata, pairs)


def no_classes(aligned: pd.DataFrame, labels: Sequence[str]) -> str | None:
    """Return why the labels are no classes to compare by, None where they are.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        labels: the label list; none where there are no gold labels, or too many, and nothing names them.
    """
    if not labels:
        return (
            "there are no gold labels, or the files list no labels and there are too many to be classes (more than "
            f"{MOST_LABELS}, or more than {FEW_LABELS} with fewer than {CASES_PER_LABEL} cases each on average)"
        )
    gold, *answers = _codes(aligned, labels)
    if len(labels) < 2 or len(aligned) < 2:
        return "there is only one label" if len(labels) < 2 else "there is only one case"
    if (gold < 0).any():
        return "a gold label is not among the labels"
    for answer, who in zip(answers, MODELS, strict=True):
        if ((answer == gold) != (aligned[f"outcome_{who}"] == RIGHT)).any():
            return "answers count as right by a rule other than equality with the gold label"
    return None


def _codes(aligned: pd.DataFrame, labels: Sequence[str]) -> list[npt.NDArray[np.int32]]:
    """The places in the label list of gold label, answer before and answer after, each of length n_cases.

    A gold label outside the list has -1; an answer outside it, or none, the place after the last label.
    """
    names = pd.Index(list(labels))
    # Small numbers: of ten million cases each copy of them counts.
    found = [
        names.get_indexer(pd.Index(aligned[name])).astype(np.int32)
        for name in ("label", "prediction_base", "prediction_tuned")
    ]
    return [found[0], *(answer % (len(labels) + 1) for answer in found[1:])]


def _totals(
    gold: npt.NDArray[np.int64], before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], size: int
) -> csr_array:
    """Per cell, by label: gold; right and predicted before; right and predicted after. Of shape (cells, 5 size)."""
    cells, every = np.arange(len(gold)), np.ones(len(gold), dtype=np.bool_)
    labels = np.stack([gold, gold, before, gold, after])
    counted = np.stack([every, before == gold, before < size, after == gold, after < size])
    columns = (labels + size * np.arange(5)[:, None])[counted]
    rows = np.broadcast_to(cells, counted.shape)[counted]
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(gold), 5 * size))


def parts(sums: Floats, size: int, who: int) -> tuple[Floats, Floats, Floats]:
    """Gold, right and predicted of one model (0: base, 1: tuned), each of shape (replicates, size)."""
    table = sums.reshape(len(sums), 5, size)
    return table[:, 0], table[:, 1 + 2 * who], table[:, 2 + 2 * who]


def _balanced(sums: Floats, size: int, who: int) -> Floats:
    gold, right, _ = parts(sums, size, who)
    return np.asarray((right / np.maximum(gold, 1)).sum(axis=1) / np.maximum((gold > 0).sum(axis=1), 1))


def _macro_f1(sums: Floats, size: int, who: int) -> Floats:
    gold, right, predicted = parts(sums, size, who)
    found = gold + predicted
    return np.asarray((2 * right / np.maximum(found, 1)).sum(axis=1) / np.maximum((found > 0).sum(axis=1), 1))


def precision(sums: Floats, size: int, who: int) -> Floats:
    """Precision by label, of shape (replicates, size), 0 where undefined; arguments as `parts`."""
    _, right, predicted = parts(sums, size, who)
    return np.asarray(right / np.maximum(predicted, 1))


def recall(sums: Floats, size: int, who: int) -> Floats:
    """Recall by label, as `precision`."""
    gold, right, _ = parts(sums, size, who)
    return np.asarray(right / np.maximum(gold, 1))


def f1(sums: Floats, size: int, who: int) -> Floats:
    """F1 by label, as `precision`."""
    gold, right, predicted = parts(sums, size, who)
    return np.asarray(2 * right / np.maximum(gold + predicted, 1))


def _of_the_last(rate: Rate) -> Rate:
    return lambda sums, size, who: rate(sums, size, who)[:, -1]
