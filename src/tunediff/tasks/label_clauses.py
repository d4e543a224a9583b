"""Clauses that explain the flip of a case whose answer is a label.

The gold label trailed by 2.31 nats before and leads by 0.80 after; without the base model's label bias it would
have led before (by 0.12 nats).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tunediff.tasks.clauses import CUT_OFF, NO_LABEL, PARSED, Rules, nearest, unstable


def _form(base: str, tuned: str) -> str | None:
    failed = {NO_LABEL: "named no label", CUT_OFF: "named no label within the token limit"}
    if (base == PARSED) == (tuned == PARSED):
        return None
    if tuned == PARSED:
        return f"the base model's answer {failed[base]}, the tuned model's does"
    return f"the base model's answer named a label, the tuned model's {failed[tuned]}"


def _lead(base: float, tuned: float) -> str:
    def place(margin: float, leads: str, trails: str) -> str:
        return f"{leads if margin >= 0 else trails} by {abs(margin):.2f} nats"

    return f"the gold label {place(base, 'led', 'trailed')} before and {place(tuned, 'leads', 'trails')} after"


def _preference(transition: str, base: float, tuned: float) -> str | None:
    if transition == "repaired" and base > 0:
        return f"without the base model's label bias it would have led before (by {base:.2f} nats)"
    if transition == "broken" and tuned > 0:
        return f"without the tuned model's label bias it would still lead (by {tuned:.2f} nats)"
    return None


def _from_one_input(base: str, tuned: str, alone: str) -> str:
    if base == tuned:
        return f"given the {alone} alone, both models answer {base!r}"
    return f"given the {alone} alone, the base model answers {base!r} and the tuned model {tuned!r}"


def _neighbour(near: Sequence[Mapping[str, Any]], label: str) -> str | None:
    def has(one: Mapping[str, Any]) -> str:
        return "has the same label" if one["label"] == label else f"has another label, {one['label']!r}"

    return nearest(near, "case", has)


def _wording(overlap: float, subsequence: bool, alone: str, others: str) -> str | None:
    if subsequence:
        return f"the {alone} occurs verbatim in the {others}"
    if overlap == 1:
        return f"every word of the {alone} occurs in the {others}"
    return f"no word of the {alone} occurs in the {others}" if overlap == 0 else None


def _negation(negation: str) -> str | None:
    return None if negation == "none" else f"there is a negation {negation.replace('in ', 'in the ', 1)}"


LABEL_CLAUSES: Rules = (
    (("base_parse", "tuned_parse"), _form),
    (("base_margin", "tuned_margin"), _lead),
    (("transition", "base_calibrated_margin", "tuned_calibrated_margin"), _preference),
    (("base_stable",), unstable("base")),
    (("tuned_stable",), unstable("tuned")),
    (("base_partial_input", "tuned_partial_input", "alone"), _from_one_input),
    (("nearest", "label"), _neighbour),
    (("overlap", "subsequence", "alone", "others"), _wording),
    (("negation",), _negation),
)
