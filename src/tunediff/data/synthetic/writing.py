"""Generate the rows of synthetic data sets: distinct rows for each split, and no source text in two splits.

split_of("the plot is dull")      # "train", for any seed; called with the content of a text, so that all wordings of it
                                  # belong to the same split
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tunediff.data.leaks import nearly_equal
from tunediff.runtime.errors import TunediffError

LARGEST = 50_000
"""The number of rows per split that every data set can generate."""

SyntheticRow = dict[str, object]


def split_of(content: str) -> str:
    """Return the split of a content: a tenth of all contents belong to test, half as many to validation."""
    at = hashlib.sha256(content.encode()).digest()[0]
    return "test" if at < 26 else "validation" if at < 39 else "train"


def rows_of(
    name: str,
    distinct: Sequence[str],
    draw: Callable[[str, int, Random], Sequence[SyntheticRow]],
    far: bool = False,
) -> Callable[[int, int, int, int], dict[str, list[SyntheticRow]]]:
    """Return the function that generates the rows of a data set.

    Args:
        name: name of the data set.
        distinct: columns in which all rows of a split differ.
        draw: function of the split, the number of rows so far and a random generator that returns rows of the split, or
            none to be called again.
        far: whether training rows are drawn again until none is a near-duplicate of a validation or test row in
            `distinct` (`tunediff.data.leaks`); `draw` returns one row at a time.
    """

    def texts(row: SyntheticRow) -> tuple[str, ...]:
        return tuple(str(row[column]) for column in distinct)

    def draw_again(
        done: Mapping[str, list[SyntheticRow]], found: dict[tuple[str, ...], SyntheticRow], rng: Random
    ) -> None:
        """Replace training rows that are near-duplicates of other rows; `found` has all that were drawn."""
        train, others = done["train"], [texts(row) for row in (*done["validation"], *done["test"])]
        numbers = list(range(len(train)))
        while near := nearly_equal(others, [texts(train[number]) for number in numbers]).values():
            numbers = [numbers[at] for at in sorted(set().union(*near))]
            for number in numbers:
                n_found = len(found)
                while len(found) == n_found:
                    for row in draw("train", number, rng):
                        train[number] = found.setdefault(texts(row), row)

    def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
        """Return so many rows for each split, in random order; the same arguments give the same rows everywhere.

        Raises:
            TunediffError: a number is below 0 or above `LARGEST`.
        """
        done: dict[str, list[SyntheticRow]] = {}
        for split, n in {"validation": validation, "test": test, "train": train}.items():
            if not 0 <= n <= LARGEST:
                raise TunediffError(f"{name}: {split}: found {n} rows, expected 0 to {LARGEST}")
            rng = Random(f"{seed} {split}")
            found: dict[tuple[str, ...], SyntheticRow] = {}
            while len(found) < n:
                for row in draw(split, len(found), rng):
                    if len(found) < n:
                        found.setdefault(texts(row), row)
            done[split] = list(found.values())
            if far and split == "train":
                draw_again(done, found, rng)
            rng.shuffle(done[split])
        return {split: done[split] for split in ("train", "validation", "test")}

    return rows


def texts_of(
    column: str, draw: Callable[[str, int, Random], Sequence[SyntheticRow]]
) -> Callable[[int, int], list[str]]:
    """Return the function that generates documents for learning the language: a column of rows of the split train.

    Args:
        column: the column of the rows.
        draw: as for `rows_of`.
    """

    def text(documents: int, seed: int) -> list[str]:
        """Return so many documents; a few more may be returned."""
        rng = Random(f"{seed} text")
        done: list[str] = []
        while len(done) < documents:
            done += [str(row[column]) for row in draw("train", 0, rng)]
        return done

    return text
