"""Families of slices: a column of a task's features, and how its values become the slices of the test set.

Family("overlap", "overlap", share)     # all, half or more, under half
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd


class Family(NamedTuple):
    """A column of `Task.features`, what its slices are called, and the slice of each value."""

    column: str
    name: str
    cut: Callable[[pd.Series], npt.ArrayLike] = np.asarray


def yes_no(flags: pd.Series) -> npt.ArrayLike:
    """The slices of a flag."""
    return np.where(flags, "yes", "no")


def share(shares: pd.Series) -> npt.ArrayLike:
    """The slices of a share in 0..1."""
    return np.select([shares == 1, shares >= 0.5], ["all", "half or more"], "under half")


def third(places: pd.Series) -> npt.ArrayLike:
    """The slices of a place in a text, in 0..1."""
    return np.select([places < 1 / 3, places < 2 / 3], ["first third", "second third"], "last third")


def quarters(words: pd.Series) -> npt.ArrayLike:
    """The quarter of the length that each case is in, as words; fewer than four where lengths are the same."""
    lengths = words.to_numpy(dtype=np.int64)
    if not len(lengths):
        return []
    ends = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75, 1.0], method="lower")).astype(np.int64)
    starts = [int(lengths.min()), *(int(end) + 1 for end in ends[:-1])]
    names = [
        f"{low} to {high} words" if low < high else f"{low} word{'s' * (low != 1)}"
        for low, high in zip(starts, ends, strict=True)
    ]
    return np.array(names, dtype=object)[np.searchsorted(ends, lengths)]
