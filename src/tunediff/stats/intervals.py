"""Confidence intervals of one proportion.

>>> low, high = wilson(41, 100)              # accuracy: 41 of 100 right
>>> f"{low:.3f}..{high:.3f}"
'0.319..0.508'
>>> low, high = clopper_pearson(2, 100)      # negative flips: a bound that is never too short
>>> f"{low:.4f}..{high:.4f}"
'0.0024..0.0704'
"""

from typing import Literal

import scipy  # and not scipy.stats, which takes a second to import, before it is needed


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, both ends in 0..1.

    Wilson 1927, without continuity correction: the interval reported with an accuracy. No case at all says
    nothing, so n = 0 gives (0, 1).

    Raises:
        ValueError: `successes` is not in 0..n, or `confidence` not in 0..1.
    """
    return _interval(successes, n, confidence, "wilson")


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion, both ends in 0..1.

    Clopper and Pearson 1934: covers at least `confidence` whatever the true rate, so it suits a rate that is
    held against a budget. n = 0 gives (0, 1).

    Raises:
        ValueError: `successes` is not in 0..n, or `confidence` not in 0..1.
    """
    return _interval(successes, n, confidence, "exact")


def _interval(successes: int, n: int, confidence: float, method: Literal["wilson", "exact"]) -> tuple[float, float]:
    if n == 0 and successes == 0:
        return 0.0, 1.0
    interval = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)
