"""Discordant cases and exact tests of all pairs of runs.

    right = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)           # two runs, three cases
    only = discordance(right)                                      # only[a, b]: cases that b has right and a has not
    p = pair_tests(right)                                          # p[a, b]: exact McNemar test, 1 on the diagonal

Cases of a cluster flip together, so their flips are not independent. Then the test flips the signs of the clusters' net
flips. As these are small integers, the p-value is computed exactly and not by sampling (`sign_test`). If every cluster
is a single case, it is McNemar's exact test.
"""

import numpy as np
import numpy.typing as npt
import scipy

from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def discordance(right: Flags) -> Counts:
    """Return the numbers of discordant cases, of shape (n_runs, n_runs).

    Entry [a, b] is the number of cases that b has right and a has not.

    Args:
        right: whether each run has each case right, of shape (n_runs, n_cases).
    """
    # Integers up to 2^53 are exact in float64, whose matrix product is fast.
    numbers = right.astype(np.float64)
    return np.rint((1 - numbers) @ numbers.T).astype(np.int64)


def pair_tests(right: Flags, clusters: Clusters = None) -> Floats:
    """Return the two-sided exact p-value of every pair of runs, symmetric, of shape (n_runs, n_runs).

    Args:
        right: whether each run has each case right, of shape (n_runs, n_cases).
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    codes = cluster_codes(clusters, right.shape[1])
    if int(codes.max()) + 1 == len(codes):
        gained = discordance(right)
        flips = gained + gained.T
        return np.asarray(np.minimum(1.0, 2 * scipy.stats.binom.cdf(np.minimum(gained, gained.T), flips, 0.5)))
    sums = np.stack([np.bincount(codes, weights=row) for row in right]).astype(np.int64)
    found = np.ones((len(right), len(right)))
    for first in range(len(right)):
        for second in range(first + 1, len(right)):
            found[first, second] = found[second, first] = sign_test(sums[second] - sums[first])
    return found


def sign_test(net: Counts) -> float:
    """Return the two-sided exact p-value of the sign-flip test of integers, in 0..1.

    Under the null hypothesis, each number has a random sign. The distribution of the sum is the convolution of the
    binomial distributions of each size.

    >>> f"{sign_test(np.array([1] * 49 + [-1] * 2)):.4g}"
    '1.179e-12'
    >>> round(sign_test(np.array([3, 1, -1])), 9)       # 6 of the 8 choices of signs give a sum as far from zero
    0.75

    Args:
        net: repaired minus broken cases of each cluster.
    """
    sizes, counts = np.unique(np.abs(net[net != 0]), return_counts=True)
    chances = np.ones(1)  # probability of each sum of the numbers with a positive sign
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    total = len(chances) - 1
    # The distribution is symmetric, so the lower tail counts twice.
    least = (total - abs(int(net.sum()))) // 2
    return min(1.0, 2 * float(chances[: least + 1].sum()))
