"""Looking after every case and stopping when it is decided: bets against a mean, whose winnings hold at every look.

    >>> units = one_by_one(np.array([1] * 8))                       # eight cases are repaired and none breaks
    >>> f"{np.exp(log_winnings(units, 0.0)[0]):.1f}"
    '28.4'
    >>> first_decision(units, 0.0, np.log(20), np.log(20))
    8

Of values in -1..1 (1 repaired, -1 broken, else 0) it is bet that their mean is not the one that is asked about: each
value x multiplies a stake by 1 + s (x - mean). All stakes s that cannot be ruined are played at once, each with the
same share of the money. If the mean is what is asked about, the winnings are a martingale that begins with 1, and the
chance that they ever reach 20 is at most 1 in 20, however often one looks (Ville 1939; Waudby-Smith and Ramdas 2024).
Against a mean of 0 they are the test martingale of a fair coin over n flips of which k are repairs,

    E(n, k) = 2^n / ((n + 1) C(n, k))

The stakes are nodes of a quadrature that is exact up to 2 STAKES - 1 values and a martingale for any number.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes
from tunediff.stats.intervals import fewest

STAKES = 500
# With more units it is looked so often, evenly.
LOOKS = 1000
# Against a mean at an end of the range, which a single other value refutes.
LEAST_ROOM = 1e-6

Integers = npt.NDArray[np.int64]


class Units(NamedTuple):
    """What is drawn one after the other: cases, or the cases that share a text.

    kinds: those there are, of shape (2, n_kinds): the sum of a unit's values and its number of cases. kind: of each
    unit, in the order in which they are read. seen: how many cases have been read when it is whole. least: of a value,
    -1 or 0; the most is 1.
    """

    kinds: Integers
    kind: Integers
    seen: Integers
    least: int

    @property
    def counts(self) -> Integers:
        """How many units there are of each kind."""
        return np.bincount(self.kind, minlength=self.kinds.shape[1])

    @property
    def mean(self) -> float:
        """Of the values of all cases."""
        net, size = self.kinds @ self.counts
        return float(net / size)

    def first(self, count: int) -> "Units":
        """The first so many of them."""
        return self._replace(kind=self.kind[:count], seen=self.seen[:count])


def one_by_one(values: Integers, clusters: Clusters = None, least: int = -1) -> Units:
    """Return the units of values in the order in which they are read; a cluster counts with its last case.

    Args:
        values: whole numbers in least..1, of length n_cases, at least 1.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
        least: of a value.
    """
    n = len(values)
    codes = np.arange(n) if clusters is None else cluster_codes(clusters)
    last = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    last[codes] = np.arange(1, n + 1)
    net, size = np.bincount(codes, weights=values).astype(np.int64), np.bincount(codes)
    order = np.argsort(last)
    # As one number: rows of two are sorted slowly.
    keys, kind = np.unique((net + n) * (2 * n + 1) + size, return_inverse=True)
    kinds = np.stack([keys // (2 * n + 1) - n, keys % (2 * n + 1)])
    return Units(kinds, kind[order], last[order], least)


def log_winnings(units: Units, mean: float, looks: Integers | None = None) -> Floats:
    """Return the logarithm of what bets against a mean have won, of shape (n_looks,).

    Args:
        units: at least one.
        mean: that is bet against, in units.least..1.
        looks: after how many units, rising; None: once, after all of them.
    """
    if looks is None:
        return _won(units.counts[None, :], units.kinds, mean, units.least)
    counts = np.zeros((len(looks), units.kinds.shape[1]))
    np.add.at(counts, (np.searchsorted(looks, np.arange(1, looks[-1] + 1)), units.kind[: looks[-1]]), 1)
    return _won(counts.cumsum(axis=0), units.kinds, mean, units.least)


def first_decision(units: Units, mean: float, log_above: float, log_below: float) -> int | None:
    """Return after how many units the winnings first say that the mean is another one; None: they do not.

    Args:
        units: as they are read, at least one.
        mean: that is bet against, in units.least..1.
        log_above: logarithm of the winnings that it takes where the values so far lie above it.
        log_below: the same where they lie below it.
    """
    n = len(units.kind)
    looks = np.unique(np.linspace(1, n, min(n, LOOKS)).round().astype(np.int64))
    net, size = units.kinds
    above = np.cumsum((net - size * mean)[units.kind])[looks - 1] > 0
    # What adds up to 20 in whole numbers may come out as a little less.
    decided = log_winnings(units, mean, looks) >= np.where(above, log_above, log_below) - 1e-9
    return int(looks[decided.argmax()]) if decided.any() else None


def always_valid_interval(units: Units, confidence: float) -> tuple[float, float]:
    """Return the means that bets have not refuted after all units: an interval that holds at every look at once.

    Args:
        units: at least one.
        confidence: that the mean is in the intervals of all looks.
    """
    enough = -np.log(1 - confidence)

    def limit(end: float) -> float:
        if log_winnings(units, end)[0] < enough:
            return end
        inside, outside = units.mean, end
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if log_winnings(units, middle)[0] >= enough else (middle, outside)
        return inside

    return limit(float(units.least)), limit(1.0)


def cases_to_decide(units: Units, mean: float, log_enough: float) -> int | None:
    """Return after how many cases the winnings are enough if units go on as they are; None: after no billion.

    Args:
        units: at least one.
        mean: that is bet against, in units.least..1.
        log_enough: logarithm of the winnings that it takes.
    """
    share = units.counts[None, :] / units.seen[-1]  # of each kind, to a case
    return fewest(lambda cases: bool(_won(share * cases, units.kinds, mean, units.least)[0] >= log_enough))


def _won(counts: Floats | Integers, kinds: Integers, mean: float, least: int) -> Floats:
    """The logarithm of the winnings after so many units of each kind, each kind a net and a size."""
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
    """Nodes in -1..1 and logarithms of their weights, which add up to 1 (Gauss and Legendre)."""
    nodes, weights = np.polynomial.legendre.leggauss(STAKES)
    return nodes, np.log(weights / 2)
