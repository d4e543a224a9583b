"""A built-in world of captions: pairs of sentences whose relation follows from sets, and text to learn the words from.

    premise     A woman in brown is feeding a dog in the park.
    hypothesis  An animal is being fed by a woman outdoors.
    label       entailment, tags ["voice"]

A description maps attributes of one scene (noun, number, colour, activity, place, ...) to values. Premise and
hypothesis speak of the same scene and of the same participants, as captions do. Each value allows a set of atoms, so
the label is set algebra: a premise entails a hypothesis when it allows nothing that the hypothesis rules out, and
contradicts it when no scene fits both. The hypothesis is drawn first and the label independently of it; the premise is
then built to fit. So the hypothesis alone says nothing about the label.
"""

from __future__ import annotations

import hashlib
from functools import cache
from random import Random

from tunediff.errors import TunediffError
from tunediff.sources.worlds import lexicon

LABELS = ("entailment", "neutral", "contradiction")
PHENOMENA = (
    "hypernym",
    "hyponym",
    "noun_swapped",
    "modifier_dropped",
    "modifier_added",
    "colour_swapped",
    "quantifier",
    "count_swapped",
    "detail_dropped",
    "unsupported_detail",
    "activity",
    "place",
    "voice",
    "role_swapped",
    "negation",
)
SIGNS = ("yes", "maybe", "no")
"""What signs say in the text: words that a prompt may use for the labels, each as likely as the others."""

LARGEST = 50_000
"""The rows of a split that the world vouches for."""

Description = dict[str, str]

_RARE = {"negation": 0.05, "modifier_dropped": 0.4, "detail_dropped": 0.4}
_ALWAYS = ("noun", "number", "patient")


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
def _compare(attribute: str, premise: str | None, hypothesis: str) -> str:
    """Return the label that one attribute would give; None stands for an attribute the premise is silent about."""
    table = meanings(attribute)
    allowed = frozenset().union(*table.values()) if premise is None else table[premise]
    if allowed <= table[hypothesis]:
        return "entailment"
    return "neutral" if allowed & table[hypothesis] else "contradiction"


def label(premise: Description, hypothesis: Description) -> str:
    """Return the relation of two descriptions of one scene: "entailment", "neutral" or "contradiction"."""
    found = {_compare(attribute, premise.get(attribute), value) for attribute, value in hypothesis.items()}
    return next(name for name in reversed(LABELS) if name in found)


def _is_relation(activity: str | None) -> bool:
    return activity in lexicon.RELATIONS


def _negated(description: Description) -> list[str]:
    return [attribute for attribute, value in description.items() if value.startswith("not ")]


def plausible(description: Description) -> bool:
    """Return whether a caption would say this: no reading dogs, one negation at most."""
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
    if len(_negated(description)) > 1:
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
    """Return the sentence that says a description, for example "A man is not reading"."""
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
        if activity.startswith("not "):  # "is not reading in the park" would leave open what is denied
            words = f"{place}, {words}"
        else:
            words += f", but {place}" if place.startswith("not ") else f" {place}"
    return words[0].upper() + words[1:] + "."


# --- scenes ----------------------------------------------------------------------------------------------------


@cache
def _values(attribute: str) -> tuple[str, ...]:
    return tuple(value for value in meanings(attribute) if not value.startswith("not "))


def _pick(rng: Random, attribute: str) -> str:
    return rng.choice(_values(attribute))


def _detail(description: Description, rng: Random, chance: float, places: float) -> Description:
    """Return the description with modifiers and a place that it did not have, each with the given chance."""
    fuller = dict(description)
    for attribute in ("colour", "place"):
        if attribute not in fuller and rng.random() < (places if attribute == "place" else chance):
            more = {**fuller, attribute: _pick(rng, attribute)}
            if plausible(more):
                fuller = more
    return fuller


def _event(rng: Random) -> str:
    kinds = (tuple(lexicon.RELATIONS), (*lexicon.POSTURES, "moving"), tuple(lexicon.OCCUPATIONS))
    return rng.choice(rng.choices(kinds, (0.2, 0.4, 0.4))[0])


def _draw(rng: Random, chance: float = 0.25, places: float = 0.25, negated: float = 0.04) -> Description:
    """Return a random plausible description."""
    while True:
        drawn = {"noun": _pick(rng, "noun"), "number": rng.choice(("one", "one", *lexicon.NUMBERS))}
        if rng.random() < 0.85:
            drawn["activity"] = _event(rng)
        else:
            drawn["place"] = _pick(rng, "place")
        if _is_relation(drawn.get("activity")):
            drawn["patient"] = _pick(rng, "patient")
        if not plausible(drawn):
            continue
        drawn = _detail(drawn, rng, chance, places)
        if rng.random() < negated:
            attribute = rng.choice([a for a in ("activity", "place") if a in drawn])
            drawn[attribute] = f"not {drawn[attribute]}"
        if plausible(drawn):
            return drawn


