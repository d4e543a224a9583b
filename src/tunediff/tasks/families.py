"""Families of slices: a column of a task's features, and how its values become the slices of the test set.

Family("overlap", "overlap", share)     # all, half or more, under half
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.values import value_text

# More different numbers than this are cut into quarters.
MOST_NUMBERS = 10


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


def own_families(names: Sequence[str], families: Sequence[Family]) -> list[Family]:
    """The families of columns of the user's own; one that is called as one of ours is called "column NAME".

    Args:
        names: of the columns.
        families: those of the task.
    """
    taken = {"tag", "label", *(family.name for family in families)}
    return [Family(own_column(name), f"column {name}" if name in taken else name, each_or_quarters) for name in names]


def own_column(name: str) -> str:
    """What a column of the user's own is called beside those of a task."""
    return f"own {name}"


def each_or_quarters(texts: pd.Series) -> npt.ArrayLike:
    """Each value as a slice; of more than `MOST_NUMBERS` different numbers the quarter that each is in.

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
