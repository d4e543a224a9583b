"""Answers before and after: token F1, and questions that have an answer apart from those that have none.

    answer_metrics(aligned, confidence=0.95, clusters=aligned["context"])
    # {"f1_base": 0.418, "f1_tuned": 0.8018, ..., "has_answer_n": 5928, "has_answer_exact_base": 0.741, ...}

Right is what matches a gold answer exactly; so accuracy is the exact match, and is compared as that of any task is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tunediff.compare.checks import Alarm, text_alarm
from tunediff.compare.effects.corpus_differences import text_differences, threshold_differences
from tunediff.compare.effects.decomposition import ANSWER_PARTS
from tunediff.compare.effects.differences import Difference, planned, score_difference
from tunediff.compare.effects.evaluation_settings import MODELS
from tunediff.config.task import ANSWERABLE
from tunediff.data.cases import INVALID, RIGHT, Case, answered
from tunediff.runtime.errors import TunediffError

_KEYS = ("base", "tuned", "delta", "delta_low", "delta_high", "p")


def with_answers(aligned: pd.DataFrame, cases: Sequence[Case]) -> pd.DataFrame:
    """Return `aligned`, in the order of `cases`, with the gold answers (a tuple of `Answer`) as the column answers.

    Raises:
        TunediffError: a prediction file was scored against other answers than those of the cases.
    """
    gold = [[answer.text for answer in case.answers] for case in cases]
    for model in MODELS:
        scored = aligned[f"answers_{model}"]
        other = [
            case.case_id for case, own, found in zip(cases, gold, scored, strict=True) if list(map(str, found)) != own
        ]
        if other:
            raise TunediffError(
                f"test split and {model} predictions: answers: found different ones for {len(other)} of {len(cases)} "
                f"cases (the first: {other[0]}), expected the same in both (dvc repro)"
            )
    answers = pd.Series([case.answers for case in cases], index=aligned.index, dtype=object)
    return aligned.drop(columns=[f"answers_{model}" for model in MODELS]).assign(answers=answers)


def as_labels(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return `aligned` with answerable or unanswerable in the place of each answer, None where it is invalid."""
    columns = {}
    for model in MODELS:
        # As objects: a column of texts would store None as NaN.
        given = aligned[f"prediction_{model}"].astype(object).where(aligned[f"outcome_{model}"] != INVALID, None)
        columns[f"prediction_{model}"] = pd.Series([answered(answer) for answer in given], aligned.index, dtype=object)
    return aligned.assign(**columns)


def answer_metrics(
    aligned: pd.DataFrame, confidence: float = 0.95, clusters: Sequence[Any] | pd.Series | None = None
) -> dict[str, float]:
    """Return what F1 and the two kinds of question say of the difference, flat; all but p and the counts in 0..1.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns, with f1_base and f1_tuned; label is answerable or
            unanswerable.
        confidence: of the interval.
        clusters: of length n_cases, such as the paragraph; None where every question stands for itself.

    Returns:
        f1_base, f1_tuned, f1_delta with its paired bootstrap interval f1_delta_low and f1_delta_high, f1_p by the
        sign-flip test, both by cluster. Where there are both kinds of question, for PART has_answer and no_answer:
        PART_n, and PART_exact and PART_f1 of base and tuned.
    """
    f1 = score_difference("F1", aligned["f1_base"], aligned["f1_tuned"], confidence, clusters)
    metrics: dict[str, float] = {f"f1_{key}": value for key, value in zip(_KEYS, f1[1:7], strict=True)}
    if aligned["label"].nunique() < len(ANSWER_PARTS):
        return metrics
    for part, label in ANSWER_PARTS.items():
        own = aligned[aligned["label"] == label]
        metrics[f"{part}_n"] = len(own)
        for model in MODELS:
            metrics[f"{part}_exact_{model}"] = float((own[f"outcome_{model}"] == RIGHT).mean())
            metrics[f"{part}_f1_{model}"] = float(own[f"f1_{model}"].mean())
    return metrics


def answer_differences(
    aligned: pd.DataFrame,
    metrics: Mapping[str, float],
    confidence: float = 0.95,
    clusters: Sequence[Any] | pd.Series | None = None,
) -> list[Difference]:
    """Return every metric of answers that is compared, p-values adjusted for their number; exact match first, then F1.

    Args:
        aligned: as for `answer_metrics`, with the gold answers and, where there are any, log_probs.
        metrics: those of `tunediff.compare.effects.transitions.transition_metrics` and `answer_metrics`.
        confidence: of the intervals.
        clusters: of length n_cases, such as the paragraph; None where every question stands for itself.
    """
    known = [("exact match", "accuracy", "mcnemar_p"), ("F1", "f1", "f1_p")]
    rows = [
        Difference(name, *(metrics[f"{key}_{end}"] for end in _KEYS[:5]), *[metrics[p]] * 2) for name, key, p in known
    ]
    rows += threshold_differences(aligned, confidence, clusters)
    gold = [[answer.text for answer in answers] for answers in aligned["answers"]]
    rows += text_differences(gold, aligned["prediction_base"], aligned["prediction_tuned"], confidence, clusters)
    return planned(rows)


def text_alarms(aligned: pd.DataFrame, differences: Sequence[Difference]) -> list[Alarm]:
    """Return the alarms of text metrics that contradict the F1 of the questions with an answer.

    Args:
        aligned: as for `answer_metrics`.
        differences: what `answer_differences` returns; empty where the task is another, which has no such alarm.
    """
    texts = [row for row in differences if row.metric.startswith(("BLEU", "ROUGE", "METEOR"))]
    if not texts:
        return []
    found = []
    for model in MODELS:
        f1 = float(aligned[f"f1_{model}"][aligned["label"] == ANSWERABLE].mean())
        found.append(text_alarm(f1, {row.metric: getattr(row, model) for row in texts}, f"{model} model"))
    return [alarm for alarm in found if alarm]


def threshold_metrics(differences: Sequence[Difference]) -> dict[str, float]:
    """Return best_exact and best_f1 of base and tuned and their difference with its interval, where they are there.

    Args:
        differences: what `answer_differences` returns.
    """
    keys = {"best exact match": "best_exact", "best F1": "best_f1"}
    return {
        f"{keys[row.metric]}_{end}": value
        for row in differences
        if row.metric in keys
        for end, value in zip(_KEYS, row[1:7], strict=True)
    }
