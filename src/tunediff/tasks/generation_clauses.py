"""Clauses that explain the flip of a case with free-text answers: format, scores, length, repetition, script.

The base model's answer reached the token limit, the tuned model's did not; the base model wrote 64 words and the tuned
model 9.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tunediff.tasks.answer_clauses import answer_form
from tunediff.tasks.clauses import Rules, nearest, unstable

# Lengths that differ by less than this factor are not mentioned.
LONGER = 1.5


def _scored(name: str, before: float, after: float) -> str | None:
    return None if before == after else f"{name} is {before:.2f} before and {after:.2f} after"


def _length(before: float, after: float) -> str | None:
    if max(before, after) <= LONGER * max(min(before, after), 1):
        return None
    return f"the base model wrote {before:.0f} word{'s' * (before != 1)} and the tuned model {after:.0f}"


def _repetition(before: float, after: float) -> str | None:
    if abs(before - after) < 0.2:
        return None
    return f"of the sequences of four words in the answer, {before:.0%} are repeated before and {after:.0%} after"


def _script(before: bool, after: bool) -> str | None:
    if before == after:
        return None
    who, other = ("base", "tuned") if before else ("tuned", "base")
    return f"the {who} model answered in a script that the case does not have, the {other} model did not"


def _neighbour(near: Sequence[Mapping[str, Any]]) -> str | None:
    return nearest(near, "case", lambda one: f"is answered by {one['answer']!r}")


GENERATION_CLAUSES: Rules = (
    (("base_parse", "tuned_parse"), answer_form),
    (("score_name", "base_score", "tuned_score"), _scored),
    (("base_words", "tuned_words"), _length),
    (("base_other_script", "tuned_other_script"), _script),
    (("base_repetition", "tuned_repetition"), _repetition),
    (("base_stable",), unstable("base")),
    (("nearest",), _neighbour),
)
