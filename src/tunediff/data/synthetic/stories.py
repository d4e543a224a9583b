"""Text for learning the language of the captions; no document relates one sentence to another by a label.

text(documents=3, seed=1)[0]
# A woman is reading outdoors.
# A person is reading a book in the park.
# A sign says maybe.
"""

from functools import cache
from random import Random

from tunediff.data.synthetic.scenes import (
    ALWAYS,
    Description,
    draw,
    is_relation,
    meanings,
    pick,
    pick_event,
    plausible,
    render,
    split_of,
    values_of,
    with_change,
    with_detail,
)

SIGNS = ("yes", "maybe", "no")
"""Texts of signs: words that a prompt may use for the labels, all equally likely."""


@cache
def _wider(attribute: str, value: str) -> tuple[str, ...]:
    table = meanings(attribute)
    return tuple(wider for wider in values_of(attribute) if table[value] <= table[wider])


def _glimpse(scene: Description, rng: Random) -> Description | None:
    """Return a true and incomplete description of the scene, partly in more general words."""
    seen = {}
    for attribute, value in scene.items():
        if attribute not in ALWAYS and rng.random() < 0.3:
            continue
        wider = _wider(attribute, value)
        seen[attribute] = rng.choice(wider) if wider and rng.random() < 0.5 else value
    if not is_relation(seen.get("activity")):
        seen.pop("patient", None)
    return seen if _teachable(seen) else None


def _teachable(description: Description) -> bool:
    """Return whether the text may use a description: it is plausible and not a premise of another split."""
    return plausible(description) and split_of(description) == "train"


def _caption(description: Description, rng: Random) -> str:
    return render(description, "patient" in description and rng.random() < 0.15)


def _story(rng: Random) -> list[str]:
    """Return three captions of one scene, as if written by different people."""
    scene = with_detail(draw(rng), rng, 0.4, 0.6)
    return [_caption(d, rng) for d in (_glimpse(scene, rng) for _ in range(3)) if d is not None]


@cache
def _join(attribute: str, one: str, other: str) -> str | None:
    """Return the most specific value that includes both values, None if there is none."""
    table = meanings(attribute)
    both = table[one] | table[other]
    wider = [value for value in values_of(attribute) if both <= table[value]]
    return min(wider, key=lambda value: len(table[value]), default=None)


def _comparison(rng: Random) -> list[str]:
    """Return captions of two pictures, and one that fits both."""
    one = with_detail(draw(rng, negated=0.0), rng, 0.4, 0.6)
    other = dict(one)
    for attribute in one:
        if rng.random() < 0.4:
            other = with_change(
                other, attribute, pick_event(rng) if attribute == "activity" else pick(rng, attribute), rng
            )
    both = {a: value for a in one if a in other if (value := _join(a, one[a], other[a])) is not None}
    if one == other or not {"noun", "number"} <= both.keys() or not all(map(_teachable, (one, other, both))):
        return []
    return [_caption(one, rng), _caption(other, rng), f"Both: {render(both)}"]


def text(documents: int, seed: int) -> list[str]:
    """Return documents for learning the language of the captions, without labelled pairs.

    A document has three captions of one scene, or captions of two scenes and one that fits both, or two captions and a
    sign that says "yes", "maybe" or "no" at random. No document contains a premise of the validation or test split.
    """
    rng = Random(f"{seed} text")
    done: list[str] = []
    while len(done) < documents:
        lines = _story(rng) if rng.random() < 0.35 else _comparison(rng)
        if len(lines) < 3:
            continue
        if rng.random() < 0.2:
            lines[2] = f"A sign says {rng.choice(SIGNS)}."
        done.append("\n".join(lines))
    return done