# --- pairs -----------------------------------------------------------------------------------------------------


def _phenomenon(attribute: str, before: str | None, after: str, relation: str) -> str:
    """Return the name of the difference between a premise's value (before) and a hypothesis' (after)."""
    if any(value is not None and value.startswith("not ") for value in (before, after)):
        return "negation"
    which = LABELS.index(relation)
    if attribute in ("noun", "patient"):
        return ("hypernym", "hyponym", "noun_swapped")[which]
    if attribute == "number":
        return ("quantifier", "quantifier", "count_swapped")[which]
    if before is None:
        return "modifier_added" if attribute == "colour" else "unsupported_detail"
    if attribute in ("activity", "place"):
        return attribute
    return ("modifier_dropped", "modifier_added", "colour_swapped")[which]


@cache
def _options(attribute: str, after: str, relation: str) -> tuple[tuple[str, str | None], ...]:
    """Return (phenomenon, premise value) for every change of one attribute that gives the relation."""
    befores: list[str | None] = [value for value in meanings(attribute) if value != after]
    if attribute == "number":  # one and many are never set against each other
        befores = [b for b in befores if (b == "one") == (after == "one")]
    elif attribute not in _ALWAYS:
        befores.append(None)
    return tuple(
        (_phenomenon(attribute, before, after, relation), before)
        for before in befores
        if _compare(attribute, before, after) == relation
    )


def _change(description: Description, attribute: str, value: str | None, rng: Random) -> Description:
    """Return the description with one attribute changed and the patient put right where it hangs on the activity."""
    changed = {k: v for k, v in description.items() if k != attribute}
    if value is not None:
        changed[attribute] = value
    if attribute == "activity" and not _is_relation(value):
        changed.pop("patient", None)
    elif attribute == "activity" and "patient" not in changed:
        changed["patient"] = _pick(rng, "patient")
    return changed


def _swap_roles(description: Description) -> Description:
    return description | {"noun": description["patient"], "patient": description["noun"]}


def _without_detail(premise: Description, hypothesis: Description, rng: Random) -> Description:
    """Return the premise without details that it shares with the hypothesis, each dropped with some chance."""
    return {
        a: v
        for a, v in premise.items()
        if a not in ("colour", "place") or hypothesis.get(a) != v or rng.random() > 0.15
    }


def _premise(hypothesis: Description, wanted: str, rng: Random) -> tuple[Description, str] | None:
    """Return a premise that stands in the wanted relation to the hypothesis, and the phenomenon; None if it fails."""
    negated = _negated(hypothesis)
    changes: dict[str, list[tuple[str, str | None]]] = {}
    for attribute in negated or hypothesis:
        for phenomenon, before in _options(attribute, hypothesis[attribute], wanted):
            changes.setdefault(phenomenon, []).append((attribute, before))
    if not negated and wanted == "entailment":
        changes |= {"modifier_dropped": [], "detail_dropped": []}
        if "patient" in hypothesis:
            changes["voice"] = []
    if not negated and wanted == "contradiction" and "patient" in hypothesis and hypothesis["number"] == "one":
        changes["role_swapped"] = []
    if not changes:
        return None
    names = sorted(changes)
    phenomenon = rng.choices(names, [_RARE.get(name, 1.0) if not negated else 1.0 for name in names])[0]
    premise = dict(hypothesis)
    if phenomenon == "role_swapped":
        premise = _swap_roles(hypothesis)
    elif changes[phenomenon]:
        attribute, before = rng.choice(changes[phenomenon])
        premise = _change(hypothesis, attribute, before, rng)
    # Further words in either sentence are about as common with every label, or their number would give it away.
    if wanted != "entailment":
        premise = _without_detail(premise, hypothesis, rng)
    fuller = _detail({**hypothesis, **premise}, rng, *((0.35, 0.15) if wanted == "entailment" else (0.5, 0.3)))
    premise = {a: value for a, value in fuller.items() if a in premise or a not in hypothesis}
    dropped = {"modifier_dropped": "colour", "detail_dropped": "place"}.get(phenomenon)
    if dropped and (dropped not in premise or dropped in hypothesis):
        return None
    if not plausible(premise) or label(premise, hypothesis) != wanted:
        return None
    return premise, phenomenon


def _part(description: Description) -> str:
    """Return the split that a premise belongs to, by its content; every wording of it belongs to the same."""
    at = hashlib.sha256(render(description).encode()).digest()[0]
    return "test" if at < 26 else "validation" if at < 39 else "train"


