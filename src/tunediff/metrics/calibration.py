"""Calibration of a model's probabilities: proper scores per case, calibration error, selective accuracy.

    log_probs = log_prob_array(frame["log_probs"])              # (n_cases, n_labels)
    sure, right = confidence_of(log_probs), log_probs.argmax(axis=1) == gold
    adaptive_ece(sure, right)                                   # 0.031: off by 3 points on average
    reliability(sure, right)                                    # one row per bin: mean confidence, accuracy

The answer is the most likely label, and the confidence is its probability. All bins have the same number of cases
(Nguyen and O'Connor 2015), so that none is nearly empty. Cases of equal confidence stay in one bin, so that results do
not depend on the order of the cases.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logsumexp

from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes
from tunediff.stats.discordance import Flags
from tunediff.stats.intervals import wilson

Codes = npt.NDArray[np.intp]

BINS = 10


def number_rows(column: Iterable[Sequence[float]]) -> Floats | list[Sequence[float]]:
    """Return a column of rows of numbers in a form for numpy, without creating objects if possible."""
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.ArrowDtype):
        import pyarrow as pa
        import pyarrow.compute as pc

        # Ten million rows as objects would take gigabytes.
        rows = pa.array(column.array)
        widths = pc.min_max(pc.list_value_length(rows)).as_py()
        if not rows.null_count and widths["min"] == widths["max"]:
            numbers: Floats = pc.list_flatten(rows).to_numpy()
            return numbers.reshape(len(rows), -1)
        return column.astype(object).where(column.notna(), None).tolist()
    return column if isinstance(column, np.ndarray) else list(column)


def log_prob_array(column: Iterable[Sequence[float]]) -> Floats:
    """Return a column of log-probabilities as one array of shape (n_cases, n_labels).

    Raises:
        TunediffError: the cases do not all have the same number of labels, at least two, or one is not finite.
    """
    try:
        array = np.array(number_rows(column), dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] < 2:
        raise TunediffError("log-probabilities: found rows that are not all as long, expected one number per label")
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array)).any(axis=1).argmax())
        raise TunediffError(f"log-probabilities of case {row + 1}: found {array[row]}, expected finite numbers")
    return array


def label_codes(labels: Sequence[str], given: Iterable[str | None], predictions: bool = False) -> Codes:
    """Return the index of each case's label in `labels`, of shape (n_cases,); -1 for a missing prediction.

    Raises:
        TunediffError: a gold label or a prediction is not in `labels`.
    """
    known = pd.Index(list(labels), dtype=object)
    values: Any = given
    if isinstance(given, pd.Series) and isinstance(given.dtype, pd.CategoricalDtype):
        # Ten million labels as objects would take hundreds of megabytes.
        values = given.array
        codes: Codes = np.append(known.get_indexer(values.categories), -1)[values.codes]
    else:
        values = pd.Index(list(given), dtype=object)
        codes = known.get_indexer(values)
    bad = codes < 0
    if predictions:
        bad &= np.asarray(values.notna())
    if bad.any():
        row, what = int(bad.argmax()), "prediction" if predictions else "gold label"
        raise TunediffError(f"{what} of case {row + 1}: found {values[row]!r}, expected one of {', '.join(labels)}")
    return codes


def confidence_of(log_probs: Floats) -> Floats:
    """Return the probability of the most likely label of each case, of shape (n_cases,), in 0..1."""
    return np.asarray(np.exp(log_probs.max(axis=1) - logsumexp(log_probs, axis=1)), dtype=np.float64)


def gold_margins(log_probs: Floats, gold: Codes) -> Floats:
    """Return the lead of the gold label over the best other label in nats, of shape (n_cases,); negative if it trails.

    Args:
        log_probs: log-probabilities of shape (n_cases, n_labels).
        gold: index of the gold label of each case.
    """
    at = np.arange(len(gold))
    others = log_probs.copy()
    others[at, gold] = -np.inf
    return np.asarray(log_probs[at, gold] - others.max(axis=1), dtype=np.float64)


def case_nll(log_probs: Floats, gold: Codes) -> Floats:
    """Return the negative log-probability of the gold label of each case in nats, of shape (n_cases,); 0 is best."""
    return -log_probs[np.arange(len(gold)), gold]


def case_brier(log_probs: Floats, gold: Codes) -> Floats:
    """Return the squared distance of probabilities and gold label, of shape (n_cases,), in 0..2 (Brier 1950).

    Summed over the labels; 0 is best.
    """
    distance = np.exp(log_probs)
    distance[np.arange(len(gold)), gold] -= 1
    squares: Floats = (distance**2).sum(axis=1)
    return squares


def adaptive_ece(confidence: Floats, right: Flags, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal mass, in 0..1; 0 is best.

    The mean over the cases of |accuracy - mean confidence| of their bin (Guo et al. 2017; Nguyen and O'Connor 2015). It
    is biased upwards: in a finite sample, accuracy and confidence of a bin differ by chance.

    Args:
        confidence: confidence of each case, of shape (n_cases,), in 0..1; at least one case.
        right: whether the most likely label is the gold label, of shape (n_cases,).
        bins: number of bins; there may be fewer if cases have equal confidence.
    """
    return _weighted_ece(confidence, right, bins)(np.ones(len(confidence), dtype=np.intp))


