"""Scenes: the meaning of descriptions, their wording, and how they are sampled.

    draw(Random(1))          {"noun": "man", "number": "two", "activity": "reading a book", "place": "in the park"}
    render(...)              Two men are reading a book in the park.

A description maps attributes of a scene (noun, number, colour, activity, place, ...) to values. Each value allows a set
of atoms, so the relation of two descriptions follows by set algebra: one entails another if it allows nothing that the
other excludes, and contradicts it if no scene fits both.
"""

from functools import cache
from random import Random

from tunediff.data.synthetic import lexicon, writing

LABELS = ("entailment", "neutral", "contradiction")
ALWAYS = ("noun", "number", "patient")
"""Attributes that a caption never omits if they apply."""

Description = dict[str, str]


# --- meaning ---------------------------------------------------------------------------------------------------


def _table(attribute: str) -> dict[str, frozenset[str]]:
    match attribute:
        case "noun" | "patient":
            return lexicon.NOUNS
        case "activity":
            return lexicon.ACTIVITIES
        case "place":
            return lexicon.PLACES
        case "number":
            return {n: frozenset({n} if n != "some" else {"two", "three"}) for n in lexicon.NUMBERS}
    return {colour: frozenset({colour}) for colour in lexicon.COLOURS}


@cache
def meanings(attribute: str) -> dict[str, frozenset[str]]:
    """Return the atoms that each value of an attribute allows, negated values ("not running") included."""
    table = dict(_table(attribute))
    everything = frozenset().union(*table.values())
    if attribute in ("activity", "place"):
        table |= {f"not {value}": everything - atoms for value, atoms in table.items()}
    return table


@cache
def relation_of(attribute: str, premise: str | None, hypothesis: str) -> str:
    """Return the label implied by one attribute alone; None means that the premise does not mention it."""
    table = meanings(attribute)
    allowed = frozenset().union(*table.values()) if premise is None else table[premise]
    if allowed <= table[hypothesis]:
        return "entailment"
    return "neutral" if allowed & table[hypothesis] else "contradiction"


def label(premise: Description, hypothesis: Description) -> str:
    """Return the relation of two descriptions of the same scene: "entailment", "neutral" or "contradiction"."""
    found = {relation_of(attribute, premise.get(attribute), value) for attribute, value in hypothesis.items()}
    return next(name for name in reversed(LABELS) if name in found)


def is_relation(activity: str | None) -> bool:
    """Return whether an activity has a patient."""
    return activity in lexicon.RELATIONS


def negations(description: Description) -> list[str]:
    """Return the attributes whose value is negated in the description."""
    return [attribute for attribute, value in description.items() if value.startswith("not ")]


def plausible(description: Description) -> bool:
    """Return whether the description is plausible for a caption: no reading dogs, at most one negation."""
    atoms = lexicon.NOUNS[description["noun"]]
    activity, place = description.get("activity"), description.get("place")
    if activity is None and place is None:
        return False
    verb = (activity or "").removeprefix("not ")
    if verb in lexicon.OCCUPATIONS and not atoms <= lexicon.PEOPLE:
        return False
    if (verb in lexicon.RELATIONS) != ("patient" in description) or (activity != verb and verb in lexicon.RELATIONS):
        return False
    if verb in lexicon.TENDING and not atoms <= lexicon.PEOPLE:
        return False
    if len(negations(description)) > 1:
        return False
    return "patient" not in description or not atoms & lexicon.NOUNS[description["patient"]]


# --- words -----------------------------------------------------------------------------------------------------


def _who(description: Description) -> str:
    noun, number, colour = description["noun"], description["number"], description.get("colour", "")
    dressed = bool(colour) and lexicon.NOUNS[noun] <= lexicon.PEOPLE
    words = noun if number == "one" else lexicon.plural(noun)
    if colour and not dressed:
        words = f"{colour} {words}"
    words = lexicon.article(words) if number == "one" else f"{number} {words}"
    return f"{words} in {colour}" if dressed else words


def render(description: Description, passive: bool = False) -> str:
    """Return the sentence for a description, such as "A man is not reading"."""
    who, place = _who(description), description.get("place", "")
    be = "is" if description["number"] == "one" else "are"
    activity = description.get("activity")
    if activity is None:
        words = f"{who} {be} {place}"
    elif passive:
        words = f"{lexicon.article(description['patient'])} is being {lexicon.RELATIONS[activity]} by {who}"
    else:
        whom = f" {lexicon.article(description['patient'])}" if "patient" in description else ""
        words = f"{who} {be} {activity}{whom}"
    if activity and place:
        if activity.startswith("not "):  # "is not reading in the park" would be ambiguous
            words = f"{place}, {words}"
        else:
            words += f", but {place}" if place.startswith("not ") else f" {place}"
    return words[0].upper() + words[1:] + "."


# --- scenes ----------------------------------------------------------------------------------------------------


@cache
def values_of(attribute: str) -> tuple[str, ...]:
    """Return the values of an attribute without negated ones."""
    return tuple(value for value in meanings(attribute) if not value.startswith("not "))


def pick(rng: Random, attribute: str) -> str:
    """Return a random value of an attribute."""
    return rng.choice(values_of(attribute))


def with_detail(description: Description, rng: Random, chance: float, places: float) -> Description:
    """Return the description with further modifiers and a place, each added with the given probability."""
    fuller = dict(description)
    for attribute in ("colour", "place"):
        if attribute not in fuller and rng.random() < (places if attribute == "place" else chance):
            more = {**fuller, attribute: pick(rng, attribute)}
            if plausible(more):
                fuller = more
    return fuller


def pick_event(rng: Random) -> str:
    """Return a random activity; its kind is sampled first."""
    kinds = (tuple(lexicon.RELATIONS), (*lexicon.POSTURES, "moving"), tuple(lexicon.OCCUPATIONS))
    return rng.choice(rng.choices(kinds, (0.2, 0.4, 0.4))[0])


def draw(rng: Random, chance: float = 0.25, places: float = 0.25, negated: float = 0.04) -> Description:
    """Return a random plausible description."""
    while True:
        drawn = {"noun": pick(rng, "noun"), "number": rng.choice(("one", "one", *lexicon.NUMBERS))}
        if rng.random() < 0.85:
            drawn["activity"] = pick_event(rng)
        else:
            drawn["place"] = pick(rng, "place")
        if is_relation(drawn.get("activity")):
            drawn["patient"] = pick(rng, "patient")
        if not plausible(drawn):
            continue
        drawn = with_detail(drawn, rng, chance, places)
        if rng.random() < negated:
            attribute = rng.choice([a for a in ("activity", "place") if a in drawn])
            drawn[attribute] = f"not {drawn[attribute]}"
        if plausible(drawn):
            return drawn


def with_change(description: Description, attribute: str, value: str | None, rng: Random) -> Description:
    """Return the description with one attribute changed and the patient corrected where it depends on the activity."""
    changed = {k: v for k, v in description.items() if k != attribute}
    if value is not None:
        changed[attribute] = value
    if attribute == "activity" and not is_relation(value):
        changed.pop("patient", None)
    elif attribute == "activity" and "patient" not in changed:
        changed["patient"] = pick(rng, "patient")
    return changed


def split_of(description: Description) -> str:
    """Return the split of a premise, determined by its content and not by its wording."""
    return writing.split_of(render(description))
