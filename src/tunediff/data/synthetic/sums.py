r"""A synthetic data set of word problems: the last line of an answer has the result after ####.

    question  Ann has 3 apples and buys 4 more. How many apples does Ann have now?
    answer    3 + 4 = 7
              #### 7

The format is that of GSM8K (Cobbe et al. 2021). The numbers and the operation determine the split: no problem of the
test split occurs in training in other words.
"""

from __future__ import annotations

from random import Random

from tunediff.data.synthetic.questions import NAMES
from tunediff.data.synthetic.writing import SyntheticRow, split_of, texts_of, write

THINGS = ("apples", "books", "coins", "eggs", "pens", "cups", "cards", "shells", "stamps", "tickets")
GAINS = ("buys {n} more", "finds {n} more", "gets {n} more from a friend")
LOSSES = ("gives {n} away", "loses {n}", "sells {n}")

TAGS = ("plus", "minus", "times")
"""The operations."""


def _sum(rng: Random) -> tuple[str, int, int, int]:
    """Return the operation, two numbers from 2 to 50 (times: to 12), and the result, which is never negative."""
    tag = rng.choice(TAGS)
    most = 12 if tag == "times" else 50
    first, second = rng.randint(2, most), rng.randint(2, most)
    if tag == "minus":
        first, second = max(first, second), min(first, second)
    return tag, first, second, {"plus": first + second, "minus": first - second, "times": first * second}[tag]


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a sum that belongs to the split, or none."""
    tag, first, second, result = _sum(rng)
    if split_of(f"{tag} {first} {second}") != split:
        return []
    who, what = rng.choice(NAMES), rng.choice(THINGS)
    if tag == "times":
        question = f"{who} has {first} boxes of {second} {what} each. How many {what} does {who} have?"
    else:
        deed = rng.choice(GAINS if tag == "plus" else LOSSES).format(n=second)
        question = f"{who} has {first} {what} and {deed}. How many {what} does {who} have now?"
    sign = {"plus": "+", "minus": "-", "times": "x"}[tag]
    return [{"question": question, "answer": f"{first} {sign} {second} = {result}\n#### {result}", "tags": [tag]}]


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
    """Return the requested number of distinct questions for each split.

    A row is {"question": str, "answer": str, "tags": [one of TAGS]}. The same numbers and seed give the same rows
    everywhere. No sum occurs in two splits, whatever the numbers and seeds.

    Raises TunediffError when a number is below 0 or above `writing.LARGEST`.
    """
    return write("sums", {"train": train, "validation": validation, "test": test}, seed, ("question",), _draw)


def text(documents: int, seed: int) -> list[str]:
    """Return documents for learning the language: questions of the split train, without answers."""
    return texts_of("question", documents, seed, _draw)
