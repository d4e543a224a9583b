"""A synthetic data set of texts to copy, to test whether a model fine-tuned on another task can still copy its input.

    text      basket 471 harbour red
    answer    basket 471 harbour red

The texts are random words and numbers, so that they cannot be guessed from their beginning. The text determines the
split.
"""

from random import Random

from tunediff.data.synthetic.questions import COLOURS, NAMES, THINGS, TOWN_ENDS, TOWN_STARTS
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of

LENGTHS = (2, 4, 8)
"""Numbers of words per text."""


def _word(rng: Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return str(rng.randint(10, 999))
    if kind == 1:
        return f"{rng.choice(TOWN_STARTS)}{rng.choice(TOWN_ENDS)}"
    return rng.choice(COLOURS + THINGS if kind == 2 else NAMES)


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return a text that belongs to the split, or none."""
    words = rng.choice(LENGTHS)
    text = " ".join(_word(rng) for _ in range(words))
    if split_of(text) != split:
        return []
    return [{"text": text, "answer": text, "tags": [f"{words} words"]}]


rows = rows_of("copying", ("text",), _draw)
"""Rows {"text": str, "answer": the same, "tags": [its length]}."""
