"""SQuAD metrics: exact match and token F1 of each question, and the output of the official scripts.

    >>> normalised("The  Eiffel Tower!")
    'eiffel tower'
    >>> exact_match(["Eiffel Tower", "tower"], "the eiffel tower."), token_f1(["Eiffel Tower"], "a tower")
    (1, 0.6666666666666666)
    >>> exact_match([], ""), token_f1([], "Paris")           # a question without an answer
    (1, 0.0)
    >>> squad_v2_scores([["Paris"], []], ["in Paris", ""], no_answer=[0.2, 0.9])["best_f1_thresh"]
    0.2

Both versions score a question by its best reference (Rajpurkar et al. 2016, 2018). They differ for texts that are empty
after normalisation: 2.0 has questions without an answer, for which only an empty prediction is right.

For version 2.0, a model also gives a probability of no answer. Above a threshold, its answer is replaced by no answer.
The best threshold on the scored questions (best_exact, best_f1) overestimates; `tuned_threshold` finds one on other
questions, `at_threshold` applies it.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tunediff.runtime.errors import TunediffError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# The default threshold of the official script of 2.0, which no probability exceeds.
CERTAIN = 1.0

_NAMES = ("exact", "f1")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """Return text in lower case, without punctuation and articles, and with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], prediction: str) -> int:
    """Return 1 if the normalised prediction is one of the answers, or if both are empty, else 0."""
    found = normalised(prediction)
    return int(any(normalised(answer) == found for answer in _references(answers)))


def token_f1(answers: Sequence[str], prediction: str) -> float:
    """Return the best F1 of shared words between the prediction and any answer, in 0..1."""
    found = normalised(prediction).split()
    return max(_f1(normalised(answer).split(), found) for answer in _references(answers))


