"""Confidence intervals of a proportion.

>>> low, high = wilson(41, 100)              # accuracy: 41 of 100 right
>>> f"{low:.3f}..{high:.3f}"
'0.319..0.508'
>>> low, high = clopper_pearson(2, 100)      # negative flips: coverage is guaranteed
>>> f"{low:.4f}..{high:.4f}"
'0.0024..0.0704'
"""

from collections.abc import Callable
from typing import Literal

import scipy  # scipy.stats takes a second to import, so it is loaded when it is used

MOST_CASES = 10**9


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, both ends in 0..1.

    Wilson 1927, without continuity correction. It is reported with accuracies. For n = 0, the result is (0, 1).

    Raises:
        ValueError: `successes` is not in 0..n, or `confidence` not in 0..1.
    """
    return _interval(successes, n, confidence, "wilson")


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion, both ends in 0..1.

    Clopper and Pearson 1934: the coverage is at least `confidence` for any true rate, which suits a rate that is
    compared with a limit. For n = 0, the result is (0, 1).

    Raises:
        ValueError: `successes` is not in 0..n, or `confidence` not in 0..1.
    """
    return _interval(successes, n, confidence, "exact")


def _interval(successes: int, n: int, confidence: float, method: Literal["wilson", "exact"]) -> tuple[float, float]:
    if n == 0 and successes == 0:
        return 0.0, 1.0
    interval = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)


def cases_for_rate(successes: int, n: int, limit: float, confidence: float = 0.95) -> int | None:
    """Return the number of cases for which the exact interval excludes a limit, given the current rate.

    >>> cases_for_rate(2, 100, limit=0.05)
    204

    Args:
        successes: number of successes, such as broken cases.
        n: number of cases, at least 1.
        limit: the limit of the rate, in 0..1.
        confidence: level of the interval (Clopper and Pearson 1934).

    Returns:
        The smallest number, which may be less than n; None if it is more than a billion or does not exist, because the
        rate equals the limit.
    """
    tail = (1 - confidence) / 2

    def holds(cases: int) -> bool:
        found = successes * cases / n
        high = 1.0 if successes == n else float(scipy.special.betaincinv(found + 1, cases - found, 1 - tail))
        low = 0.0 if successes == 0 else float(scipy.special.betaincinv(found, cases - found + 1, tail))
        return high <= limit or low > limit

    return fewest(holds)


def boundary(inside: float, outside: float, is_outside: Callable[[float], bool], steps: int = 60) -> float:
    """Return the last value inside before a monotone condition holds, by bisection.

    By hand, because root finders require different signs at the ends, which fails if nothing flips.
    """
    for _ in range(steps):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if is_outside(middle) else (middle, outside)
    return inside


def fewest(holds: Callable[[int], bool]) -> int | None:
    """Return the smallest number for which a monotone condition holds; None if it is more than a billion."""
    most = 1
    while not holds(most):
        most *= 2
        if most > MOST_CASES:
            return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if holds(middle) else (middle, most)
    return most
