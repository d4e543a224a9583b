"""Paired comparison of proportions: tests, intervals of the difference, and power.

Only flips carry information: `repaired` (wrong before, right after) and `broken` (right before, wrong after) cases. The
difference is always after minus before, (repaired - broken) / n.

    >>> f"{mcnemar_exact(repaired=49, broken=2):.4g}"
    '1.179e-12'
    >>> low, high = difference_interval(repaired=49, broken=2, n=100)
    >>> f"{low:.3f}..{high:.3f}"
    '0.361..0.572'
    >>> f"{minimum_detectable_difference(n=1000, discordant=0.10):.3f}"
    '0.028'
"""

from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
import scipy

from tunediff.stats.bootstrap import Clusters, cluster_codes
from tunediff.stats.intervals import boundary, fewest


def mcnemar_exact(repaired: int, broken: int) -> float:
    """Return the two-sided exact p-value that repairs and breaks are equally likely, in 0..1.

    McNemar 1947, by the binomial distribution of the flips instead of the chi-square approximation, which is inaccurate
    for few flips. Without any flip, the result is 1.

    Raises:
        ValueError: a count is negative.
    """
    if repaired == broken == 0:
        return 1.0
    return float(scipy.stats.binomtest(repaired, repaired + broken).pvalue)


def mcnemar_midp(repaired: int, broken: int) -> float:
    """Return the two-sided mid-p value of McNemar's test, in 0..1.

    Counts half of the probability of the observed counts (Fagerland, Lydersen and Laake 2013), which is less
    conservative than the exact test. Without any flip, the result is 1.

    Raises:
        ValueError: a count is negative.
    """
    if repaired == broken == 0:
        return 1.0
    observed = float(scipy.stats.binom.pmf(repaired, repaired + broken, 0.5))
    # With equal counts, both tails include the observed table, and the exact p, capped at 1, counts it once.
    return mcnemar_exact(repaired, broken) - (observed / 2 if repaired == broken else observed)


