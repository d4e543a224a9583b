"""How every synthetic data set writes its rows: so many distinct ones for each split, no source text in two splits.

split_of("the plot is dull")      # "train", for any seed; a data set asks it of what a text says, so that every wording
                                  # of the same belongs to the same split
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tunediff.runtime.errors import TunediffError

LARGEST = 50_000
"""The rows of a split that a data set vouches for."""

SyntheticRow = dict[str, object]


def split_of(content: str) -> str:
    """Return the split that a content belongs to: a tenth of all contents to test, half as much to validation."""
    at = hashlib.sha256(content.encode()).digest()[0]
    return "test" if at < 26 else "validation" if at < 39 else "train"


def write(
    name: str,
    wanted: Mapping[str, int],
    seed: int,
    distinct: Sequence[str],
    draw: Callable[[str, int, Random], Sequence[SyntheticRow]],
) -> dict[str, list[SyntheticRow]]:
    """Return that many rows for each split, in a random order; the same numbers and seed give the same everywhere.

    Args:
        name: of the data set.
        wanted: number of rows by split.
        seed: of the draws.
        distinct: columns in which no two rows of a split are the same.
        draw: gives rows of a split from the split, the number of rows that there are and a random generator; or none,
            to be asked again.

    Raises TunediffError when a number is below 0 or above LARGEST.
    """
    done: dict[str, list[SyntheticRow]] = {}
    for split, n in wanted.items():
        if not 0 <= n <= LARGEST:
            raise TunediffError(f"{name}: {split} asks for {n} rows, expected 0 to {LARGEST}")
        rng = Random(f"{seed} {split}")
        seen: set[tuple[object, ...]] = set()
        rows: list[SyntheticRow] = []
        while len(rows) < n:
            for row in draw(split, len(rows), rng):
                key = tuple(row[column] for column in distinct)
                if key not in seen and len(rows) < n:
                    seen.add(key)
                    rows.append(row)
        rng.shuffle(rows)
        done[split] = rows
    return done


def texts_of(
    column: str, documents: int, seed: int, draw: Callable[[str, int, Random], Sequence[SyntheticRow]]
) -> list[str]:
    """Return that many texts of a column, or a few more, from rows of the split train: to learn the language from.

    Args:
        column: of the rows.
        documents: how many.
        seed: of the draws.
        draw: as of `write`.
    """
    rng = Random(f"{seed} text")
    done: list[str] = []
    while len(done) < documents:
        done += [str(row[column]) for row in draw("train", 0, rng)]
    return done
