"""Paired permutation tests: under the null hypothesis, the answers of the two models to a case are interchangeable.

    >>> f1_before, f1_after = np.array([0.0, 0.5, 0.2, 0.0, 0.4]), np.array([1.0, 0.5, 0.8, 0.3, 1.0])
    >>> sign_flip(f1_after - f1_before)                      # 16 swaps, of which 1 in each direction is as large
    0.125

Swapping cases at random and computing the metric again is approximate randomisation (Yeh 2000); for a mean of
differences, it is the sign-flip test. Cases of a cluster are swapped together.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import AT_ONCE, Clusters, Floats, Statistic, Units, affordable, units
from tunediff.stats.discordance import Flags

REPLICATES = 10_000
# Up to this number of units, all swaps are enumerated instead of sampled.
_COUNTED = 12


class Swaps(NamedTuple):
    """The sums over all units, after swaps.

    observed: without a swap, of shape (1, columns). swapped: of shape (replicates, columns). sampled: whether the swaps
    are a sample; otherwise they are all that there are.
    """

    observed: Floats
    swapped: Floats
    sampled: bool


def swap_test(pairs: Units, statistic: Statistic) -> float:
    """Return the two-sided p-value that before and after are interchangeable, in 0..1.

    Args:
        pairs: as for `swaps`.
        statistic: function of the summed totals of shape (replicates, columns) that returns the difference after minus
            before; swapping all units must change its sign.
    """
    return float(p_values(swaps(pairs), lambda sums: statistic(sums)[:, None])[0])


def swaps(pairs: Units) -> Swaps:
    """Swap before and after of units at random.

    Up to 12 units, all swaps are enumerated; otherwise 10,000 are sampled, or down to 1,000 if there are very many
    distinct rows.

    Args:
        pairs: the result of `tunediff.stats.bootstrap.units` for a table whose left half has the totals of a unit, and
            whose right half, with the same columns, has them with before and after swapped.
    """
    columns = pairs.totals.shape[1] // 2
    kept, swapped = pairs.totals[:, :columns], pairs.totals[:, columns:]
    turned: Any = swapped - kept
    start = (pairs.counts @ kept)[None]
    moves = abs(turned) @ np.ones(columns) > 0
    turned, counts = turned[moves], pairs.counts[moves]
    if counts.sum() <= _COUNTED:
        each = turned[np.repeat(np.arange(len(counts)), counts)]
        choices = np.arange(2 ** each.shape[0])[:, None] >> np.arange(each.shape[0]) & 1
        return Swaps(start, start + choices @ each, sampled=False)
    generator = np.random.default_rng(0)
    replicates = affordable(REPLICATES, len(counts))
    step = max(1, AT_ONCE // max(len(counts), columns))
    sums = np.empty((replicates, columns))
    for first in range(0, replicates, step):
        part = sums[first : first + step]
        part[:] = start + generator.binomial(counts, 0.5, (len(part), len(counts))) @ turned
    return Swaps(start, sums, sampled=True)


def p_values(found: Swaps, statistic: Statistic) -> Floats:
    """Return the p-value of `swap_test` for each of several differences of the same sums.

    Args:
        found: the result of `swaps`.
        statistic: as for `swap_test`, but with values of shape (replicates, differences).
    """
    observed = abs(statistic(found.observed)[0])
    # The order of summation changes the last digits of floats, so ties need a tolerance.
    least = observed - 1e-9 * np.maximum(1.0, observed)
    as_large = np.sum(np.abs(statistic(found.swapped)) >= least, axis=0)
    # The observed table counts as one of the samples; otherwise p could be 0.
    return np.asarray((as_large + found.sampled) / (len(found.swapped) + found.sampled))


def swap_test_of(statistic: Callable[[Flags], Floats], n: int, replicates: int) -> float:
    """Return the p-value of `swap_test` for a statistic that is not a function of sums over units.

    Args:
        statistic: function of whether each unit is swapped, of shape (replicates, n), that returns the difference after
            minus before, of shape (replicates,); swapping all units must change its sign.
        n: number of units.
        replicates: number of swaps to sample, if there are too many to enumerate.
    """
    observed = abs(statistic(np.zeros((1, n), dtype=np.bool_))[0])
    least = observed - 1e-9 * max(1.0, observed)
    if n <= _COUNTED:
        choices = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)
        return float(np.mean(np.abs(statistic(choices)) >= least))
    generator = np.random.default_rng(0)
    step, as_large = max(1, AT_ONCE // n), 0
    for first in range(0, replicates, step):
        swapped = generator.random((min(step, replicates - first), n)) < 0.5
        as_large += int(np.sum(np.abs(statistic(swapped)) >= least))
    return (as_large + 1) / (replicates + 1)


def sign_flip(differences: npt.ArrayLike, clusters: Clusters = None) -> float:
    """Return the two-sided p-value of the sign-flip test of paired differences, in 0..1.

    Args:
        differences: score after minus score before, of length n_cases, such as token F1.
        clusters: cluster of each case, of length n_cases, whose signs are flipped together; None: cases.

    Raises:
        ValueError: there is no case, or the lengths differ.
    """
    change = np.asarray(differences, dtype=np.float64)
    return swap_test(units(np.stack([change, -change], axis=1), clusters), _first_sum)


def _first_sum(sums: Floats) -> Floats:
    return sums[:, 0]
