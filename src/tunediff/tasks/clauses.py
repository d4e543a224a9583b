"""The clauses of an explanation: rules that are handed the fields they cite and nothing else.

So a clause cannot speak of what was not measured: where a cited field is missing, its clause is.
"""

from collections.abc import Callable

PARSED, NO_LABEL, CUT_OFF = "parsed", "no label", "cut off"
# A training case this near shares about half of its weighted words.
NEAR = 0.5

# The fields that a clause cites, and what writes it from them alone; the most telling first.
Rules = tuple[tuple[tuple[str, ...], Callable[..., str | None]], ...]


def unstable(who: str) -> Callable[[bool], str | None]:
    """Return the rule about an answer that changes with the batch size."""
    text = f"the {who} model's answer changes with the batch size, so this flip may be noise"
    return lambda stable: None if stable else text