def case_scores(answers: Iterable[Sequence[str]], predictions: Iterable[str | None]) -> tuple[Floats, Floats]:
    """Return exact match and token F1 of each question by the rules of 2.0, each of shape (n_cases,), in 0..1.

    Args:
        answers: the reference answers of each question; empty if it has none.
        predictions: one per question, empty for "no answer"; None is invalid and scores 0.
    """
    pairs = [
        (0, 0.0) if prediction is None else (exact_match(references, prediction), token_f1(references, prediction))
        for references, prediction in zip(answers, predictions, strict=True)
    ]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def squad_scores(answers: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
    """Return the dictionary of evaluate-v1.1.py: exact_match and f1, in 0..100.

    Args:
        answers: the reference answers of each question, at least one.
        predictions: one per question; None if there is none, which scores 0.

    Raises:
        TunediffError: there is no question, or a question has no answer.
    """
    for number, references in enumerate(answers, start=1):
        if not len(references):
            raise TunediffError(f"question {number}: found no answer, expected one, as all questions of SQuAD 1.1 have")
    _some(len(answers))
    exact, f1 = 0, 0.0
    for references, prediction in zip(answers, predictions, strict=True):
        if prediction is None:
            continue
        found = normalised(prediction)
        texts = [normalised(answer) for answer in references]
        exact += found in texts
        # In version 1.1, two empty texts have no shared words.
        f1 += max(_f1(text.split(), found.split()) if text else 0.0 for text in texts)
    return {"exact_match": 100 * exact / len(answers), "f1": 100 * f1 / len(answers)}


def squad_v2_scores(
    answers: Sequence[Sequence[str]],
    predictions: Sequence[str | None],
    no_answer: Sequence[float] | Floats | None = None,
) -> dict[str, float]:
    """Return the dictionary of evaluate-v2.0.py, with scores in 0..100.

    Args:
        answers: the reference answers of each question; empty if it has none.
        predictions: one per question, empty for "no answer"; None is invalid and scores 0.
        no_answer: probability of no answer for each question; None: no best_*. As in the script, it may be another
            number, such as a difference of scores; above 1 the answer is dropped.

    Returns:
        exact, f1, total; if there are any, the same as HasAns_* for questions with an answer and as NoAns_* for those
        without; best_exact, best_exact_thresh, best_f1, best_f1_thresh.

    Raises:
        TunediffError: there is no question, or the lengths differ.
    """
    return v2_dictionary(*case_scores(answers, predictions), answers, predictions, no_answer)


def v2_dictionary(
    exact: Floats,
    f1: Floats,
    answers: Sequence[Sequence[str]],
    predictions: Sequence[str | None],
    no_answer: Sequence[float] | Floats | None = None,
) -> dict[str, float]:
    """Return the result of `squad_v2_scores`, given the result of `case_scores`."""
    _some(len(exact))
    answerable = np.array([len(references) > 0 for references in answers])
    certainty = None if no_answer is None else np.asarray(no_answer, dtype=np.float64)
    kept = [one if certainty is None else at_threshold(one, answerable, certainty, CERTAIN) for one in (exact, f1)]
    scores: dict[str, float] = {}
    for prefix, part in (("", np.ones_like(answerable)), ("HasAns_", answerable), ("NoAns_", ~answerable)):
        if part.any():
            total = int(part.sum())
            for name, values in zip(_NAMES, kept, strict=True):
                scores[f"{prefix}{name}"] = 100 * sum(values[part].tolist()) / total
            scores[f"{prefix}total"] = total
    if certainty is not None:
        silent = np.array([prediction == "" for prediction in predictions])
        for name, values in zip(_NAMES, (exact, f1), strict=True):
            best, threshold = best_threshold(values, answerable, silent, certainty)
            scores |= {f"best_{name}": 100 * best, f"best_{name}_thresh": threshold}
    return scores


def threshold_gains(scores: Floats, answerable: Flags, silent: Flags) -> Floats:
    """Return the score of each answer minus that of "no answer", in -1..1, of shape (n_cases,).

    Args:
        scores: exact match or F1 of each answer, in 0..1.
        answerable: whether the question has an answer.
        silent: whether the model's answer is empty, so that no threshold changes it.
    """
    return np.where(answerable, scores, np.where(silent, 0.0, -1.0))


def best_threshold(scores: Floats, answerable: Flags, silent: Flags, no_answer: Floats) -> tuple[float, float]:
    """Return the highest mean score for any threshold, in 0..1, and the threshold, like evaluate-v2.0.py.

    As in the script, questions are answered one by one by ascending probability of no answer, also within ties,
    although no threshold separates them.

    Args:
        scores: exact match or F1 of each answer, in 0..1.
        answerable: whether the question has an answer.
        silent: whether the model's answer is empty.
        no_answer: probability of no answer.
    """
    order = np.argsort(no_answer, kind="stable")
    gains = threshold_gains(scores, answerable, silent)[order]
    reached = np.cumsum(np.concatenate([[(~answerable).sum()], gains]))
    best = int(reached.argmax())
    return float(reached[best] / len(scores)), float(no_answer[order[best - 1]]) if best else 0.0


def tuned_threshold(scores: Floats, answerable: Flags, no_answer: Floats) -> float:
    """Return the threshold in 0..1 with the highest mean of `at_threshold`; of ties, the lowest.

    Tune it on the validation split and apply it to the test split.
    """
    order = np.argsort(no_answer, kind="stable")
    levels = no_answer[order]
    reached = np.concatenate([[0.0], np.cumsum((scores - ~answerable)[order])])
    thresholds = np.unique(np.concatenate([[0.0], levels]))
    # Questions of equal probability are answered together.
    return float(thresholds[reached[np.searchsorted(levels, thresholds, side="right")].argmax()])


def at_threshold(scores: Floats, answerable: Flags, no_answer: Floats, threshold: float) -> Floats:
    """Return the scores after dropping every answer with a probability of no answer above the threshold."""
    return np.where(no_answer > threshold, (~answerable).astype(np.float64), scores)


def _some(n: int) -> None:
    if n == 0:
        raise TunediffError("found no question to score, expected at least one")


def _references(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalised(answer)] or [""]


def _f1(answer: list[str], prediction: list[str]) -> float:
    if not answer or not prediction:
        return float(answer == prediction)
    shared = sum((Counter(answer) & Counter(prediction)).values())
    # Computed in the order of the official scripts, so that results agree to the last digit.
    precision, recall = shared / len(prediction), shared / len(answer)
    return 2 * precision * recall / (precision + recall) if shared else 0.0
