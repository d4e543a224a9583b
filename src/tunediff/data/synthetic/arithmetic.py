"""A synthetic data set of arithmetic, to test whether a model fine-tuned on another task can still compute.

    question  12 + 7
    answer    19

Numbers have one to three digits, signs are plus, minus and times, and results are never negative. The numbers and the
sign determine the split.
"""

from __future__ import annotations

from random import Random

from tunediff.data.synthetic.writing import SyntheticRow, split_of, write

TAGS = ("plus", "minus", "times")
"""The operations."""

SIGNS = {"plus": "+", "minus": "-", "times": "x"}


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a sum that belongs to the split, or none."""
    tag = rng.choice(TAGS)
    most = 12 if tag == "times" else rng.choice((9, 99, 999))
    first, second = rng.randint(2, most), rng.randint(2, most)
    if tag == "minus":
        first, second = max(first, second), min(first, second)
    question = f"{first} {SIGNS[tag]} {second}"
    if split_of(question) != split:
        return []
    result = {"plus": first + second, "minus": first - second, "times": first * second}[tag]
    return [{"question": question, "answer": str(result), "tags": [tag, f"{len(str(most))} digits"]}]


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
    """Return the requested number of distinct sums for each split.

    A row is {"question": str, "answer": str, "tags": [one of TAGS, the digits of the larger number at most]}. The same
    numbers and seed give the same rows everywhere. No sum occurs in two splits, whatever the numbers and seeds.

    Raises TunediffError when a number is below 0 or above `writing.LARGEST`.
    """
    return write("arithmetic", {"train": train, "validation": validation, "test": test}, seed, ("question",), _draw)
