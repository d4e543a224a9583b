"""Sequential tests of a mean by betting: valid at every look, so that one may stop as soon as it is decided.

    >>> units = sequential_units(np.array([1] * 8))                       # eight cases are repaired, none is broken
    >>> f"{np.exp(log_winnings(units, 0.0)[0]):.1f}"
    '28.4'
    >>> first_decision(units, 0.0, np.log(20), np.log(20))
    8

The values are in -1..1 (1 repaired, -1 broken, else 0). The bet is against a hypothetical mean: each value x multiplies
the capital of stake s by 1 + s (x - mean). All stakes s that cannot lead to ruin are combined with equal shares. If the
hypothetical mean is true, the capital is a martingale that starts at 1, and the probability that it ever reaches 20 is
at most 1 in 20 (Ville 1939; Waudby-Smith and Ramdas 2024). Against a mean of 0, it is the test martingale of a fair
coin, with n flips of which k are repairs:

    E(n, k) = 2^n / ((n + 1) C(n, k))

The stakes are the nodes of a quadrature that is exact for up to 2 STAKES - 1 values and a martingale for any number.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes
from tunediff.stats.intervals import boundary, fewest

STAKES = 500
# Maximum number of looks, evenly spaced.
LOOKS = 1000
# Lower bound for the distance of the mean from the ends of the range, where a single value would refute it.
LEAST_ROOM = 1e-6

Integers = npt.NDArray[np.int64]


class Units(NamedTuple):
    """The sequence of observations: cases or clusters of cases.

    kinds: distinct kinds of units, of shape (2, n_kinds): the sum of a unit's values and its number of cases. kind: the
    kind of each unit, in the order of reading. seen: number of cases read when each unit is complete. least: lowest
    possible value, -1 or 0; the highest is 1.
    """

    kinds: Integers
    kind: Integers
    seen: Integers
    least: int

    @property
    def counts(self) -> Integers:
        """The number of units of each kind."""
        return np.bincount(self.kind, minlength=self.kinds.shape[1])

    @property
    def mean(self) -> float:
        """The mean of the values of all cases."""
        net, size = self.kinds @ self.counts
        return float(net / size)

    def first(self, count: int) -> "Units":
        """Return the first units."""
        return self._replace(kind=self.kind[:count], seen=self.seen[:count])


def sequential_units(values: Integers, clusters: Clusters = None, least: int = -1) -> Units:
    """Return the units in the order of reading; a cluster counts as read with its last case.

    Args:
        values: integers in least..1, of length n_cases, at least 1.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
        least: lowest possible value.
    """
    n = len(values)
    codes = cluster_codes(clusters, n)
    last = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    last[codes] = np.arange(1, n + 1)
    net, size = np.bincount(codes, weights=values).astype(np.int64), np.bincount(codes)
    order = np.argsort(last)
    # Encoded as one number, because sorting rows is slow.
    keys, kind = np.unique((net + n) * (2 * n + 1) + size, return_inverse=True)
    kinds = np.stack([keys // (2 * n + 1) - n, keys % (2 * n + 1)])
    return Units(kinds, kind[order], last[order], least)


def log_winnings(units: Units, mean: float, looks: Integers | None = None) -> Floats:
    """Return the logarithm of the capital of bets against a mean, of shape (n_looks,).

    Args:
        units: at least one unit.
        mean: the hypothetical mean, in units.least..1.
        looks: numbers of units after which to look, ascending; None: once, after all units.
    """
    if looks is None:
        return _log_capital(units.counts[None, :], units.kinds, mean, units.least)
    counts = np.zeros((len(looks), units.kinds.shape[1]))
    np.add.at(counts, (np.searchsorted(looks, np.arange(1, looks[-1] + 1)), units.kind[: looks[-1]]), 1)
    return _log_capital(counts.cumsum(axis=0), units.kinds, mean, units.least)


def first_decision(units: Units, mean: float, log_above: float, log_below: float) -> int | None:
    """Return the number of units after which the mean is first rejected; None if it is not.

    Args:
        units: at least one unit, in the order of reading.
        mean: the hypothetical mean, in units.least..1.
        log_above: logarithm of the capital required to reject it if the values so far are above it.
        log_below: logarithm of the capital required if they are below it.
    """
    n = len(units.kind)
    looks = np.unique(np.linspace(1, n, min(n, LOOKS)).round().astype(np.int64))
    net, size = units.kinds
    above = np.cumsum((net - size * mean)[units.kind])[looks - 1] > 0
    # A capital of exactly 20 may be computed as slightly less.
    decided = log_winnings(units, mean, looks) >= np.where(above, log_above, log_below) - 1e-9
    return int(looks[decided.argmax()]) if decided.any() else None


def always_valid_interval(units: Units, confidence: float) -> tuple[float, float]:
    """Return the interval of means that are not rejected after all units, valid at all looks simultaneously.

    Args:
        units: at least one unit.
        confidence: probability that the intervals of all looks contain the mean.
    """
    enough = -np.log(1 - confidence)

    def is_rejected(mean: float) -> bool:
        return bool(log_winnings(units, mean)[0] >= enough)

    def limit(end: float) -> float:
        return boundary(units.mean, end, is_rejected, steps=40) if is_rejected(end) else end

    return limit(float(units.least)), limit(1.0)


def cases_to_decide(units: Units, mean: float, log_enough: float) -> int | None:
    """Return the number of cases required to reject a mean, if further units are like these; None above a billion.

    Args:
        units: at least one unit.
        mean: the hypothetical mean, in units.least..1.
        log_enough: logarithm of the required capital.
    """
    share = units.counts[None, :] / units.seen[-1]  # units of each kind per case
    return fewest(lambda cases: bool(_log_capital(share * cases, units.kinds, mean, units.least)[0] >= log_enough))


def _log_capital(counts: Floats | Integers, kinds: Integers, mean: float, least: int) -> Floats:
    """The logarithm of the capital after the given numbers of units of each kind (sum of values, number of cases)."""
    nodes, log_weights = _nodes()
    low, high = -1 / max(1 - mean, LEAST_ROOM), 1 / max(mean - least, LEAST_ROOM)
    stakes = (low + high) / 2 + (high - low) / 2 * nodes
    net, size = kinds
    values = (net - size * mean) / size.max()
    factors = np.log1p(np.maximum(np.outer(values, stakes), -1 + 1e-15))
    logs = counts @ factors + log_weights
    most = logs.max(axis=1, keepdims=True)
    return np.asarray(most[:, 0] + np.log(np.exp(logs - most).sum(axis=1)))


@cache
def _nodes() -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes in -1..1 and the logarithms of their weights, which sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(STAKES)
    return nodes, np.log(weights / 2)
