"""Bootstrap intervals of statistics that are computed from sums over cases: means, differences, F1, perplexity.

Cases, clusters of cases, or documents are resampled with replacement. Each unit contributes a row of totals, and units
with equal rows are interchangeable: instead of sampling single units, each replicate samples the frequency of every
distinct row. This is an equivalent bootstrap, whose cost for counts does not depend on the number of cases.

    >>> change = np.repeat([0, 1, -1], [49, 49, 2])          # 49 of 100 cases repaired, 2 broken
    >>> low, high = mean_interval(change)
    >>> f"{low:.2f}..{high:.2f}"
    '0.36..0.57'

For a paired bootstrap of the difference of two models, resample the differences of the cases. Percentile intervals are
too short for few units, so the percentiles are expanded by Student's t (Hesterberg 2015, The American Statistician 69,
371-386, "expanded percentile").
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy
from scipy.sparse import csr_array, vstack

Floats = npt.NDArray[np.float64]
# The cluster of each case; None if cases are independent.
Clusters = Sequence[Any] | npt.NDArray[np.intp] | pd.Series | None
# Maps summed totals of shape (replicates, columns) to values of shape (replicates,).
Statistic = Callable[[Floats], Floats]

REPLICATES = 5000
# Minimum number of replicates, if there are very many distinct rows.
FEWEST = 1000
_DRAWS = 10_000_000
# Numbers in memory at a time, of 8 bytes each.
AT_ONCE = 4_000_000


class Units(NamedTuple):
    """The units to resample: distinct rows of totals, of shape (kinds, columns), and the number of units of each."""

    totals: Floats | csr_array
    counts: npt.NDArray[np.int64]


def units(values: npt.ArrayLike, clusters: Clusters = None) -> Units:
    """Return the units to resample.

    Args:
        values: the summands of the statistic, of shape (n_cases,) or (n_cases, columns).
        clusters: cluster of each case, such as its premise, of length n_cases, resampled as a whole; None: cases.

    Raises:
        ValueError: there is no case, or the lengths differ.
    """
    table = np.asarray(values, dtype=np.float64)
    if len(table) == 0:
        raise ValueError("found no case, expected at least one")
    table = table.reshape(len(table), -1)
    if clusters is not None:
        if len(clusters) != len(table):
            raise ValueError(f"found clusters of {len(clusters)} cases, expected {len(table)}")
        codes = cluster_codes(clusters, len(table))
        table = np.stack([np.bincount(codes, weights=column) for column in table.T], axis=1)
    totals, counts = np.unique(table, axis=0, return_counts=True)
    return Units(totals, counts)


def merged(parts: Iterable[csr_array]) -> Units:
    """Return the units whose integer totals are the rows of sparse tables; equal rows are counted together.

    Args:
        parts: tables of shape (n_units, columns), made one at a time.
    """
    found = [_distinct(part, np.ones(part.shape[0], dtype=np.int64)) for part in parts]
    rows, counts = zip(*found, strict=True)
    return Units(*_distinct(csr_array(vstack(rows)), np.concatenate(counts)))


def _distinct(totals: csr_array, counts: npt.NDArray[np.int64]) -> tuple[csr_array, npt.NDArray[np.int64]]:
    # A hash of 64 bits: among ten million rows, two collide with a probability of 3 in a million.
    numbers = np.random.default_rng(0).integers(-(2**63), 2**63, totals.shape[1])
    _, first, place = np.unique(totals.astype(np.int64) @ numbers, return_index=True, return_inverse=True)
    return totals[first], np.bincount(place, weights=counts).astype(np.int64)


def cluster_codes(clusters: Clusters, n: int) -> npt.NDArray[np.intp]:
    """Return the cluster number of each of n cases, consecutive from 0.

    A case with a null cluster gets its own, as does every case if there are no clusters.
    """
    if clusters is None:
        return np.arange(n)
    codes, names = pd.factorize(pd.Series(clusters).reset_index(drop=True))
    alone = codes < 0
    codes[alone] = len(names) + np.arange(alone.sum())
    return np.asarray(codes)


def n_clusters(clusters: Clusters, n: int) -> int:
    """Return the number of clusters of n cases; see `cluster_codes`."""
    return int(cluster_codes(clusters, n).max()) + 1


def bootstrap_interval(
    strata: Units | Sequence[Units], statistic: Statistic, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the expanded percentile interval of a statistic of sums.

    Args:
        strata: the result of `units`; if there are several, each is resampled separately and keeps its size.
        statistic: function of the summed totals of shape (replicates, columns) that returns values of shape
            (replicates,).
        confidence: level of the interval, in 0..1.

    Raises:
        ValueError: there is a single unit.
    """
    sums, n = resampled(strata)
    return expanded_percentiles(statistic(sums), n, confidence)


def resampled(strata: Units | Sequence[Units]) -> tuple[Floats, int]:
    """Return the sums of each replicate, of shape (replicates, columns), and the number of units.

    There are 5,000 replicates, or down to 1,000 if there are very many distinct rows. All statistics of the same sums
    can be computed from one call.

    Args:
        strata: as for `bootstrap_interval`.

    Raises:
        ValueError: there is a single unit.
    """
    strata = [strata] if isinstance(strata, Units) else list(strata)
    n = sum(int(stratum.counts.sum()) for stratum in strata)
    if n < 2:
        raise ValueError("found a single unit to draw from, expected at least two")
    generator = np.random.default_rng(0)
    replicates = affordable(REPLICATES, sum(len(stratum.counts) for stratum in strata))
    step = max(1, AT_ONCE // max(max(stratum.totals.shape) for stratum in strata))
    sums = np.zeros((replicates, strata[0].totals.shape[1]))
    for start in range(0, replicates, step):
        part = sums[start : start + step]
        for totals, counts in strata:
            part += generator.multinomial(int(counts.sum()), counts / counts.sum(), len(part)) @ totals
    return sums, n


def expanded_percentiles(values: Floats, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the expanded percentile interval.

    Args:
        values: the statistic of each replicate.
        n: number of units, at least two.
        confidence: level of the interval, in 0..1.
    """
    outside = scipy.stats.norm.cdf(-sqrt(n / (n - 1)) * scipy.stats.t.ppf((1 + confidence) / 2, n - 1))
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)


def draws(n: int, replicates: int) -> Iterator[Floats]:
    """Yield the frequencies of n resampled units, in chunks of replicates of shape (n_replicates, n).

    For statistics that are not functions of sums over units, such as one whose threshold is tuned in each replicate.

    Args:
        n: number of units.
        replicates: total number of replicates.
    """
    generator = np.random.default_rng(0)
    step = max(1, AT_ONCE // n)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def affordable(replicates: int, kinds: int) -> int:
    """Return the number of replicates for a number of distinct rows, at most `replicates`."""
    return max(FEWEST, min(replicates, _DRAWS // kinds))


def mean_interval(values: npt.ArrayLike, clusters: Clusters = None, confidence: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of a mean.

    For a score: `mean_interval(f1)`. For a paired difference by paragraph: `mean_interval(after - before, paragraphs)`.

    Args:
        values: value of each case, of length n_cases.
        clusters: cluster of each case, of length n_cases, resampled as a whole; None: cases.
        confidence: level of the interval, in 0..1.

    Raises:
        ValueError: there are fewer than two cases or clusters, or the lengths differ.
    """
    numbers = np.asarray(values, dtype=np.float64)
    drawn = units(np.stack([numbers, np.ones_like(numbers)], axis=1), clusters)
    return bootstrap_interval(drawn, lambda sums: sums[:, 0] / sums[:, 1], confidence)
