"""Why the answer to a question flipped, as far as stored evidence goes: fields first, then sentences made of them.

    {"transition": "repaired", "label": "unanswerable", "base_answered": True, "tuned_answered": False, ...}
    The question has no answer: the base model gave one, the tuned model gives none; the log-odds of no answer went from
    -1.20 to +3.40 nats.

Clauses are written as in `tunediff.compare.explanations.causes`: by rules that are handed the fields they cite and
nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.evaluation_settings import MODELS
from tunediff.compare.explanations.causes import (
    CUT_OFF,
    NEAR,
    PARSED,
    Rules,
    flipped_cases,
    nearest,
    parse_status,
    plain,
    told,
    unstable,
)
from tunediff.compare.explanations.question_wording import answer_place, question_wording, sentence_at
from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import Case
from tunediff.metrics.squad import normalised


def answer_causes(
    aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case], train: Sequence[Case] = ()
) -> Iterator[dict[str, Any]]:
    """Return the evidence and the explanation of each repaired or broken case, JSON-ready, in the order of `aligned`.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns, with f1_base and f1_tuned; and where they were
            measured, for base and tuned, log_probs_MODEL (of answerable and unanswerable) and stable_MODEL.
        cells: the transition of each row of `aligned`.
        cases: the test cases, in any order.
        train: the training cases; none: no neighbours.

    Returns:
        The fields of `answer_evidence`, then clauses (text and fields of each) and explanation, a sentence or two.

    Raises:
        TunediffError: a flipped case is not among `cases`.
    """
    return told(answer_evidence(aligned, cells, cases, train), RULES)


def answer_evidence(
    aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case], train: Sequence[Case] = ()
) -> list[dict[str, Any]]:
    """Return the evidence of each repaired or broken case; what was not measured is None or not among its fields.

    Arguments and errors are those of `answer_causes`.

    Returns:
        case_id, transition, label. For base and tuned: prediction (None where invalid); parse ("parsed", "no label", or
        "cut off" at the token limit); answered, whether it gives an answer; f1, 0..1; in_sentence, whether its answer
        stands in the sentence with the gold one; no_answer_odds, the log-odds that there is no answer, in nats; stable.
        question_word, answer_words, answer_overlap, position: as
        `tunediff.compare.explanations.question_wording.question_wording` says.
        nearest: the training questions that are most like this one, with case_id, question, answer and distance.
    """
    flipped, own = flipped_cases(aligned, cells, cases)
    if not own:
        return []
    rows = aligned.iloc[flipped]
    columns: dict[str, Sequence[Any]] = {
        "case_id": rows["case_id"].tolist(),
        "transition": cells.iloc[flipped].astype(str).tolist(),
        "label": rows["label"].tolist(),
    }
    for who in MODELS:
        columns |= {f"{who}_{name}": values for name, values in _of_model(rows, own, who).items()}
    texts = question_wording(own)
    columns |= {name: plain(texts[name]) for name in ("question_word", "answer_overlap", "position")}
    columns["answer_words"] = [None if pd.isna(count) else int(count) for count in texts["answer_words"]]
    if train:
        columns["nearest"] = _nearest_questions(own, train)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _of_model(rows: pd.DataFrame, cases: Sequence[Case], who: str) -> dict[str, list[Any]]:
    """The evidence that one model gives, by name of the field without the model."""
    given, parse = plain(rows[f"prediction_{who}"]), parse_status(rows, who)
    columns: dict[str, list[Any]] = {
        "prediction": given,
        "parse": parse,
        "answered": [bool(answer) if status == PARSED else None for answer, status in zip(given, parse, strict=True)],
        "f1": rows[f"f1_{who}"].tolist(),
        "in_sentence": [_in_sentence(case, answer) for case, answer in zip(cases, given, strict=True)],
    }
    if f"log_probs_{who}" in rows:
        columns["no_answer_odds"] = [_odds(log_probs) for log_probs in rows[f"log_probs_{who}"]]
    if f"stable_{who}" in rows:
        columns["stable"] = plain(rows[f"stable_{who}"])
    return columns


def _odds(log_probs: npt.NDArray[np.float64] | None) -> float | None:
    return float(log_probs[1] - log_probs[0]) if log_probs is not None and len(log_probs) == 2 else None


def _in_sentence(case: Case, answer: str | None) -> bool | None:
    """Whether an answer stands in the sentence with the gold one; None where one of them is no place in the context."""
    place, found = answer_place(case), normalised(answer or "")
    if place is None or not found:
        return None
    context = case.inputs["context"]
    return f" {found} " in f" {normalised(context[slice(*sentence_at(context, place))])} "


def _nearest_questions(cases: Sequence[Case], train: Sequence[Case]) -> list[list[dict[str, Any]]]:
    known = {case.case_id: case for case in train}
    return [
        [
            {
                "case_id": one.case_id,
                "question": known[one.case_id].inputs["question"],
                "answer": next((answer.text for answer in known[one.case_id].answers), ""),
                "distance": one.distance,
            }
            for one in near
        ]
        for near in nearest(cases, train, ["question"])
    ]


# --- rules: each is handed the fields that it cites, and answers with a clause or with None ----------------------


def _form(base: str, tuned: str) -> str | None:
    if (base == PARSED) == (tuned == PARSED):
        return None
    who, other, status = ("tuned", "base", tuned) if base == PARSED else ("base", "tuned", base)
    if status == CUT_OFF:
        return f"the {who} model's answer ran into the token limit, the {other} model's did not"
    return f"the {who} model's answer could not be read, the {other} model's could"


def _abstained(label: str, base: bool, tuned: bool) -> str | None:
    if base == tuned:
        return None
    there = "the question has no answer" if label == UNANSWERABLE else "the question has an answer"
    before, after = ("gave one" if base else "gave none"), ("gives one" if tuned else "gives none")
    return f"{there}: the base model {before}, the tuned model {after}"


def _odds_change(base: bool, tuned: bool, before: float, after: float) -> str | None:
    if base == tuned:
        return None
    return f"the log-odds of no answer went from {before:+.2f} to {after:+.2f} nats"


def _shared_words(base: bool, tuned: bool, before: float, after: float) -> str | None:
    if not (base and tuned):
        return None
    return f"the answers' F1 against the gold one is {before:.2f} before and {after:.2f} after"


def _place(base: bool, tuned: bool) -> str | None:
    if base and tuned:
        return "both answers stand in the sentence with the gold one"
    if not base and not tuned:
        return None
    inside, outside = ("base", "tuned") if base else ("tuned", "base")
    return f"the {inside} model's answer stands in the sentence with the gold one, the {outside} model's elsewhere"


def _neighbour(near: Sequence[Mapping[str, Any]]) -> str | None:
    if not near:
        return None
    first = near[0]
    if first["distance"] > NEAR:
        return f"no training question is near (the nearest at distance {first['distance']:.2f})"
    answer = f"is answered by {first['answer']!r}" if first["answer"] else "has no answer"
    return f"the nearest training question (at distance {first['distance']:.2f}) {answer}"


def _alike(overlap: float) -> str | None:
    if overlap > 0.25:
        return None
    return f"the sentence with the answer shares few words with the question ({overlap:.2f} of them)"


RULES: Rules = (
    (("base_parse", "tuned_parse"), _form),
    (("label", "base_answered", "tuned_answered"), _abstained),
    (("base_answered", "tuned_answered", "base_no_answer_odds", "tuned_no_answer_odds"), _odds_change),
    (("base_answered", "tuned_answered", "base_f1", "tuned_f1"), _shared_words),
    (("base_in_sentence", "tuned_in_sentence"), _place),
    (("base_stable",), unstable("base")),
    (("tuned_stable",), unstable("tuned")),
    (("nearest",), _neighbour),
    (("answer_overlap",), _alike),
)