def ece_interval(
    confidence: Floats,
    right: Flags,
    level: float,
    clusters: Clusters = None,
    replicates: int = 1000,
) -> tuple[float, float]:
    """Return a bootstrap interval of `adaptive_ece`, both ends in 0..1.

    Clusters of cases are resampled, and bins are formed anew. Resampling increases the upward bias of the error, so
    percentiles would be too high; the basic bootstrap (Davison and Hinkley 1997, section 5.2) reflects them at the
    estimate, which corrects the bias. The interval always includes the estimate.

    Args:
        confidence: as for `adaptive_ece`.
        right: as for `adaptive_ece`.
        level: level of the interval.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
        replicates: maximum number; above 20,000 cases fewer, down to 200, because the interval is narrow there.
    """
    units = cluster_codes(clusters, len(confidence))
    low, high = _reflected(_weighted_ece(confidence, right), units, level, replicates)
    return max(0.0, low), min(1.0, high)


def ece_difference_interval(
    before: tuple[Floats, Flags],
    after: tuple[Floats, Flags],
    level: float,
    clusters: Clusters = None,
    replicates: int = 1000,
) -> tuple[float, float]:
    """Return a paired bootstrap interval of the difference of two models' `adaptive_ece`, after minus before.

    Each replicate uses the same clusters for both models; otherwise like `ece_interval`.

    Args:
        before: confidence and right of the model before, as for `adaptive_ece`.
        after: confidence and right of the model after, on the same cases.
        level: level of the interval.
        clusters: as for `ece_interval`.
        replicates: as for `ece_interval`.
    """
    errors = [_weighted_ece(*model) for model in (before, after)]
    units = cluster_codes(clusters, len(before[0]))
    return _reflected(lambda weights: errors[1](weights) - errors[0](weights), units, level, replicates)


def _weighted_ece(confidence: Floats, right: Flags, bins: int = BINS) -> Callable[[Codes], float]:
    """A function that returns the calibration error for given weights of the cases."""
    order = np.argsort(confidence, kind="stable")
    sure = confidence[order]
    gaps = right[order] - sure
    first = np.searchsorted(sure, sure)

    def error(weights: Codes) -> float:
        weights, n = weights[order], int(weights.sum())
        cuts = np.searchsorted(np.cumsum(weights), np.arange(bins) * n / bins, side="right")
        starts = np.unique(first[cuts])
        starts[0] = 0
        return float(np.abs(np.add.reduceat(weights * gaps, starts)).sum() / n)

    return error


def _reflected(value: Callable[[Codes], float], units: Codes, level: float, replicates: int) -> tuple[float, float]:
    """The basic bootstrap interval of a function of the weights of the cases; it always includes the estimate."""
    generator = np.random.default_rng(0)
    estimate, n = value(np.ones(len(units), dtype=np.intp)), int(units.max()) + 1
    drawn = [
        value(np.bincount(generator.integers(n, size=n), minlength=n)[units])
        for _ in range(max(200, min(replicates, 20_000_000 // len(units))))
    ]
    tail_low, tail_high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return min(float(2 * estimate - tail_high), estimate), max(float(2 * estimate - tail_low), estimate)


def reliability(confidence: Floats, right: Flags, level: float, bins: int = BINS) -> pd.DataFrame:
    """Return the bins of `adaptive_ece`, one row per bin, by ascending confidence.

    Returns:
        bin: number from 1. cases. confidence: mean of the bin. accuracy: with its Wilson interval low..high. All but
        the first two are in 0..1.
    """
    order = np.argsort(confidence, kind="stable")
    sure, hits = confidence[order], right[order].astype(np.int64)
    starts = _bin_starts(sure, bins)
    cases = np.diff([*starts, len(sure)])
    correct = np.add.reduceat(hits, starts)
    intervals = [wilson(int(k), int(n), level) for k, n in zip(correct, cases, strict=True)]
    return pd.DataFrame(
        {
            "bin": np.arange(1, len(starts) + 1),
            "cases": cases,
            "confidence": np.add.reduceat(sure, starts) / cases,
            "accuracy": correct / cases,
            "low": [low for low, _ in intervals],
            "high": [high for _, high in intervals],
        }
    )


def selective_accuracy(confidence: Floats, right: Flags, points: int = 100) -> pd.DataFrame:
    """Return the accuracy on the most confident cases, by the share of cases answered.

    Cases of equal confidence are answered together, so there may be fewer rows than requested.

    Args:
        confidence: confidence of each case, of shape (n_cases,).
        right: whether the most likely label is the gold label, of shape (n_cases,).
        points: maximum number of rows.

    Returns:
        coverage: share of cases answered, 0..1, ascending to 1. cases. threshold: lowest confidence of an answered
        case. accuracy: of the answered cases, 0..1.
    """
    n = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    falling = -confidence[order]
    wanted = np.ceil(np.arange(1, points + 1) * n / points).astype(np.int64)
    cases = np.unique(np.searchsorted(falling, falling[wanted - 1], side="right"))
    correct = np.cumsum(right[order])
    return pd.DataFrame(
        {
            "coverage": cases / n,
            "cases": cases,
            "threshold": -falling[cases - 1],
            "accuracy": correct[cases - 1] / cases,
        }
    )


def _bin_starts(sorted_confidence: Floats, bins: int) -> npt.NDArray[Any]:
    """The start of each bin; equal values stay in one bin."""
    n = len(sorted_confidence)
    wanted = (np.arange(bins) * n) // bins
    return np.unique(np.searchsorted(sorted_confidence, sorted_confidence[wanted]))
