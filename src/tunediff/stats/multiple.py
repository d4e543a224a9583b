"""Adjust p-values for multiple testing.

>>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]                     # the few planned metrics
[0.03, 0.06, 0.06]
>>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, 0.03])]       # the many slices
[0.03, 0.04, 0.04]
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm 1979, which controls the probability of any false finding.

    Raises:
        ValueError: a p-value is outside of 0..1.
    """
    ordered, places = _ordered(p_values)
    return _adjusted(np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)), places)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Benjamini and Hochberg 1995, which controls the expected share of false findings.

    Raises:
        ValueError: a p-value is outside of 0..1.
    """
    ordered, places = _ordered(p_values)
    shares = np.arange(1, len(ordered) + 1) / max(1, len(ordered))
    return _adjusted(np.minimum.accumulate((ordered / shares)[::-1])[::-1], places)


def _ordered(p_values: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """The sorted p-values, and their original indices."""
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"found p-values {list(p_values)}, expected numbers in 0..1")
    values = np.asarray(p_values, dtype=np.float64)
    places = np.argsort(values)
    return values[places], places


def _adjusted(ordered: npt.NDArray[np.float64], places: npt.NDArray[np.intp]) -> list[float]:
    """Adjusted p-values in the original order, at most 1."""
    adjusted = np.empty_like(ordered)
    adjusted[places] = np.minimum(ordered, 1)
    return [float(p) for p in adjusted]
