"""A synthetic data set of orders in natural language, to be converted to JSON.

    message  Please send 3 red lamps to Anna in Ashford, and hurry.
    answer   {"name": "Anna", "town": "Ashford", "item": "lamp", "colour": "red", "count": 3, "urgent": true}

Every field follows from the message; the colour is `null` if the message names none. The content of the order
determines the split: no order of the test split occurs in training in other words.
"""

from __future__ import annotations

from random import Random

from tunediff.data.synthetic.questions import COLOURS, NAMES, THINGS, TOWN_ENDS, TOWN_STARTS
from tunediff.data.synthetic.writing import SyntheticRow, split_of, texts_of, write

FIELDS = ("name", "town", "item", "colour", "count", "urgent")
"""The fields to extract from a message."""

TAGS = ("colour", "no_colour")
"""Whether a message names a colour."""

PATTERNS = (
    "Please send {what} to {name} in {town}{hurry}.",
    "{name} from {town} would like {what}{hurry}.",
    "This is {name}, {town}: I need {what}{hurry}.",
)


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return an order that belongs to the split, or none."""
    colour = rng.choice(COLOURS) if rng.random() < 0.8 else None
    order = {
        "name": rng.choice(NAMES),
        "town": f"{rng.choice(TOWN_STARTS)}{rng.choice(TOWN_ENDS)}",
        "item": rng.choice(THINGS),
        "colour": colour,
        "count": rng.randint(1, 12),
        "urgent": rng.random() < 0.3,
    }
    if split_of(" ".join(map(str, order.values()))) != split:
        return []
    what = " ".join(str(order[name]) for name in ("count", "colour", "item") if order[name] is not None)
    message = rng.choice(PATTERNS).format(
        what=f"{what}{'s' * (order['count'] != 1)}",
        name=order["name"],
        town=order["town"],
        hurry=", and hurry" if order["urgent"] else "",
    )
    return [{"message": message, "answer": order, "tags": [TAGS[colour is None]]}]


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
    """Return the requested number of distinct messages for each split.

    A row is {"message": str, "answer": {one value for each of FIELDS}, "tags": [one of TAGS]}. The same numbers and
    seed give the same rows everywhere. No order occurs in two splits, whatever the numbers and seeds.

    Raises TunediffError when a number is below 0 or above `writing.LARGEST`.
    """
    return write("orders", {"train": train, "validation": validation, "test": test}, seed, ("message",), _draw)


def text(documents: int, seed: int) -> list[str]:
    """Return documents for learning the language: messages of the split train, without answers."""
    return texts_of("message", documents, seed, _draw)
