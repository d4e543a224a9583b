"""A synthetic data set of film reviews whose label follows from the composition of their opinions.

    We saw it on Friday. Although the plot is dull, nobody would deny that the acting is wonderful.
    label  positive, tags ["contrast", "double_negation"]

An opinion is positive or negative, with a degree. Wording can negate it ("I would not call the plot dull"), cancel it
("the music could have been moving"), or combine two opinions: the emphasized one decides in a contrast, and the
stronger one in a conjunction. All words except for the qualities are equally frequent in negative and positive reviews,
and qualities may be negated, so a bag of words is not enough.
"""

from random import Random
from typing import NamedTuple

from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of

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
"""The degrees of an opinion."""

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
"""Wordings of one opinion by phenomenon, with their sign: 1 keeps the opinion, -1 negates it."""

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
"""Wordings of two opinions by phenomenon, with the weight of each opinion."""

_TURNS = {wording: sign for wordings in SINGLE.values() for wording, sign in wordings.items()}
_WEIGHTS = {wording: weights for wordings in JOINED.values() for wording, weights in wordings.items()}

_OFTEN = {
    **{"plain": 3, "negation": 4, "double_negation": 2, "expectation": 2, "counterfactual": 2},
    **{"agreement": 2, "contrast": 5, "intensity": 3},
}

_WHO = ("I saw it", "we saw it", "my sister and I saw it", "our class saw it", "my parents and I saw it")
_WHEN = ("on Friday", "on Sunday", "last week", "last night", "in May", "in winter", "yesterday", "at a festival")


class Opinion(NamedTuple):
    """An aspect, a quality, its degree, and the wording, a key of `SINGLE[...]`."""

    aspect: str
    quality: str
    degree: str
    wording: str


class Review(NamedTuple):
    """One opinion and no `joint`, or two opinions and their wording, a key of `JOINED[...]`; and the phenomena."""

    opinions: tuple[Opinion, ...]
    joint: str
    phenomena: tuple[str, ...]


# --- meaning ---------------------------------------------------------------------------------------------------


def value(opinion: Opinion) -> int:
    """Return the value of an opinion in -4..4, positive if it is favourable."""
    return _TURNS[opinion.wording] * (1 if opinion.quality in GOOD else -1) * DEGREES[opinion.degree]


def label(review: Review) -> str | None:
    """Return "positive" or "negative"; None if the opinions are about equally strong."""
    weights = _WEIGHTS[review.joint] if review.joint else (1,)
    total = sum(weight * value(opinion) for weight, opinion in zip(weights, review.opinions, strict=True))
    return None if review.joint and abs(total) < 2 else LABELS[total > 0]


# --- words -----------------------------------------------------------------------------------------------------


def render(review: Review) -> str:
    """Return the sentence with the opinions of a review."""
    clauses = [opinion.wording.format(**opinion._asdict()) for opinion in review.opinions]
    return _sentence(review.joint.format(first=clauses[0], second=clauses[1]) if review.joint else clauses[0])


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _with_occasion(sentence: str, rng: Random) -> str:
    """Return the sentence, in half of all cases preceded by one without an opinion."""
    if rng.random() < 0.5:
        return sentence
    return f"{_sentence(f'{rng.choice(_WHO)} {rng.choice(_WHEN)}')} {sentence}"


# --- reviews ---------------------------------------------------------------------------------------------------


def _opinion(rng: Random, phenomenon: str, degrees: tuple[str, ...] = ("",)) -> Opinion:
    quality = rng.choice(rng.choice((GOOD, BAD)))
    return Opinion(rng.choice(ASPECTS), quality, rng.choice(degrees), rng.choice(sorted(SINGLE[phenomenon])))


def draw(rng: Random) -> Review:
    """Return a random review with an unambiguous label."""
    while True:
        [phenomenon] = rng.choices(list(_OFTEN), list(_OFTEN.values()))
        degrees = tuple(DEGREES)
        if phenomenon in SINGLE:
            opinion = _opinion(rng, phenomenon, degrees if phenomenon == "plain" else ("",))
            review = Review((opinion,), "", (phenomenon,))
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


def _draw(split: str, n_rows: int, rng: Random) -> list[SyntheticRow]:
    """Return a row of the split with the label that is next in turn, or none if the sampled review has another."""
    review, wanted = draw(rng), LABELS[n_rows % len(LABELS)]
    if (
        split_of("; ".join(f"{one.aspect} {one.quality}" for one in review.opinions)) != split
        or label(review) != wanted
    ):
        return []
    return [{"sentence": _with_occasion(render(review), rng), "label": wanted, "tags": list(review.phenomena)}]


rows = rows_of("reviews", ("sentence",), _draw)
"""Rows {"sentence": str, "label": one of LABELS, in turn, "tags": some keys of SINGLE and JOINED}."""
