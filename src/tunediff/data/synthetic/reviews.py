"""A synthetic data set of film reviews whose label follows from how their opinions are put together.

    We saw it on Friday. Although the plot is dull, nobody would deny that the acting is wonderful.
    label  positive, tags ["contrast", "double_negation"]

An opinion says that something is good or bad, more or less strongly. Wording turns it around ("I would not call the
plot dull"), takes it back ("the music could have been moving") or puts two together: the one that a contrast is about
decides, and of two that stand side by side the stronger. Every word stands as often in negative reviews as in positive
ones but for the qualities, and those help little where they are turned around: a bag of words is not enough.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tunediff.data.synthetic.writing import SyntheticRow, split_of, write

LABELS = ("negative", "positive")

ASPECTS = (
    *("the plot", "the acting", "the music", "the ending", "the dialogue", "the cast", "the humour", "the script"),
    *("the camera work", "the lead actor", "the first half", "the soundtrack", "the opening scene", "the film"),
)
GOOD = (
    *("wonderful", "moving", "brilliant", "charming", "funny", "gripping", "elegant", "honest", "touching", "clever"),
    *("inspired", "delightful", "beautiful", "convincing", "fresh", "subtle"),
)
BAD = (
    *("dull", "awful", "clumsy", "tedious", "boring", "shallow", "silly", "weak", "predictable", "lifeless"),
    *("annoying", "dreadful", "ugly", "confusing", "stale", "sloppy"),
)
DEGREES = {"slightly ": 1, "": 2, "very ": 3, "extremely ": 4}
"""How strong an opinion is."""

SINGLE: dict[str, dict[str, int]] = {
    "plain": {
        "{aspect} is {degree}{quality}": 1,
        "I found {aspect} {degree}{quality}": 1,
        "my friends thought that {aspect} was {degree}{quality}": 1,
    },
    "negation": {
        "I would not call {aspect} {quality}": -1,
        "nobody could say that {aspect} is {quality}": -1,
        "{aspect} is anything but {quality}": -1,
        "there is nothing {quality} about {aspect}": -1,
        "it is not true that {aspect} is {quality}": -1,
    },
    "double_negation": {
        "nobody would deny that {aspect} is {quality}": 1,
        "it is impossible not to find {aspect} {quality}": 1,
        "it is not true that there is nothing {quality} about {aspect}": 1,
    },
    "expectation": {
        "I expected {aspect} to be {quality}, and I was wrong": -1,
        "I expected {aspect} to be {quality}, and I was right": 1,
        "they told us that {aspect} was {quality}, which is not the case": -1,
        "they told us that {aspect} was {quality}, which is the case": 1,
    },
    "counterfactual": {
        "in other hands, {aspect} would have been {quality}": -1,
        "{aspect} could have been {quality}": -1,
        "{aspect} was almost {quality}": -1,
    },
}
"""By phenomenon: how an opinion is worded, and what the wording makes of it: 1 leaves it, -1 turns it around."""

JOINED: dict[str, dict[str, tuple[int, int]]] = {
    "agreement": {"{first}, and {second}": (1, 1), "{first}; {second}": (1, 1)},
    "contrast": {
        "{first}, but {second}": (0, 1),
        "although {first}, {second}": (0, 1),
        "{first}, even though {second}": (1, 0),
        "never mind that {first}: {second}": (0, 1),
        "{first}, and that matters more than that {second}": (1, 0),
    },
    "intensity": {"{first}, and {second}": (1, 1), "{first}, while {second}": (1, 1), "{first}; {second}": (1, 1)},
}
"""By phenomenon: how two opinions are put together, and how much each counts."""

_TURNS = {wording: sign for wordings in SINGLE.values() for wording, sign in wordings.items()}
_WEIGHTS = {wording: weights for wordings in JOINED.values() for wording, weights in wordings.items()}

PHENOMENA = (*SINGLE, *JOINED)
_OFTEN = {"plain": 3, "negation": 4, "double_negation": 2, "expectation": 2, "counterfactual": 2} | {
    "agreement": 2,
    "contrast": 5,
    "intensity": 3,
}

_WHO = ("I saw it", "we saw it", "my sister and I saw it", "our class saw it", "my parents and I saw it")
_WHEN = ("on Friday", "on Sunday", "last week", "last night", "in May", "in winter", "yesterday", "at a festival")


class Opinion(NamedTuple):
    """Something that is judged, a quality, its degree, and the wording, a key of `SINGLE[...]`."""

    aspect: str
    quality: str
    degree: str
    wording: str


class Review(NamedTuple):
    """One opinion and no `joint`, or two and the wording that joins them, a key of `JOINED[...]`; and its phenomena."""

    opinions: tuple[Opinion, ...]
    joint: str
    phenomena: tuple[str, ...]


# --- meaning ---------------------------------------------------------------------------------------------------


def value(opinion: Opinion) -> int:
    """Return how good (above 0) or bad (below 0) an opinion finds its aspect, in -4..4."""
    return _TURNS[opinion.wording] * (1 if opinion.quality in GOOD else -1) * DEGREES[opinion.degree]


def label(review: Review) -> str | None:
    """Return "positive" or "negative"; None where the review leaves it open, its opinions being about as strong."""
    weights = _WEIGHTS[review.joint] if review.joint else (1,)
    total = sum(weight * value(opinion) for weight, opinion in zip(weights, review.opinions, strict=True))
    return None if review.joint and abs(total) < 2 else LABELS[total > 0]


# --- words -----------------------------------------------------------------------------------------------------


def _clause(opinion: Opinion) -> str:
    return opinion.wording.format(aspect=opinion.aspect, quality=opinion.quality, degree=opinion.degree)


def render(review: Review) -> str:
    """Return the sentence that gives the opinions of a review."""
    clauses = [_clause(opinion) for opinion in review.opinions]
    return _sentence(review.joint.format(first=clauses[0], second=clauses[1]) if review.joint else clauses[0])


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _with_occasion(sentence: str, rng: Random) -> str:
    """Return the sentence, in half of all cases after one that has no opinion."""
    if rng.random() < 0.5:
        return sentence
    return f"{_sentence(f'{rng.choice(_WHO)} {rng.choice(_WHEN)}')} {sentence}"


# --- reviews ---------------------------------------------------------------------------------------------------


def _opinion(rng: Random, phenomenon: str, degrees: tuple[str, ...] = ("",)) -> Opinion:
    quality = rng.choice(rng.choice((GOOD, BAD)))
    return Opinion(rng.choice(ASPECTS), quality, rng.choice(degrees), rng.choice(sorted(SINGLE[phenomenon])))


def draw(rng: Random) -> Review:
    """Return a random review that leaves no doubt of its label."""
    while True:
        [phenomenon] = rng.choices(list(_OFTEN), list(_OFTEN.values()))
        degrees = tuple(DEGREES)
        if phenomenon in SINGLE:
            review = Review(
                (_opinion(rng, phenomenon, degrees if phenomenon == "plain" else ("",)),), "", (phenomenon,)
            )
        else:
            ways = ("plain", "negation", "double_negation") if phenomenon == "contrast" else ("plain",)
            kinds = rng.choices(ways, k=2)
            both = tuple(_opinion(rng, kind, degrees if phenomenon == "intensity" else ("",)) for kind in kinds)
            inner = tuple(dict.fromkeys(kind for kind in kinds if kind != "plain"))
            review = Review(both, rng.choice(sorted(JOINED[phenomenon])), (phenomenon, *inner))
            opposed = value(both[0]) * value(both[1]) < 0
            if opposed == (phenomenon == "agreement") or both[0].aspect == both[1].aspect:
                continue
        if label(review) is not None:
            return review


def _split(review: Review) -> str:
    return split_of("; ".join(f"{one.aspect} {one.quality}" for one in review.opinions))


def _draw(split: str, n_rows: int, rng: Random) -> list[SyntheticRow]:
    """Return a row of the split with the label whose turn it is, or none where the review that was drawn is no such."""
    review, wanted = draw(rng), LABELS[n_rows % len(LABELS)]
    if _split(review) != split or label(review) != wanted:
        return []
    return [{"sentence": _with_occasion(render(review), rng), "label": wanted, "tags": list(review.phenomena)}]


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[SyntheticRow]]:
    """Return that many distinct rows for each split, half of them for each label.

    A row is {"sentence": str, "label": one of LABELS, "tags": some of PHENOMENA}. The same numbers and seed give the
    same rows everywhere. What a review judges, and how, belongs to one split, whatever the numbers and seeds.

    Raises TunediffError when a number is below 0 or above `writing.LARGEST`.
    """
    wanted = {"train": train, "validation": validation, "test": test}
    return write("reviews", wanted, seed, ("sentence",), _draw)
