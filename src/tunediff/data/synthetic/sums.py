r"""A synthetic data set of word problems: the last line of an answer has the result after ####.

    question  Ann has 3 apples and buys 4 more. How many apples does Ann have now?
    answer    3 + 4 = 7
              #### 7

The format is that of GSM8K (Cobbe et al. 2021). The numbers and the operation determine the split: no problem of the
test split occurs in training in other words.
"""

from random import Random

from tunediff.data.synthetic.questions import NAMES
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of, texts_of

THINGS = ("apples", "books", "coins", "eggs", "pens", "cups", "cards", "shells", "stamps", "tickets")
GAINS = ("buys {n} more", "finds {n} more", "gets {n} more from a friend")
LOSSES = ("gives {n} away", "loses {n}", "sells {n}")

SIGNS = {"plus": "+", "minus": "-", "times": "x"}
"""The operations, with their signs."""


def compute(tag: str, most: int, rng: Random) -> tuple[int, int, int]:
    """Return two numbers from 2 to `most` and the result of the operation, which is never negative."""
    first, second = rng.randint(2, most), rng.randint(2, most)
    if tag == "minus":
        first, second = max(first, second), min(first, second)
    return first, second, {"plus": first + second, "minus": first - second, "times": first * second}[tag]


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a sum that belongs to the split, or none."""
    tag = rng.choice(list(SIGNS))
    first, second, result = compute(tag, 12 if tag == "times" else 50, rng)
    if split_of(f"{tag} {first} {second}") != split:
        return []
    who, what = rng.choice(NAMES), rng.choice(THINGS)
    if tag == "times":
        question = f"{who} has {first} boxes of {second} {what} each. How many {what} does {who} have?"
    else:
        deed = rng.choice(GAINS if tag == "plus" else LOSSES).format(n=second)
        question = f"{who} has {first} {what} and {deed}. How many {what} does {who} have now?"
    answer = f"{first} {SIGNS[tag]} {second} = {result}\n#### {result}"
    return [{"question": question, "answer": answer, "tags": [tag]}]


rows = rows_of("sums", ("question",), _draw)
"""Rows {"question": str, "answer": str, "tags": [a key of SIGNS]}."""

text = texts_of("question", _draw)
