"""The words of the caption world, and what each of them can stand for.

An attribute (noun, colour, activity, place, ...) has a set of atoms, the finest things that can be the case.
A value of an attribute names some of them: "dog" is {poodle, beagle, terrier}, "outdoors" is every place outside.
All meanings here are plain sets, so that `captions.label` can decide entailment by comparing them.
"""

from __future__ import annotations

NOUN_TREE: dict[str, tuple[str, ...]] = {
    "person": ("man", "woman", "child"),
    "child": ("boy", "girl"),
    "animal": ("dog", "cat", "horse", "duck"),
    "dog": ("poodle", "beagle"),
}
IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "box": "boxes",
    "scarf": "scarves",
    "sandwich": "sandwiches",
}

CLOTH_COLOURS = ("red", "blue", "green", "yellow")
COAT_COLOURS = ("black", "white", "brown", "grey")
AGES = ("young", "old")
SIZES = ("big", "small")
NUMBERS = ("one", "two", "three", "four", "some")
GARMENTS = ("coat", "hat", "shirt", "scarf")

PLACE_TREE: dict[str, tuple[str, ...]] = {
    "outdoors": ("in the park", "in the street", "in the forest", "on the beach"),
    "indoors": ("in the kitchen", "in the library", "in the office", "in the museum"),
}

POSTURES = ("standing", "sitting", "walking", "running", "jumping", "dancing", "sleeping")
MOVING = ("walking", "running", "jumping", "dancing")

# An occupation is a verb and what it is done to. The postures are those in which people do it.
OBJECTS: dict[str, tuple[str, ...]] = {
    "reading": ("book", "newspaper", "letter"),
    "playing": ("guitar", "violin", "flute"),
    "eating": ("apple", "banana", "sandwich"),
    "drinking": ("tea", "coffee", "water"),
    "carrying": ("box", "bag", "chair"),
}
GENERAL = {"playing": "playing music", "carrying": "carrying something"}
SIZED_OBJECTS = frozenset({"box", "bag", "chair"})
MASS_OBJECTS = frozenset(OBJECTS["drinking"])
RELATIONS = {  # present participle: past participle
    "chasing": "chased",
    "following": "followed",
    "leading": "led",
    "feeding": "fed",
    "washing": "washed",
    "brushing": "brushed",
}
OCCUPATION_POSTURES: dict[str, tuple[str, ...]] = {
    "reading": ("standing", "sitting", "walking"),
    "playing": ("standing", "sitting", "walking"),
    "eating": ("standing", "sitting", "walking"),
    "drinking": ("standing", "sitting", "walking"),
    "carrying": ("standing", "sitting", "walking", "running"),
    "chasing": ("walking", "running"),
    "following": ("walking", "running"),
    "leading": ("walking", "running"),
    "feeding": ("standing", "sitting"),
    "washing": ("standing", "sitting"),
    "brushing": ("standing", "sitting"),
}


def plural(noun: str) -> str:
    """Return the plural form of a noun."""
    return IRREGULAR.get(noun, noun + "s")


def article(phrase: str) -> str:
    """Return the phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def leaves(tree: dict[str, tuple[str, ...]], node: str) -> frozenset[str]:
    """Return the finest values below a node of a tree (the node itself where nothing is below it)."""
    if node not in tree:
        return frozenset({node})
    return frozenset().union(*(leaves(tree, child) for child in tree[node]))


def _tree_meanings(tree: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    names = {*tree, *(child for children in tree.values() for child in children)}
    return {name: leaves(tree, name) for name in sorted(names)}


def _activity_meanings() -> dict[str, frozenset[str]]:
    """Return what each activity phrase allows, as "posture/occupation" atoms."""
    done: dict[str, set[str]] = {posture: {f"{posture}/nothing"} for posture in POSTURES}
    for verb, postures in OCCUPATION_POSTURES.items():
        for thing in OBJECTS.get(verb, ("",)):
            phrase = f"{verb} {thing}".strip()
            atoms = {f"{posture}/{phrase}" for posture in postures}
            for name in (phrase, GENERAL.get(verb, verb)):
                done.setdefault(name, set()).update(atoms)
            for posture in postures:
                done[posture].add(f"{posture}/{phrase}")
    done["moving"] = set().union(*(done[posture] for posture in MOVING))
    return {name: frozenset(atoms) for name, atoms in done.items()}


NOUNS = _tree_meanings(NOUN_TREE)
PLACES = _tree_meanings(PLACE_TREE)
ACTIVITIES = _activity_meanings()
PEOPLE = NOUNS["person"]
INDOOR_NOUNS = PEOPLE | NOUNS["dog"] | NOUNS["cat"]
