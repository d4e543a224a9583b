"""A synthetic data set of multiple choice: the first or last of three people, with four options per case.

    question  Ann is taller than Bob. Bob is taller than Eve. Who is the shortest?
    options   Bob, Ann, Eve, Kim
    answer    C

The answer follows from the sentences. The names and the scale determine the split: no three people in the same order
are in two splits. One option is a name that does not occur in the question; the position of the right one is uniform.
"""

from random import Random

from tunediff.data.synthetic.questions import NAMES
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of, texts_of

SCALES = (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"))
LABELS = "ABCD"

TAGS = ("first", "last")
"""The end of the ranking that the question asks for."""


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a question that belongs to the split, or none."""
    more, most, least = rng.choice(SCALES)
    first, second, third, other = rng.sample(NAMES, 4)
    if split_of(f"{more} {first} {second} {third}") != split:
        return []
    facts = [f"{first} is {more} than {second}.", f"{second} is {more} than {third}."]
    rng.shuffle(facts)
    tag = rng.choice(TAGS)
    wanted, right = (most, first) if tag == "first" else (least, third)
    options = [first, second, third, other]
    rng.shuffle(options)
    question = f"{' '.join(facts)} Who is the {wanted}?"
    return [{"question": question, "options": options, "answer": LABELS[options.index(right)], "tags": [tag]}]


rows = rows_of("rankings", ("question",), _draw)
"""Rows {"question": str, "options": [four names], "answer": one of LABELS, "tags": [one of TAGS]}."""

text = texts_of("question", _draw)