def difference_interval(repaired: int, broken: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of the difference of two paired proportions, both ends in -1..1.

    Tango 1998 (Statistics in Medicine 17, 891-908): every difference d whose score statistic

        (repaired - broken - n d) / sqrt(n (2 q + d (1 - d)))

    is within the normal quantile, where q is the most likely rate of broken cases given d. The interval stays within
    -1..1, has a positive width if nothing flips, and contains 0 exactly if McNemar's asymptotic test does not reject.
    For n = 0, the result is (-1, 1).

    Raises:
        ValueError: a count is negative, or more cases flip than there are.
    """
    if min(repaired, broken) < 0 or repaired + broken > n:
        raise ValueError(f"repaired {repaired} and broken {broken} do not fit in n = {n}")
    if n == 0:
        return -1.0, 1.0
    z = float(scipy.stats.norm.ppf((1 + confidence) / 2))

    def limit(end: float) -> float:
        return boundary((repaired - broken) / n, end, lambda delta: _rejected(delta, repaired, broken, n, z))

    return limit(-1.0), limit(1.0)


def _rejected(difference: float, repaired: float, broken: float, n: int, z: float) -> bool:
    """Whether a difference is outside of Tango's interval; counts need not be integers, for planning."""
    room, net = difference * (1 - difference), repaired - broken
    half = (2 * n - net) * difference - (repaired + broken)
    q = (sqrt(max(half * half + 8 * n * broken * room, 0.0)) - half) / (4 * n)
    return (net - n * difference) ** 2 > z * z * n * (2 * q + room)


def standard_error(change: npt.NDArray[np.int64], clusters: Clusters = None) -> float:
    """Return the standard error of the mean of paired changes, at least 0.

    >>> f"{standard_error(np.repeat([1, -1, 0], [49, 2, 49])):.4f}"
    '0.0538'

    Args:
        change: change of each case: 1 repaired, -1 broken, else 0; of length n_cases, at least 1.
        clusters: cluster of each case, whose residuals are summed (Liang and Zeger 1986); None: cases are independent.
    """
    residuals = np.bincount(cluster_codes(clusters, len(change)), weights=change - change.mean())
    return sqrt(float(residuals @ residuals)) / len(change)


def mean_difference_interval(
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    confidence: float,
    clusters: Clusters,
) -> tuple[float, float] | None:
    """Return the t interval of the mean of paired differences, after minus before; None for a single unit.

    With clusters, residuals are summed within each (Liang and Zeger 1986), and the degrees of freedom are those of the
    clusters.

    Args:
        before: score of each case before, of shape (n_cases,).
        after: score of each case after.
        confidence: level of the interval, in 0..1.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    change = after - before
    mean, n = float(change.mean()), len(change)
    codes = cluster_codes(clusters, n)
    found = int(codes.max()) + 1
    if found < 2:
        return None
    if np.ptp(change) == 0:
        return mean, mean
    if found == n:
        interval = scipy.stats.ttest_rel(after, before).confidence_interval(confidence)
        return float(interval.low), float(interval.high)
    residuals = np.bincount(codes, weights=change - mean)
    half = (
        float(scipy.stats.t.ppf((1 + confidence) / 2, found - 1))
        * sqrt(found / (found - 1) * residuals @ residuals)
        / n
    )
    return mean - half, mean + half


def minimum_detectable_difference(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Return the smallest difference that n cases detect with the given power, in 0..1, or None.

    Normal approximation of McNemar's test (Connor 1987): the d that solves

        sqrt(n) d = z(1 - alpha/2) sqrt(discordant) + z(power) sqrt(discordant - d^2)

    A difference cannot be larger than the share of cases that flip: if d is, the result is None.

    Args:
        n: number of cases.
        discordant: share of cases that flip, in 0..1.
        alpha: two-sided level of the test.
        power: probability of detecting a difference of this size, in 0.5..1.
    """
    z_alpha, z_power = _quantiles(alpha, power)
    root = n + z_power**2 - z_alpha**2
    if root < 0:  # fewer than four cases at the usual levels: the equation has no solution
        return None
    difference = sqrt(discordant) * (z_alpha * sqrt(n) + z_power * sqrt(root)) / (n + z_power**2)
    return difference if difference <= discordant else None


def smallest_detectable(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest difference that n cases detect with the given power, always a number in 0..1.

    This is `minimum_detectable_difference` if it exists. If too few cases flip, it is the smallest detectable
    difference under the assumption that all flips go the same way, so that discordant = d:

        sqrt(n d) = z(1 - alpha/2) + z(power) sqrt(1 - d)

    and 1 if there is no solution.

    Args:
        n: number of cases.
        discordant: share of cases that flip, in 0..1.
        alpha: two-sided level of the test.
        power: probability of detecting a difference of this size, in 0.5..1.
    """
    found = minimum_detectable_difference(n, discordant, alpha, power) if discordant else None
    if found is not None:
        return found
    z_alpha, z_power = _quantiles(alpha, power)
    if n <= z_alpha**2:
        return 1.0
    # The equation is quadratic in the root of 1 - d.
    root = (n - z_alpha**2) * (n + z_power**2) + (z_alpha * z_power) ** 2
    unflipped = (sqrt(root) - z_alpha * z_power) / (n + z_power**2)
    return 1 - unflipped**2


def cases_needed(difference: float, discordant: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the number of cases required to detect a difference with the given power.

    The formula of `minimum_detectable_difference`, solved for n.

    Args:
        difference: the difference, in -1..1; its sign does not matter.
        discordant: share of cases that flip, in 0..1.
        alpha: two-sided level of the test.
        power: probability of detecting the difference, in 0.5..1.

    Raises:
        ValueError: the difference is 0, or larger than the share of cases that flip.
    """
    if not 0 < abs(difference) <= discordant:
        raise ValueError(f"found difference {difference}, expected more than 0 and at most {discordant}")
    z_alpha, z_power = _quantiles(alpha, power)
    return ceil(((z_alpha * sqrt(discordant) + z_power * sqrt(discordant - difference**2)) / difference) ** 2)


def cases_for_margin(repaired: int, broken: int, n: int, margin: float, confidence: float = 0.95) -> int | None:
    """Return the number of cases for which the interval of the difference excludes -margin, given the current rates.

    If nothing flips, the lower end is -z^2 / (n + z^2):

    >>> [cases_for_margin(0, 0, 24, margin) for margin in (0.05, 0.02, 0.01)]
    [73, 189, 381]

    Args:
        repaired: cases that went from not right to right.
        broken: cases that went from right to not right.
        n: number of cases, at least 1.
        margin: the non-inferiority margin, in 0..1.
        confidence: level of the interval (Tango 1998).

    Returns:
        The smallest number, which may be less than n; None if it is more than a billion or does not exist, because the
        difference equals -margin.
    """
    z = float(scipy.stats.norm.ppf((1 + confidence) / 2))
    return fewest(lambda cases: _rejected(-margin, repaired * cases / n, broken * cases / n, cases, z))


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    return float(scipy.stats.norm.ppf(1 - alpha / 2)), float(scipy.stats.norm.ppf(power))
