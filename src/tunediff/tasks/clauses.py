"""Rules for the clauses of an explanation. A rule gets only the fields that it cites.

So a clause cannot mention anything that was not measured: if a cited field is missing, the clause is omitted.
"""

from collections.abc import Callable

PARSED, NO_LABEL, CUT_OFF = "parsed", "no label", "cut off"
# At this cosine distance, two cases share about half of their weighted words.
NEAR = 0.5

# The fields that a clause cites, and the function that writes it; the most important clause first.
Rules = tuple[tuple[tuple[str, ...], Callable[..., str | None]], ...]


def unstable(who: str) -> Callable[[bool], str | None]:
    """Return the rule about an answer that changes with the batch size."""
    text = f"the {who} model's answer changes with the batch size, so this flip may be noise"
    return lambda stable: None if stable else text
