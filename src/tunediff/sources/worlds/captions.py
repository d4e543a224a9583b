"""A built-in world of captions: pairs of sentences whose relation follows from sets, and text to learn the words from.

    premise     A young woman in a red coat is feeding two dogs in the park.
    hypothesis  Two animals are being fed by a person outdoors.
    label       entailment, tags ["voice"]

A description maps attributes of one scene (noun, number, coat, activity, place, ...) to values. Premise and
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
    "modifier_swapped",
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
LARGEST = 50_000
"""The rows of a split that the world vouches for."""

Description = dict[str, str]

_MODIFIERS = ("age", *lexicon.GARMENTS, "fur", "thing", "patient.fur")
_ALWAYS = ("noun", "number", "patient", "patient.number")
_ANYONE = ("standing", "sitting", "walking", "running", "jumping", "sleeping", "moving", "chasing", "following")
_TENDING = ("leading", "feeding", "washing", "brushing")


# --- meaning ---------------------------------------------------------------------------------------------------


def _table(attribute: str) -> dict[str, frozenset[str]]:
    if attribute in lexicon.GARMENTS:
        colours = {colour: frozenset({colour}) for colour in lexicon.CLOTH_COLOURS}
        return {**colours, "any": frozenset(colours), "none": frozenset({"none"})}
    match attribute:
        case "noun" | "patient":
            return lexicon.NOUNS
        case "number" | "patient.number":
            return {n: frozenset({n} if n != "some" else {"two", "three", "four"}) for n in lexicon.NUMBERS}
        case "activity":
            return lexicon.ACTIVITIES
        case "place":
            return lexicon.PLACES
    words = {
        "age": lexicon.AGES,
        "fur": lexicon.COAT_COLOURS,
        "patient.fur": lexicon.COAT_COLOURS,
        "thing": lexicon.SIZES,
    }[attribute]
    return {word: frozenset({word}) for word in words}


@cache
def meanings(attribute: str) -> dict[str, frozenset[str]]:
    """Return the atoms that each value of an attribute allows, negated values ("not running") included."""
    table = dict(_table(attribute))
    everything = frozenset().union(*table.values())
    if attribute in ("activity", "place"):
        table |= {f"not {value}": everything - atoms for value, atoms in table.items()}
    if attribute in lexicon.GARMENTS:
        table |= {f"not {c}": table["any"] - table[c] for c in lexicon.CLOTH_COLOURS}
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


def _verb(activity: str) -> str:
    return activity.removeprefix("not ").split(" ")[0]


def _is_relation(activity: str | None) -> bool:
    return activity is not None and activity in lexicon.RELATIONS


def _negations(description: Description) -> list[str]:
    return [a for a, value in description.items() if value == "none" or value.startswith("not ")]


def plausible(description: Description) -> bool:
    """Return whether a caption would say this: no reading horses, no ducks in the office, one negation at most."""
    atoms = lexicon.NOUNS[description["noun"]]
    activity, place = description.get("activity"), description.get("place")
    people = atoms <= lexicon.PEOPLE
    if activity is None and (place is None or place.startswith("not ")):
        return False
    if activity and not people and _verb(activity) not in _ANYONE:
        return False
    if activity and activity.removeprefix("not ") in lexicon.RELATIONS and activity not in lexicon.RELATIONS:
        return False
    if _is_relation(activity) != ("patient" in description) or len(_negations(description)) > 1:
        return False
    if any(g in description for g in lexicon.GARMENTS) and not people:
        return False
    if "age" in description and description["noun"] not in ("man", "woman"):
        return False
    if "fur" in description and not atoms <= lexicon.NOUNS["animal"]:
        return False
    if "thing" in description and (activity or "").split(" ")[-1] not in lexicon.SIZED_OBJECTS:
        return False
    if "thing" in description and _negations(description) == ["activity"]:
        return False
    if "patient.fur" in description and "patient" not in description:
        return False
    if "patient" in description:
        other = lexicon.NOUNS[description["patient"]]
        if other & atoms or (activity in _TENDING and other & {"man", "woman"}):
            return False
        if "patient.fur" in description and not other <= lexicon.NOUNS["animal"]:
            return False
        atoms = atoms | other
    inside = place is not None and lexicon.PLACES[place.removeprefix("not ")] <= lexicon.PLACES["indoors"]
    return not inside or atoms <= lexicon.INDOOR_NOUNS


# --- words -----------------------------------------------------------------------------------------------------


def _who(description: Description, prefix: str) -> str:
    noun, number = description[prefix or "noun"], description[f"{prefix}.number" if prefix else "number"]
    own = [] if prefix else [description.get("age", "")]
    own.append(description.get(f"{prefix}.fur" if prefix else "fur", ""))
    words = " ".join([*filter(None, own), noun if number == "one" else lexicon.plural(noun)])
    words = lexicon.article(words) if number == "one" else f"{number} {words}"
    return words if prefix else words + _clothes(description, number == "one")


def _clothes(description: Description, single: bool) -> str:
    worn, missing = [], ""
    for garment in lexicon.GARMENTS:
        value = description.get(garment)
        if value is None:
            continue
        name = garment if single else lexicon.plural(garment)
        if value == "none":
            missing = f" without {lexicon.article(name) if single else name}"
            continue
        colour = "" if value == "any" or value.startswith("not ") else f"{value} "
        worn.append(lexicon.article(colour + name) if single else colour + name)
        if value.startswith("not "):
            worn[-1] += f" that {'is' if single else 'are'} {value}"
    return (" in " + " and ".join(worn) if worn else "") + missing


def _doing(description: Description) -> str:
    activity = description["activity"].removeprefix("not ")
    verb, _, thing = activity.partition(" ")
    if thing in lexicon.OBJECTS.get(verb, ()) and thing not in lexicon.MASS_OBJECTS:
        single = description["number"] == "one"
        coloured = f"{description.get('thing', '')} {thing if single else lexicon.plural(thing)}".strip()
        return f"{verb} {lexicon.article(coloured) if single else coloured}"
    return "carrying anything" if description["activity"] == "not carrying something" else activity


def render(description: Description, passive: bool = False) -> str:
    """Return the sentence that says a description, for example "A man is not reading"."""
    who, place = _who(description, ""), description.get("place", "")
    be = "is" if description["number"] == "one" else "are"
    activity = description.get("activity")
    refused = place.startswith("not ")
    place = place.removeprefix("not ")
    if activity is None:
        words = f"{who} {be} {place}"
    elif passive:
        be = "is" if description["patient.number"] == "one" else "are"
        words = f"{_who(description, 'patient')} {be} being {lexicon.RELATIONS[activity]} by {who}"
    else:
        whom = f" {_who(description, 'patient')}" if "patient" in description else ""
        words = f"{who} {be} {'not ' if activity.startswith('not ') else ''}{_doing(description)}{whom}"
    if activity and place:
        if activity.startswith("not "):  # "is not reading in the park" would leave open what is denied
            words = f"{place}, {words}"
        else:
            words += f", but not {place}" if refused else f" {place}"
    return words[0].upper() + words[1:] + "."


# --- scenes ----------------------------------------------------------------------------------------------------


def _pick(rng: Random, attribute: str, negated: bool = False) -> str:
    return rng.choice([v for v in meanings(attribute) if negated or not (v == "none" or v.startswith("not "))])


def _detail(description: Description, rng: Random, chance: float, places: float) -> Description:
    """Return the description with modifiers and a place that it did not have, each with the given chance."""
    fuller = dict(description)
    for attribute in (*_MODIFIERS, "place"):
        if attribute not in fuller and rng.random() < (places if attribute == "place" else chance):
            more = {**fuller, attribute: _pick(rng, attribute)}
            worn = sum(garment in more for garment in lexicon.GARMENTS)
            if worn <= 1 and plausible(more):
                fuller = more
    return fuller


def _participant(rng: Random) -> tuple[str, str]:
    return _pick(rng, "noun"), rng.choice(("one", "one", "one", "two", "three", "four", "some"))


def _event(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(tuple(lexicon.RELATIONS))
    if kind < 0.6:
        return rng.choice((*lexicon.POSTURES, "moving"))
    return rng.choice([a for a in lexicon.ACTIVITIES if a not in lexicon.RELATIONS])


def _draw(rng: Random, chance: float = 0.2, places: float = 0.35, negated: float = 0.12) -> Description:
    """Return a random plausible description."""
    while True:
        drawn: Description = {}
        drawn["noun"], drawn["number"] = _participant(rng)
        if rng.random() < 0.85:
            drawn["activity"] = _event(rng)
        if _is_relation(drawn.get("activity")):
            drawn["patient"], drawn["patient.number"] = _participant(rng)
        if "activity" not in drawn:
            drawn["place"] = _pick(rng, "place")
        if not plausible(drawn):
            continue
        drawn = _detail(drawn, rng, chance, places)
        if rng.random() < negated:
            open_to = [a for a in ("activity", "place", *lexicon.GARMENTS) if a in drawn]
            attribute = rng.choice(open_to) if open_to else "hat"
            value = drawn.get(attribute, "any")
            drawn[attribute] = "none" if value == "any" else f"not {value}"
            if drawn[attribute] not in meanings(attribute) or not plausible(drawn):
                continue
        return drawn


# --- pairs -----------------------------------------------------------------------------------------------------


def _phenomenon(attribute: str, before: str | None, after: str, relation: str) -> str:
    """Return the name of the difference between a premise's value (before) and a hypothesis' (after)."""
    if any(v is not None and (v == "none" or v.startswith("not ")) for v in (before, after)):
        return "negation"
    which = LABELS.index(relation)
    if attribute in ("noun", "patient"):
        return ("hypernym", "hyponym", "noun_swapped")[which]
    if attribute in ("number", "patient.number"):
        return ("quantifier", "quantifier", "count_swapped")[which]
    if before is None:
        return "modifier_added" if attribute in _MODIFIERS else "unsupported_detail"
    if attribute in ("activity", "place"):
        return attribute
    return (
        "modifier_dropped",
        "modifier_added",
        "modifier_swapped" if attribute in ("age", "thing") else "colour_swapped",
    )[which]


@cache
def _options(attribute: str, after: str, relation: str) -> tuple[tuple[str, str | None], ...]:
    """Return (phenomenon, premise value) for every change of one attribute that gives the relation."""
    befores: list[str | None] = [value for value in meanings(attribute) if value != after]
    if attribute in ("number", "patient.number"):  # one and many are never set against each other
        befores = [b for b in befores if (b == "one") == (after == "one")]
    elif attribute not in _ALWAYS:
        befores.append(None)
    return tuple(
        (_phenomenon(attribute, before, after, relation), before)
        for before in befores
        if _compare(attribute, before, after) == relation
    )


def _change(description: Description, attribute: str, value: str | None, rng: Random) -> Description:
    """Return the description with one attribute changed and with what hangs on it (patient, colours) put right."""
    changed = dict(description)
    if value is None:
        changed.pop(attribute, None)
    else:
        changed[attribute] = value
    if attribute == "activity":
        if not _is_relation(value):
            for name in ("patient", "patient.number", "patient.fur"):
                changed.pop(name, None)
        elif "patient" not in changed:
            changed["patient"], changed["patient.number"] = _participant(rng)
        if (value or "").split(" ")[-1] not in lexicon.SIZED_OBJECTS:
            changed.pop("thing", None)
    if attribute == "noun" and value not in ("man", "woman"):
        changed.pop("age", None)
    return changed


def _swap_roles(description: Description) -> Description:
    swapped = {k: v for k, v in description.items() if k in ("activity", "place")}
    for mine, other in (("noun", "patient"), ("number", "patient.number"), ("fur", "patient.fur")):
        if other in description:
            swapped[mine] = description[other]
        if mine in description:
            swapped[other] = description[mine]
    return swapped


def _premise(hypothesis: Description, wanted: str, rng: Random) -> tuple[Description, str] | None:
    """Return a premise that stands in the wanted relation to the hypothesis, and the phenomenon; None if it fails."""
    negated = _negations(hypothesis)
    changes: dict[str, list[tuple[str, str | None]]] = {}
    for attribute in negated or hypothesis:
        for phenomenon, before in _options(attribute, hypothesis[attribute], wanted):
            changes.setdefault(phenomenon, []).append((attribute, before))
    if not negated and wanted == "entailment":
        changes |= {"modifier_dropped": [], "detail_dropped": []}
        if "patient" in hypothesis:
            changes["voice"] = []
    if not negated and wanted == "contradiction" and "patient" in hypothesis:
        changes["role_swapped"] = []
    if not changes:
        return None
    names = sorted(changes)
    phenomenon = rng.choices(names, [0.3 if n == "negation" and not negated else 1.0 for n in names])[0]
    premise = dict(hypothesis)
    if phenomenon == "role_swapped":
        premise = _swap_roles(hypothesis)
    elif changes[phenomenon]:
        attribute, before = rng.choice(changes[phenomenon])
        premise = _change(hypothesis, attribute, before, rng)
    if phenomenon == "modifier_dropped" and not changes[phenomenon]:
        premise = _detail(premise, rng, 0.6, 0.2)
        if not any(name in premise and name not in hypothesis for name in _MODIFIERS):
            return None
    elif phenomenon == "detail_dropped":
        premise = _detail(premise, rng, 0.15, 1.0)
        if "place" in hypothesis or "place" not in premise:
            return None
    else:
        held = {} if phenomenon not in ("unsupported_detail", "modifier_added") else hypothesis
        fuller = _detail({**held, **premise}, rng, 0.2, 0.3)
        premise = {k: v for k, v in fuller.items() if k in premise or k not in held}
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
    passive = "patient" in hypothesis and rng.random() < 0.25
    turned = not passive if phenomenon == "voice" else "patient" in premise and rng.random() < 0.25
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
    return tuple(v for v in table if table[value] <= table[v] and not v.startswith("not "))


def _glimpse(scene: Description, rng: Random) -> Description | None:
    """Return a description that is true of the scene and tells some of it, part of it in more general words."""
    seen = {}
    for attribute, value in scene.items():
        if attribute not in _ALWAYS and rng.random() < 0.3:
            continue
        wider = _wider(attribute, value)
        seen[attribute] = rng.choice(wider) if wider and rng.random() < 0.5 else value
    if not _is_relation(seen.get("activity")):
        seen = {k: v for k, v in seen.items() if not k.startswith("patient")}
    return seen if plausible(seen) and _part(seen) == "train" else None


def _story(rng: Random) -> str | None:
    """Return three captions of one scene, as people who looked at the same picture would write them."""
    scene = _detail(_draw(rng), rng, 0.4, 0.6)
    seen = [d for d in (_glimpse(scene, rng) for _ in range(5)) if d is not None][:3]
    if len(seen) < 3:
        return None
    return "\n".join(render(d, "patient" in d and rng.random() < 0.25) for d in seen)


def text(documents: int, seed: int) -> list[str]:
    """Return documents to learn the language of the world from, none of which judges one sentence by another.

    A document is three captions of one scene. No premise of the validation or test split stands in any.
    """
    rng = Random(f"{seed} text")
    done: list[str] = []
    while len(done) < documents:
        story = _story(rng)
        if story is not None:
            done.append(story)
    return done
