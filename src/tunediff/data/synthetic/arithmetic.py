"""A synthetic data set of arithmetic, to test whether a model fine-tuned on another task can still compute.

    question  12 + 7
    answer    19

Numbers have one to three digits, signs are plus, minus and times, and results are never negative. The numbers and the
sign determine the split.
"""

from random import Random

from tunediff.data.synthetic.sums import SIGNS, compute
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a sum that belongs to the split, or none."""
    tag = rng.choice(list(SIGNS))
    most = 12 if tag == "times" else rng.choice((9, 99, 999))
    first, second, result = compute(tag, most, rng)
    question = f"{first} {SIGNS[tag]} {second}"
    if split_of(question) != split:
        return []
    return [{"question": question, "answer": str(result), "tags": [tag, f"{len(str(most))} digits"]}]


rows = rows_of("arithmetic", ("question",), _draw)
"""Rows {"question": str, "answer": str, "tags": [a key of SIGNS, the digits of the larger number at most]}."""
