"""Metrics of answers to questions, as in metrics/eval_base.json.

    found = score_answers([["Paris"], []], ["Paris", "Rome"], log_probs=[[-0.1, -2.4], [-1.6, -0.2]])
    found["exact"], found["NoAns_f1"], found["best_exact"], found["invalid"]         # 50.0, 0.0, 100.0, 0

Values have the scale of the official script or library with the same key: exact match and F1 in 0..100 as in
evaluate-v2.0.py, BLEU in 0..100 as in sacrebleu, ROUGE and METEOR in 0..1.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tunediff.metrics.squad import Flags, Floats, at_threshold, case_scores, tuned_threshold, v2_dictionary
from tunediff.metrics.text import text_scores
from tunediff.runtime.errors import TunediffError
from tunediff.stats.intervals import wilson


class Answered(NamedTuple):
    """Questions with references, a model's answers, and its log-probabilities.

    answers: reference texts, empty if the question has no answer. predictions: texts, empty for "no answer", None if
    invalid. log_probs: log-probabilities (natural logarithm) of [answerable, unanswerable], of shape (n_cases, 2), or
    None.
    """

    answers: Sequence[Sequence[str]]
    predictions: Sequence[str | None]
    log_probs: Iterable[Sequence[float]] | Floats | None = None


def score_answers(
    answers: Sequence[Sequence[str]],
    predictions: Sequence[str | None],
    log_probs: Iterable[Sequence[float]] | Floats | None = None,
    validation: Answered | None = None,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Return the metrics of a model's answers, as a flat dict.

    Args:
        answers: the reference texts of each question; empty if it has no answer.
        predictions: the answer to each question; empty for "no answer", None if it could not be parsed.
        log_probs: log-probabilities (natural logarithm) of [answerable, unanswerable], of shape (n_cases, 2); None if
            the model gives none.
        validation: other questions, with log_probs, for tuning the threshold of validated_*.
        confidence: level of the interval of exact match.

    Returns:
        n: number of questions. exact, exact_low, exact_high (Wilson), f1: 0..100. If there are any, HasAns_exact,
        HasAns_f1, HasAns_total for questions with an answer, and NoAns_* for those without. With log_probs, best_exact,
        best_exact_thresh, best_f1, best_f1_thresh at the best threshold for these questions. With `validation`,
        validated_exact, validated_exact_thresh, validated_f1, validated_f1_thresh at the best threshold for those
        questions. bleu*, rouge*, meteor*: see `tunediff.metrics.text.text_scores`, for questions with an answer.
        invalid: number of invalid answers.

    Raises:
        TunediffError: there is no question, the lengths differ, or log-probabilities are not two finite numbers each.
    """
    found = _Scored.from_answers(Answered(answers, predictions, log_probs))
    exact, n = found.exact, len(answers)
    dictionary = v2_dictionary(exact, found.f1, answers, predictions, found.no_answer)
    low, high = wilson(int(exact.sum()), n, confidence)
    interval = {"exact_low": 100 * low, "exact_high": 100 * high}
    metrics = {"n": n, "exact": dictionary.pop("exact"), **interval, "f1": dictionary.pop("f1")}
    del dictionary["total"]  # equals n
    metrics |= dictionary
    if validation is not None and found.no_answer is not None:
        metrics |= _validated(found, _Scored.from_answers(validation))
    texts = [(list(one), text or "") for one, text in zip(answers, predictions, strict=True) if len(one)]
    if texts:
        metrics |= text_scores([references for references, _ in texts], [text for _, text in texts])
    return metrics | {"invalid": sum(prediction is None for prediction in predictions)}


class _Scored(NamedTuple):
    exact: Floats
    f1: Floats
    answerable: Flags
    no_answer: Floats | None

    @classmethod
    def from_answers(cls, answered: Answered) -> "_Scored":
        if len(answered.answers) != len(answered.predictions):
            raise TunediffError(f"found {len(answered.predictions)} predictions to {len(answered.answers)} questions")
        exact, f1 = case_scores(answered.answers, answered.predictions)
        answerable = np.array([len(references) > 0 for references in answered.answers], dtype=np.bool_)
        no_answer = None if answered.log_probs is None else _no_answer(answered.log_probs, len(exact))
        return cls(exact, f1, answerable, no_answer)


def _no_answer(log_probs: Iterable[Sequence[float]] | Floats, n: int) -> Floats:
    """The probability of no answer for each question."""
    try:
        table = np.array(list(log_probs), dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.shape != (n, 2) or not np.isfinite(table).all():
        raise TunediffError(f"log-probabilities: expected two finite numbers for each of {n} questions, found others")
    # Rounding must not make a probability larger than 1, above which the official script drops an answer.
    return np.minimum(np.exp(table[:, 1]), 1.0)


def _validated(test: _Scored, validation: _Scored) -> dict[str, float]:
    if test.no_answer is None or validation.no_answer is None:
        return {}
    found: dict[str, float] = {}
    for name, scores, tuned_on in (("exact", test.exact, validation.exact), ("f1", test.f1, validation.f1)):
        threshold = tuned_threshold(tuned_on, validation.answerable, validation.no_answer)
        mean = at_threshold(scores, test.answerable, test.no_answer, threshold).mean()
        found |= {f"validated_{name}": 100 * float(mean), f"validated_{name}_thresh": threshold}
    return found
