"""Paired permutation tests: if the two models were the same, any case could as well have its answers swapped.

    >>> f1_before, f1_after = np.array([0.0, 0.5, 0.2, 0.0, 0.4]), np.array([1.0, 0.5, 0.8, 0.3, 1.0])
    >>> sign_flip(f1_after - f1_before)                      # 16 swaps: 1 of them as large, either way
    0.125

Swapping every case at random and computing the metric again is Yeh's approximate randomisation (2000); for a mean of
differences it is the sign-flip test. Cases that share a source are swapped together.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import AT_ONCE, Clusters, Floats, Statistic, Units, affordable, units

Flags = npt.NDArray[np.bool_]

REPLICATES = 10_000
# With no more units than this, all swaps are counted instead of drawn.
_COUNTED = 12


def swap_test(pairs: Units, statistic: Statistic, replicates: int | None = None, seed: int = 0) -> float:
    """Return the two-sided p-value that before and after are interchangeable, in 0..1.

    Args:
        pairs: what `tunediff.stats.bootstrap.units` makes of a table whose left half holds the totals of a unit as it
            is and whose right half, with the same columns, holds them with before and after swapped.
        statistic: the difference after minus before, from summed totals of shape (replicates, columns); swapping
            every unit must turn its sign.
        replicates: how many swaps to draw, where there are too many to count them all; None: 10,000, and down to
            1,000 where units are of very many kinds.
        seed: of the draws.
    """
    return float(swap_tests(pairs, lambda sums: statistic(sums)[:, None], replicates, seed)[0])


def swap_tests(
    pairs: Units, statistic: Callable[[Floats], Floats], replicates: int | None = None, seed: int = 0
) -> Floats:
    """Return the p-value of `swap_test` for each of several differences that are computed from the same sums.

    Args:
        pairs: as for `swap_test`.
        statistic: as for `swap_test`, of shape (replicates, differences).
        replicates: as for `swap_test`.
        seed: of the draws.
    """
    columns = pairs.totals.shape[1] // 2
    kept, swapped = pairs.totals[:, :columns], pairs.totals[:, columns:]
    turned: Any = swapped - kept
    start = pairs.counts @ kept
    observed = abs(statistic(start[None])[0])
    # Sums of floats in another order differ in their last digits, which must not tell a tie from a smaller value.
    least = observed - 1e-9 * np.maximum(1.0, observed)
    moves = abs(turned) @ np.ones(columns) > 0
    turned, counts = turned[moves], pairs.counts[moves]
    if len(counts) == 0:
        return np.ones(len(observed))
    if counts.sum() <= _COUNTED:
        each = turned[np.repeat(np.arange(len(counts)), counts)]
        choices = np.arange(2 ** each.shape[0])[:, None] >> np.arange(each.shape[0]) & 1
        return np.asarray(np.mean(np.abs(statistic(start + choices @ each)) >= least, axis=0))
    generator = np.random.default_rng(seed)
    replicates = replicates or affordable(REPLICATES, len(counts))
    step, as_large = max(1, AT_ONCE // max(len(counts), columns)), np.zeros(len(observed))
    for first in range(0, replicates, step):
        size = min(step, replicates - first)
        sums = start + generator.binomial(counts, 0.5, (size, len(counts))) @ turned
        as_large += np.sum(np.abs(statistic(sums)) >= least, axis=0)
    # The observed table is one of the possible ones: without it p could be 0, which no finite test shows.
    return (as_large + 1) / (replicates + 1)


def swap_test_of(statistic: Callable[[Flags], Floats], n: int, replicates: int | None = None, seed: int = 0) -> float:
    """Return the p-value of `swap_test` for a statistic that no sums over units give.

    Args:
        statistic: the difference after minus before, of shape (some,), from whether each unit is swapped, of shape
            (some, n); swapping every unit must turn its sign.
        n: units.
        replicates: how many swaps to draw where there are too many to count them all; None: 10,000, and down to 1,000
            where there are many units.
        seed: of the draws.
    """
    observed = abs(statistic(np.zeros((1, n), dtype=np.bool_))[0])
    least = observed - 1e-9 * max(1.0, observed)
    if n <= _COUNTED:
        choices = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)
        return float(np.mean(np.abs(statistic(choices)) >= least))
    generator = np.random.default_rng(seed)
    replicates = replicates or affordable(REPLICATES, n)
    step, as_large = max(1, AT_ONCE // n), 0
    for first in range(0, replicates, step):
        swapped = generator.random((min(step, replicates - first), n)) < 0.5
        as_large += int(np.sum(np.abs(statistic(swapped)) >= least))
    return (as_large + 1) / (replicates + 1)


def sign_flip(differences: npt.ArrayLike, clusters: Clusters = None) -> float:
    """Return the two-sided p-value that per-case differences are as likely upwards as downwards, in 0..1.

    Args:
        differences: score after minus score before, of length n_cases, such as token F1.
        clusters: of length n_cases; cases of a cluster change their sign together.

    Raises:
        ValueError: no case, or clusters of another length.
    """
    change = np.asarray(differences, dtype=np.float64)
    return swap_test(units(np.stack([change, -change], axis=1), clusters), _first_sum)


def _first_sum(sums: Floats) -> Floats:
    return sums[:, 0]
