"""Generate the rows of synthetic data sets: distinct rows for each split, and no source text in two splits.

split_of("the plot is dull")      # "train", for any seed; called with the content of a text, so that all wordings of it
                                  # belong to the same split
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tunediff.runtime.errors import TunediffError

LARGEST = 50_000
"""The number of rows per split that every data set can generate."""

SyntheticRow = dict[str, object]


def split_of(content: str) -> str:
    """Return the split of a content: a tenth of all contents belong to test, half as many to validation."""
    at = hashlib.sha256(content.encode()).digest()[0]
    return "test" if at < 26 else "validation" if at < 39 else "train"


def write(
    name: str,
    wanted: Mapping[str, int],
    seed: int,
    distinct: Sequence[str],
    draw: Callable[[str, int, Random], Sequence[SyntheticRow]],
) -> dict[str, list[SyntheticRow]]:
    """Generate rows for each split, in random order; the same numbers and seed give the same rows everywhere.

    Args:
        name: name of the data set.
        wanted: number of rows by split.
        seed: seed of the random generator.
        distinct: columns in which all rows of a split differ.
        draw: function of the split, the number of rows so far and a random generator that returns rows of the split, or
            none to be called again.

    Raises TunediffError when a number is below 0 or above LARGEST.
    """
    done: dict[str, list[SyntheticRow]] = {}
    for split, n in wanted.items():
        if not 0 <= n <= LARGEST:
            raise TunediffError(f"{name}: {split}: found {n} rows, expected 0 to {LARGEST}")
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
    """Return texts of a column from rows of the split train, for learning the language.

    Args:
        column: the column of the rows.
        documents: number of texts; a few more may be returned.
        seed: seed of the random generator.
        draw: as for `write`.
    """
    rng = Random(f"{seed} text")
    done: list[str] = []
    while len(done) < documents:
        done += [str(row[column]) for row in draw("train", 0, rng)]
    return done
