"""Families of slices: columns of features, and the mapping of their values to slices of the test set.

Family("overlap", "overlap", share)     # all, half or more, under half
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.values import value_text

# More distinct numbers are grouped into quarters.
MOST_NUMBERS = 10


class Family(NamedTuple):
    """A column of `Task.features`, the name of its slices, and the function that maps values to slices."""

    column: str
    name: str
    cut: Callable[[pd.Series], npt.ArrayLike] = np.asarray


def yes_no(flags: pd.Series) -> npt.ArrayLike:
    """Return the slice of each flag."""
    return np.where(flags, "yes", "no")


def share(shares: pd.Series) -> npt.ArrayLike:
    """Return the slice of each share in 0..1."""
    return np.select([shares == 1, shares >= 0.5], ["all", "half or more"], "under half")


def third(places: pd.Series) -> npt.ArrayLike:
    """Return the slice of each position in a text, in 0..1."""
    return np.select([places < 1 / 3, places < 2 / 3], ["first third", "second third"], "last third")


def quarters(words: pd.Series) -> npt.ArrayLike:
    """Return the quarter of each length, such as "8 to 11 words"; there are fewer than four if lengths are equal."""
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


def user_families(names: Sequence[str], families: Sequence[Family]) -> list[Family]:
    """Return the families of the user's columns; one with the name of a task's family is named "column NAME"."""
    taken = {"tag", "label", *(family.name for family in families)}
    return [Family(user_column(name), f"column {name}" if name in taken else name, each_or_quarters) for name in names]


def user_column(name: str) -> str:
    """Return the name of a user's column among the features."""
    return f"own {name}"


def each_or_quarters(texts: pd.Series) -> npt.ArrayLike:
    """Return each value as a slice; with more than `MOST_NUMBERS` distinct numbers, the quarter of each.

    >>> list(each_or_quarters(pd.Series(["web", "phone", "web"])))
    ['web', 'phone', 'web']
    >>> each_or_quarters(pd.Series(list(map(str, range(20)))))[[0, 5, 10, 19]].tolist()
    ['0 to 4', '5 to 9', '10 to 14', '15 to 19']
    """
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all() or len(np.unique(numbers)) <= MOST_NUMBERS:
        return texts.to_numpy(dtype=object)
    ends = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75, 1.0], method="lower"))
    quarter = np.searchsorted(ends, numbers)
    names = []
    for at, end in enumerate(ends):
        low, high = (value_text(float(number)) for number in (numbers[quarter == at].min(), end))
        names.append(str(low) if low == high else f"{low} to {high}")
    return np.array(names, dtype=object)[quarter]
