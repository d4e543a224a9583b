"""Rules for the clauses of an explanation. A rule gets only the fields that it cites.

So a clause cannot mention anything that was not measured: if a cited field is missing, the clause is omitted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

PARSED, NO_LABEL, CUT_OFF = "parsed", "no label", "cut off"
# At this cosine distance, two cases share about half of their weighted words.
NEAR = 0.5

# The fields that a clause cites, and the function that writes it; the most important clause first.
Rules = tuple[tuple[tuple[str, ...], Callable[..., str | None]], ...]


def nearest(near: Sequence[Mapping[str, Any]], cases: str, has: Callable[[Mapping[str, Any]], str]) -> str | None:
    """Return the clause about the nearest training case; None if there is none.

    Args:
        near: the nearest training cases, the nearest first.
        cases: what a case is called, such as question.
        has: says how a case is labelled or answered.
    """
    if not near:
        return None
    place = f"at distance {near[0]['distance']:.2f}"
    if near[0]["distance"] > NEAR:
        return f"no training {cases} is similar (the nearest is {place})"
    return f"the nearest training {cases} ({place}) {has(near[0])}"


def unstable(who: str) -> Callable[[bool], str | None]:
    """Return the rule about an answer that changes with the batch size."""
    text = f"the {who} model's answer changes with the batch size, so this flip may be noise"
    return lambda stable: None if stable else text
