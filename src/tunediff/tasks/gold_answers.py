"""Gold answers of a case: read from a row, located and marked in the context, compared with those of a file.

row["answers"]                                # {"text": ["France", "France"], "answer_start": [159, 159]}
gold_answers(row, ["answerable"], data)       # (Answer("France", 159),)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tunediff.config.data import Origin
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import MODELS, Answer, Case
from tunediff.data.sources import Row
from tunediff.data.values import key_of
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown, visible
from tunediff.tasks.columns import checked_text, text_of

_LAYOUT = '{"text": [TEXT, ...], "answer_start": [NUMBER, ...]}'


def is_unlabelled(gold: object, unlabelled: set[str | None]) -> bool:
    """Return whether a row's gold answers are a value that marks rows without a gold label."""
    return not isinstance(gold, dict) and key_of(gold) in unlabelled


def gold_answers(row: Row, labels: Sequence[str], data: Origin) -> tuple[Answer, ...]:
    """Return the distinct gold answers of a row, in order, with their starts in the context.

    Args:
        row: the row.
        labels: labels of the task.
        data: columns of the source.

    Raises:
        TunediffError: answers are not in the hub's layout, a text is empty, or there is no answer although `labels` has
            no `unanswerable`.
    """
    context, column = text_of(row, data.columns["context"]), data.columns["answers"]
    placed = [Answer(text, _place(context, text, start)) for text, start in _pairs(row, column)]
    if not placed and UNANSWERABLE not in labels:
        raise TunediffError(
            f"{row.place}: {column}: found no answer, but task.labels is {labels}; expected an "
            f"answer, or task.labels [{ANSWERABLE}, {UNANSWERABLE}]"
        )
    return tuple(dict.fromkeys(placed))


def _pairs(row: Row, column: str) -> list[tuple[str, int | None]]:
    """Text and start of each gold answer in the row."""
    gold, place = row[column], f"{row.place}: {column}"
    texts = gold.get("text") if isinstance(gold, dict) else None
    given = gold.get("answer_start") if isinstance(gold, dict) else None
    if not isinstance(texts, list) or not (given is None or isinstance(given, list)):
        raise TunediffError(f"{place}: found {shown(gold)}, expected {_LAYOUT}")
    numbers = [None] * len(texts) if given is None else given
    if len(numbers) != len(texts):
        raise TunediffError(f"{place}: found {len(texts)} texts and {len(numbers)} starts, expected as many of each")
    for number in numbers:
        if not (number is None or type(number) is int):
            raise TunediffError(f"{place}: answer_start: found {shown(number)}, expected a whole number")
    return [(checked_text(text, place), number) for text, number in zip(texts, numbers, strict=True)]


def _place(context: str, text: str, start: int | None) -> int | None:
    if start is not None and start >= 0 and context.startswith(text, start):
        return start
    found = context.find(text)
    return None if found < 0 else found


def starts(rows: Sequence[Row], cases: Sequence[Case | None], data: Origin) -> dict[str, int]:
    """Count how the starts of the gold answers were determined: {"as given": 20302, "found in the context": 0, ...}.

    Args:
        rows: rows of one source split.
        cases: the result of `QuestionAnswering.cases` for these rows.
        data: columns of the source.
    """
    counts = Counter({"as given": 0, "found in the context": 0, "nowhere in the context": 0})
    for row, case in zip(rows, cases, strict=True):
        if case is None:
            continue
        given = set(_pairs(row, data.columns["answers"]))
        for answer in case.answers:
            how = "nowhere in" if answer.start is None else "found in"
            counts["as given" if answer in given and answer.start is not None else f"{how} the context"] += 1
    return dict(counts)


def marked_answer(context: str, text: str, start: int | None) -> dict[str, Any]:
    """Return a gold answer with its start in the context after `visible`; None if it is not there."""
    placed = isinstance(start, int) and start >= 0 and context.startswith(text, start)
    return {"text": visible(text), "start": len(visible(context[:start])) if placed else None}


def marked_answers(record: Mapping[str, Any], context: str, place: str) -> list[dict[str, Any]]:
    """Return the gold answers of a record of cases.jsonl; see `marked_answer`.

    Raises:
        TunediffError: they are not a list of texts with their starts; the message starts with `place`.
    """
    answers = record.get("answers")
    if not isinstance(answers, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in answers
    ):
        raise TunediffError(f"{place}: answers: found {shown(answers)}, expected a list of texts with their starts")
    return [marked_answer(context, one["text"], one.get("start")) for one in answers]


def with_answers(aligned: pd.DataFrame, cases: Sequence[Case]) -> pd.DataFrame:
    """Return aligned predictions in the order of `cases`, with the gold answers of the cases.

    Raises:
        TunediffError: a prediction file was graded against different gold answers.
    """
    for model in MODELS:
        graded = zip(cases, aligned[f"answers_{model}"], strict=True)
        differing = [
            case.case_id for case, found in graded if list(map(str, found)) != [answer.text for answer in case.answers]
        ]
        if differing:
            raise TunediffError(
                f"test split and {model} predictions: answers: found different values for {len(differing)} of "
                f"{len(cases)} cases (the first: {differing[0]}), expected the same in both (dvc repro)"
            )
    answers = pd.Series([case.answers for case in cases], index=aligned.index, dtype=object)
    return aligned.drop(columns=[f"answers_{model}" for model in MODELS]).assign(answers=answers)
