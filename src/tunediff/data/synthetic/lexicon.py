"""The words of the captions and their meanings.

An attribute (noun, colour, activity, place, ...) has a set of atoms, its most specific values. A value of an attribute
denotes some of them: "person" is {man, woman, child}, "outdoors" is every place outside. All meanings are sets, so that
`scenes.label` can decide entailment by comparing them.
"""

NOUN_TREE: dict[str, tuple[str, ...]] = {
    "person": ("man", "woman", "child"),
    "animal": ("dog", "cat"),
}
IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people"}

COLOURS = ("black", "white", "brown")
NUMBERS = ("one", "two", "three", "some")

PLACE_TREE: dict[str, tuple[str, ...]] = {
    "outdoors": ("in the park", "in the street"),
    "indoors": ("in the kitchen", "in the office"),
}

POSTURES = ("standing", "sitting", "walking", "running")
MOVING = ("walking", "running")
OBJECTS: dict[str, tuple[str, ...]] = {
    "reading": ("a book", "a newspaper"),
    "eating": ("bread", "rice"),
}
RELATIONS = {"chasing": "chased", "feeding": "fed", "washing": "washed"}  # past participles
TENDING = ("feeding", "washing")


def plural(noun: str) -> str:
    """Return the plural form of a noun."""
    return IRREGULAR.get(noun, noun + "s")


def article(phrase: str) -> str:
    """Return the phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def leaves(tree: dict[str, tuple[str, ...]], node: str) -> frozenset[str]:
    """Return the leaves below a node of a tree (the node itself if it is a leaf)."""
    if node not in tree:
        return frozenset({node})
    return frozenset().union(*(leaves(tree, child) for child in tree[node]))


def _tree_meanings(tree: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    names = {*tree, *(child for children in tree.values() for child in children)}
    return {name: leaves(tree, name) for name in sorted(names)}


def _activity_meanings() -> dict[str, frozenset[str]]:
    """Return the meaning of each activity phrase, as "posture/occupation" atoms; most allow any posture."""
    done: dict[str, set[str]] = {posture: {f"{posture}/nothing"} for posture in POSTURES}
    phrases = {f"{verb} {thing}": verb for verb, things in OBJECTS.items() for thing in things}
    for phrase, general in {**phrases, **{verb: verb for verb in RELATIONS}}.items():
        for posture in MOVING if phrase == "chasing" else POSTURES:
            for name in (phrase, general, posture):
                done.setdefault(name, set()).add(f"{posture}/{phrase}")
    done["moving"] = set().union(*(done[posture] for posture in MOVING))
    return {name: frozenset(atoms) for name, atoms in done.items()}


NOUNS = _tree_meanings(NOUN_TREE)
PLACES = _tree_meanings(PLACE_TREE)
ACTIVITIES = _activity_meanings()
PEOPLE = NOUNS["person"]
OCCUPATIONS = tuple(name for name in ACTIVITIES if name.split()[0] in OBJECTS)
