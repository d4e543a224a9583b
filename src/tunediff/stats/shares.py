"""Intervals of shares of cases that account for clusters.

>>> from tunediff.stats.intervals import wilson
>>> low, high = share_interval(np.repeat([True, False], [41, 59]), wilson, 0.95, clusters=None)
>>> f"{low:.3f}..{high:.3f}"
'0.319..0.508'
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, mean_interval, n_clusters


def share_interval(
    flags: npt.NDArray[np.bool_],
    plain: Callable[[int, int, float], tuple[float, float]],
    confidence: float,
    clusters: Clusters,
) -> tuple[float, float]:
    """Return the interval of the share of flagged cases, both ends in 0..1.

    With clusters of several cases, each end is the wider of the plain interval and of a cluster bootstrap: a bootstrap
    alone has zero width if all flags are equal, and the plain interval treats the cases of a cluster as independent.
    With a single cluster, the result is (0, 1).

    Args:
        flags: flag of each case, of length n_cases, at least 1.
        plain: function of successes, n and confidence, such as `tunediff.stats.intervals.wilson`.
        confidence: level of the interval.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    n, count = len(flags), int(flags.sum())
    found = n_clusters(clusters, n)
    if found == 1 < n:
        return 0.0, 1.0
    # If all flags are equal, a bootstrap has zero width, so clusters are counted instead of cases.
    alike = count in (0, n)
    low, high = plain(found * (count > 0), found, confidence) if alike else plain(count, n, confidence)
    if found == n or alike:
        return low, high
    drawn_low, drawn_high = mean_interval(flags.astype(int), clusters, confidence)
    return max(0.0, min(low, drawn_low)), min(1.0, max(high, drawn_high))
