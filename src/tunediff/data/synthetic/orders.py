"""A synthetic data set of orders in natural language, to be converted to JSON.

    message  Please send 3 red lamps to Anna in Ashford, and hurry.
    answer   {"name": "Anna", "town": "Ashford", "item": "lamp", "colour": "red", "count": 3, "urgent": true}

Every field follows from the message; the colour is `null` if the message names none. The content of the order
determines the split: no order of the test split occurs in training in other words.
"""

from random import Random

from tunediff.data.synthetic.questions import COLOURS, NAMES, THINGS, TOWN_ENDS, TOWN_STARTS
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of, texts_of

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


rows = rows_of("orders", ("message",), _draw)
"""Rows {"message": str, "answer": the order, "tags": [one of TAGS]}."""

text = texts_of("message", _draw)
