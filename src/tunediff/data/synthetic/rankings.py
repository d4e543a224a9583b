"""A synthetic data set of multiple choice: the first or last of three people, with four options per case.

    question  Ann is taller than Bob. Bob is taller than Eve. Who is the shortest?
    options   Bob, Ann, Eve, Kim
    answer    C

The answer follows from the sentences. The names and the scale determine the split: no three people in the same order
are in two splits. One option is a name that does not occur in the question; the position of the right one is uniform.
"""

from __future__ import annotations

from random import Random

from tunediff.data.synthetic.questions import NAMES
from tunediff.data.synthetic.writing import SyntheticRow, split_of, texts_of, write

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


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
    """Return the requested number of distinct questions for each split.

    A row is {"question": str, "options": [four names], "answer": one of LABELS, "tags": [one of TAGS]}. The same
    numbers and seed give the same rows everywhere. No three people in one order occur in two splits.

    Raises TunediffError when a number is below 0 or above `writing.LARGEST`.
    """
    return write("rankings", {"train": train, "validation": validation, "test": test}, seed, ("question",), _draw)


def text(documents: int, seed: int) -> list[str]:
    """Return documents for learning the language: questions of the split train, without answers."""
    return texts_of("question", documents, seed, _draw)
