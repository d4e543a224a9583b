"""Paired differences of classification metrics, with intervals and tests.

    sums = class_sums(aligned, labels, clusters=None)
    [row.metric for row in class_differences(sums, labels, confidence=0.95)]
    # ['balanced accuracy', 'macro F1']; with two labels also 'precision of yes', 'recall of yes', 'F1 of yes'

The metrics need only the counts of gold x before x after, so its cells are resampled and swapped, and the cost does not
grow with the number of cases. With clusters, the counts of each cluster are resampled and swapped.
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
    cluster_codes,
    expanded_percentiles,
    mean_interval,
    merged,
    n_clusters,
    resampled,
    units,
)
from tunediff.stats.multiple import holm
from tunediff.stats.permutation import Swaps, p_values, sign_flip, swaps

# Without a label list, gold labels count as classes if there are at most FEW_LABELS, or at most MOST_LABELS with
# CASES_PER_LABEL cases each on average; else they are free text.
FEW_LABELS, MOST_LABELS, CASES_PER_LABEL = 10, 100, 10


# Maps sums of shape (replicates, 5 n_labels), the number of labels and the model to a rate per replicate.
Rate = Callable[[Floats, int, int], Floats]


class ClassSums(NamedTuple):
    """Sums by label of two models' answers (see `parts`), from which every class metric and its error follow.

    size: number of labels. n: number of cases or clusters. everything: the sums of all cases, of shape (1, 5 n_labels).
    resampled: those of each bootstrap replicate, of shape (replicates, 5 n_labels). by_label: the same, if each gold
    label is resampled separately. swaps: those after swapping the models' answers.
    """

    size: int
    n: int
    everything: Floats
    resampled: Floats
    by_label: Floats
    swaps: Swaps


class Difference(NamedTuple):
    """A metric before and after, tuned minus base with its interval, and p without and with Holm's adjustment."""

    metric: str
    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p: float
    p_holm: float


def planned(rows: Sequence[Difference]) -> list[Difference]:
    """Return the rows with p-values adjusted for multiple testing (Holm 1979)."""
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
        metric: name of the metric.
        before: score of each case before, of length n_cases, in 0..1.
        after: score of each case after.
        confidence: level of the interval.
        clusters: cluster of each case, such as the paragraph, of length n_cases; None: cases are independent.
    """
    scores = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    change = scores[1] - scores[0]
    # A single unit gives no information about sampling error.
    several = n_clusters(clusters, len(change)) > 1
    low, high = mean_interval(change, clusters, confidence) if several else (-1.0, 1.0)
    p = sign_flip(change, clusters)
    return Difference(metric, float(scores[0].mean()), float(scores[1].mean()), float(change.mean()), low, high, p, p)


def class_differences(found: ClassSums, labels: Sequence[str], confidence: float) -> list[Difference]:
    """Compare class metrics: bootstrap intervals, and permutation tests that swap the models' answers.

    Definitions are those of `tunediff.metrics.accuracy.score`: an undefined rate is 0, balanced accuracy is the mean
    recall over the labels that occur in gold, macro F1 the mean over those in gold or predictions; precision, recall
    and F1 are those of the last of two labels. The bootstrap of balanced accuracy is stratified by gold label.

    Args:
        found: the result of `class_sums`.
        labels: the label list.
        confidence: level of the intervals.
    """
    rates: list[tuple[str, Any, Floats]] = [
        ("balanced accuracy", _balanced, found.by_label),
        ("macro F1", _macro_f1, found.resampled),
    ]
    if found.size == 2:
        label_rates = {"precision": precision, "recall": recall, "F1": f1}
        rates += [(f"{name} of {labels[-1]}", _last_label(rate), found.resampled) for name, rate in label_rates.items()]
    rows = []
    for metric, rate, drawn in rates:

        def difference(sums: Floats, rate: Any = rate) -> Floats:
            return np.asarray(rate(sums, found.size, 1) - rate(sums, found.size, 0))[:, None]

        low, high = expanded_percentiles(difference(drawn)[:, 0], found.n, confidence)
        p = float(p_values(found.swaps, difference)[0])
        base, tuned = (float(rate(found.everything, found.size, who)[0]) for who in (0, 1))
        rows.append(Difference(metric, base, tuned, tuned - base, low, high, p, p))
    return rows


def class_sums(aligned: pd.DataFrame, labels: Sequence[str], clusters: Clusters) -> ClassSums | None:
    """Resample and swap the answers, by cluster.

    Args:
        aligned: one row per case with label, prediction_base and prediction_tuned; a prediction outside of `labels`
            counts as none.
        labels: the label list, which includes every gold label.
        clusters: cluster of each case, of length n_cases, resampled and swapped as a whole; then `by_label` is
            `resampled`, because clusters cross labels. None: cases are independent.

    Returns:
        None for a single case or cluster.
    """
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
    else:
        cases = np.ones(len(gold), dtype=np.int32)
        by_cluster = csr_array((cases, (cluster_codes(clusters, len(gold)), place)))
        step = max(1, AT_ONCE // both.shape[1])
        parts = (by_cluster[start : start + step] @ both for start in range(0, by_cluster.shape[0], step))
        # A single part is in the order of its totals, on which the draws depend.
        pairs = units(next(parts).toarray()) if by_cluster.shape[0] <= step else merged(parts)
    if pairs.counts.sum() < 2:
        return None
    together, n = resampled(Units(pairs.totals[:, : kept.shape[1]], pairs.counts))
    by_label = together
    if clusters is None:
        by_label, _ = resampled([Units(kept[kind == code], counts[kind == code]) for code in np.unique(kind)])
    return ClassSums(size, n, (counts @ kept)[None], together, by_label, swaps(pairs))


def no_classes(aligned: pd.DataFrame, labels: Sequence[str]) -> str | None:
    """Return the reason why class metrics cannot be computed, None if they can.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        labels: the label list; empty if there is none and the gold labels are missing or too many.
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
    """The indices of gold label, answer before and answer after in the label list, each of length n_cases.

    A gold label outside the list has index -1; an invalid answer, or one outside the list, has index n_labels.
    """
    names = pd.Index(list(labels))
    # int32 limits the memory for ten million cases.
    found = [
        names.get_indexer(pd.Index(aligned[name])).astype(np.int32)
        for name in ("label", "prediction_base", "prediction_tuned")
    ]
    return [found[0], *(answer % (len(labels) + 1) for answer in found[1:])]


def _totals(
    gold: npt.NDArray[np.int64], before: npt.NDArray[np.int64], after: npt.NDArray[np.int64], size: int
) -> csr_array:
    """Counts by label of each cell: gold, right before, predicted before, right after, predicted after.

    The shape is (cells, 5 size).
    """
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
    """Recall by label; see `precision`."""
    gold, right, _ = parts(sums, size, who)
    return np.asarray(right / np.maximum(gold, 1))


def f1(sums: Floats, size: int, who: int) -> Floats:
    """F1 by label; see `precision`."""
    gold, right, predicted = parts(sums, size, who)
    return np.asarray(2 * right / np.maximum(gold + predicted, 1))


def _last_label(rate: Rate) -> Rate:
    return lambda sums, size, who: rate(sums, size, who)[:, -1]
