"""The interval of a share of cases that knows what cases share.

>>> from tunediff.stats.intervals import wilson
>>> low, high = share_interval(np.repeat([True, False], [41, 59]), wilson, 0.95, clusters=None)
>>> f"{low:.3f}..{high:.3f}"
'0.319..0.508'
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, cluster_codes, mean_interval


def share_interval(
    flags: npt.NDArray[np.bool_],
    plain: Callable[[int, int, float], tuple[float, float]],
    confidence: float,
    clusters: Clusters,
) -> tuple[float, float]:
    """Return the interval of the share of cases for which something holds, both ends in 0..1.

    Where several cases share a cluster, each end is the farther one of the plain interval's and of the cluster
    bootstrap's: a bootstrap alone has no length where all cases are alike, the plain one takes the cases of a cluster
    for independent. Cases that all share one cluster say nothing about another: (0, 1).

    Args:
        flags: whether it holds, of length n_cases, at least 1.
        plain: the interval of so many of so many with a confidence, such as `tunediff.stats.intervals.wilson`.
        confidence: level of the interval.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    n, count = len(flags), int(flags.sum())
    found = n if clusters is None else int(cluster_codes(clusters).max()) + 1
    if found == 1 < n:
        return 0.0, 1.0
    # Where all cases are alike, a bootstrap has no length: there are as many cases as clusters then.
    alike = count in (0, n)
    low, high = plain(found * (count > 0), found, confidence) if alike else plain(count, n, confidence)
    if clusters is None or found == n or alike:
        return low, high
    drawn_low, drawn_high = mean_interval(flags.astype(int), clusters, confidence=confidence)
    return max(0.0, min(low, drawn_low)), min(1.0, max(high, drawn_high))
