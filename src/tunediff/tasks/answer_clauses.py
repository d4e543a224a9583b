"""Clauses that explain the flip of a question, from evidence in the models' answers.

The question has no answer: the base model gave one, the tuned model gives none; the log-odds of no answer went from
-1.20 to +3.40 nats.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import MODELS, Case
from tunediff.metrics.squad import normalised
from tunediff.tasks.clauses import CUT_OFF, PARSED, Rules, nearest, unstable
from tunediff.tasks.question_wording import answer_place, sentence_at


def no_answer_odds(log_probs: npt.NDArray[np.float64] | None) -> float | None:
    """Return the log-odds of no answer, in nats; None without two log-probabilities."""
    return float(log_probs[1] - log_probs[0]) if log_probs is not None and len(log_probs) == 2 else None


def in_sentence(case: Case, answer: str | None) -> bool | None:
    """Return whether an answer is in the sentence of the gold answer; None if either is not in the context."""
    place, found = answer_place(case), normalised(answer or "")
    if place is None or not found:
        return None
    context = case.inputs["context"]
    return f" {found} " in f" {normalised(context[sentence_at(context, place)])} "


def answer_form(base: str, tuned: str) -> str | None:
    """Return the clause about two free-text answers of which one could not be parsed."""
    if (base == PARSED) == (tuned == PARSED):
        return None
    who, other, status = ("tuned", "base", tuned) if base == PARSED else ("base", "tuned", base)
    if status == CUT_OFF:
        return f"the {who} model's answer reached the token limit, the {other} model's did not"
    return f"the {who} model's answer could not be parsed, the {other} model's could"


def _abstained(label: str, base: bool, tuned: bool) -> str | None:
    if base == tuned:
        return None
    question = "the question has no answer" if label == UNANSWERABLE else "the question has an answer"
    before, after = ("gave one" if base else "gave none"), ("gives one" if tuned else "gives none")
    return f"{question}: the base model {before}, the tuned model {after}"


def _odds_change(base: bool, tuned: bool, before: float, after: float) -> str | None:
    if base == tuned:
        return None
    return f"the log-odds of no answer went from {before:+.2f} to {after:+.2f} nats"


def _shared_words(base: bool, tuned: bool, before: float, after: float) -> str | None:
    if not (base and tuned):
        return None
    return f"the answers' F1 against the gold answer is {before:.2f} before and {after:.2f} after"


def _place(base: bool, tuned: bool) -> str | None:
    if base and tuned:
        return "both answers are in the sentence of the gold answer"
    if not base and not tuned:
        return None
    inside, outside = MODELS if base else MODELS[::-1]
    return f"the {inside} model's answer is in the sentence of the gold answer, the {outside} model's is not"


def _neighbour(near: Sequence[Mapping[str, Any]]) -> str | None:
    def has(one: Mapping[str, Any]) -> str:
        return f"is answered by {one['answer']!r}" if one["answer"] else "has no answer"

    return nearest(near, "question", has)


def _alike(overlap: float) -> str | None:
    if overlap > 0.25:
        return None
    return f"the sentence with the answer shares few words with the question ({overlap:.2f} of them)"


ANSWER_CLAUSES: Rules = (
    (("base_parse", "tuned_parse"), answer_form),
    (("label", "base_answered", "tuned_answered"), _abstained),
    (("base_answered", "tuned_answered", "base_no_answer_odds", "tuned_no_answer_odds"), _odds_change),
    (("base_answered", "tuned_answered", "base_f1", "tuned_f1"), _shared_words),
    (("base_in_sentence", "tuned_in_sentence"), _place),
    (("base_stable",), unstable("base")),
    (("tuned_stable",), unstable("tuned")),
    (("nearest",), _neighbour),
    (("answer_overlap",), _alike),
)