def _row(split: str, wanted: str, rng: Random) -> dict[str, object] | None:
    """Return a row whose premise belongs to the split, or None where the hypothesis that was drawn allows none."""
    hypothesis = _draw(rng)
    for _ in range(200):
        found = _premise(hypothesis, wanted, rng)
        if found is not None and _part(found[0]) == split:
            break
    else:
        return None
    premise, phenomenon = found
    passive = "patient" in hypothesis and rng.random() < 0.15
    turned = not passive if phenomenon == "voice" else "patient" in premise and rng.random() < 0.15
    said = {"premise": render(premise, turned), "hypothesis": render(hypothesis, passive)}
    return {**said, "label": wanted, "tags": [phenomenon]}


def rows(train: int, validation: int, test: int, seed: int) -> dict[str, list[dict[str, object]]]:
    """Return that many distinct rows for each split, a third of them for each label.

    A row is {"premise": str, "hypothesis": str, "label": one of LABELS, "tags": [one of PHENOMENA]}. The same numbers
    and seed give the same rows everywhere. No premise occurs in two splits, whatever the numbers and seeds.

    Raises TunediffError when a number is below 0 or above LARGEST.
    """
    done: dict[str, list[dict[str, object]]] = {}
    for split, wanted in (("train", train), ("validation", validation), ("test", test)):
        if not 0 <= wanted <= LARGEST:
            raise TunediffError(f"captions: {split} asks for {wanted} rows, expected 0 to {LARGEST}")
        rng = Random(f"{seed} {split}")
        seen: set[tuple[object, object]] = set()
        done[split] = []
        while len(done[split]) < wanted:
            row = _row(split, LABELS[len(done[split]) % 3], rng)
            if row is None or (row["premise"], row["hypothesis"]) in seen or row["premise"] == row["hypothesis"]:
                continue
            seen.add((row["premise"], row["hypothesis"]))
            done[split].append(row)
        rng.shuffle(done[split])
    return done


# --- text ------------------------------------------------------------------------------------------------------


@cache
def _wider(attribute: str, value: str) -> tuple[str, ...]:
    table = meanings(attribute)
    return tuple(wider for wider in _values(attribute) if table[value] <= table[wider])


def _glimpse(scene: Description, rng: Random) -> Description | None:
    """Return a description that is true of the scene and tells some of it, part of it in more general words."""
    seen = {}
    for attribute, value in scene.items():
        if attribute not in _ALWAYS and rng.random() < 0.3:
            continue
        wider = _wider(attribute, value)
        seen[attribute] = rng.choice(wider) if wider and rng.random() < 0.5 else value
    if not _is_relation(seen.get("activity")):
        seen.pop("patient", None)
    return seen if _teachable(seen) else None


def _teachable(description: Description) -> bool:
    """Return whether the text may say this: what a caption would say, and no premise of another split."""
    return plausible(description) and _part(description) == "train"


def _said(description: Description, rng: Random) -> str:
    return render(description, "patient" in description and rng.random() < 0.15)


def _story(rng: Random) -> list[str]:
    """Return three captions of one scene, as people who looked at the same picture would write them."""
    scene = _detail(_draw(rng), rng, 0.4, 0.6)
    return [_said(d, rng) for d in (_glimpse(scene, rng) for _ in range(3)) if d is not None]


@cache
def _join(attribute: str, one: str, other: str) -> str | None:
    """Return the narrowest value that both values are kinds of, None where there is none."""
    table = meanings(attribute)
    both = table[one] | table[other]
    wider = [value for value in _values(attribute) if both <= table[value]]
    return min(wider, key=lambda value: len(table[value]), default=None)


def _comparison(rng: Random) -> list[str]:
    """Return captions of two pictures, and one that fits both."""
    one = _detail(_draw(rng, negated=0.0), rng, 0.4, 0.6)
    other = dict(one)
    for attribute in one:
        if rng.random() < 0.4:
            other = _change(other, attribute, _event(rng) if attribute == "activity" else _pick(rng, attribute), rng)
    both = {a: value for a in one if a in other if (value := _join(a, one[a], other[a])) is not None}
    if one == other or not {"noun", "number"} <= both.keys() or not all(map(_teachable, (one, other, both))):
        return []
    return [_said(one, rng), _said(other, rng), f"Both: {render(both)}"]


def text(documents: int, seed: int) -> list[str]:
    """Return documents to learn the language of the world from, none of which judges one sentence by another.

    A document is three captions of one scene, or captions of two scenes and one that fits both, or two captions and a
    sign that says "yes", "maybe" or "no", whatever the captions say. No premise of the validation or test split stands
    in any.
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
