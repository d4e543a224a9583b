"""SQuAD predictions with their data set (--data): answers by question id, in three common forms.

    {"56ddde6b": "France", "5ad39d53": ""}                                    predictions.json of the official scripts
    {"56ddde6b": [{"text": "France", "probability": 0.9, ...}, ...]}          nbest_predictions.json: the first counts
    [{"id": "56ddde6b", "prediction_text": "France", "no_answer_probability": 0.0}]     input of `evaluate`

With no-answer probabilities, from such a list or from a separate file ({question id: number}, na_prob.json or
null_odds.json, --no-answer), the best thresholds of both models are compared too. Numbers in 0..1 are probabilities,
others are log-odds, as written by run_qa. If all are equal, they are ignored.
"""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import first_three
from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.label_order import Table
from tunediff.compare.pairs.predictions import Predictions
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import RIGHT, WRONG, Answer
from tunediff.data.sources import Row
from tunediff.data.sources.squad_json import read_squad
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, read_json, shown
from tunediff.runtime.hashing import content_hash
from tunediff.tasks import foreign_task

LABELS = (ANSWERABLE, UNANSWERABLE)


def is_answers(value: Mapping[str, Any]) -> bool:
    """Whether an object is answers by question id."""
    return all(isinstance(one, str) or _is_nbest(one) for one in value.values())


def is_listed(row: Mapping[str, Any]) -> bool:
    """Whether a row is an answer in the form of `evaluate`, as opposed to a row of a table."""
    return row.keys() in ({"id", "prediction_text"}, {"id", "prediction_text", "no_answer_probability"})


def _is_nbest(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "text" in one for one in value)


def _read(_: Rows, name: str, options: ReadOptions) -> Predictions:
    if options.data is None:
        raise TunediffError(f"{name}: looks like a file of SQuAD predictions; expected its data set as --data")
    return read_answers(Path(name), options.data, options.no_answer)


def read_answers(path: Path, data: Path, no_answer: Path | None = None) -> Predictions:
    """Read SQuAD predictions, with exact match as the outcome and token F1 as the score of each question.

    The label is whether a question has an answer. Answers to questions outside of the data set are ignored, so that a
    part of a data set can be evaluated.

    Args:
        path: the answers.
        data: the data set in SQuAD's layout.
        no_answer: file of {question id: probability of no answer}; None: use those in `path`, if any.

    Raises:
        TunediffError: a file is invalid, or has no answer to a question.
    """
    questions = list(map(_question, read_squad(data)))
    ids = [question["case_id"] for question in questions]
    check_ids(ids, data)
    value = read_json(path, unique_keys=True)
    answers = _answers(value, path)
    if missing := unanswered(answers, ids, path, data):
        raise TunediffError(f"{missing}, expected one for each")
    if no_answer is not None:
        odds: Mapping[str, float] | None = no_answer_odds(no_answer, ids, data)
    else:
        odds = _listed_odds(value, ids)
    scores, kind = _scores(odds, ids)
    for question in questions:
        references, answer = [gold.text for gold in question["answers"]], answers[question["case_id"]]
        right = exact_match(references, answer)
        question |= {
            "prediction": answer,
            "outcome": RIGHT if right else WRONG,
            "f1": token_f1(references, answer),
            "prompt_hash": None,
            "scorer": "SQuAD exact match",
        }
    frame = pd.DataFrame(questions)
    task = foreign_task(frame.columns)
    same = "cluster", *task.shared_columns
    origin = f"{_form(value)} of SQuAD, exact match{kind}"
    return Predictions(frame, ("question", "context"), LABELS, scores, same=same, kind=task, origin=origin)


def _form(value: Any) -> str:
    if isinstance(value, list):
        return "a list of answers"
    return "n-best answers, the first of each," if any(isinstance(one, list) for one in value.values()) else "answers"


def squad_answers(path: Path) -> dict[str, str]:
    """Read SQuAD predictions, an answer by question id.

    Args:
        path: a .json file in one of the three forms.

    Raises:
        TunediffError: the file has another form, a repeated question id, or an answer that is not valid Unicode.
    """
    return _answers(read_json(path, unique_keys=True), path)


def _answers(value: Any, path: Path) -> dict[str, str]:
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, dict) and {"id", "prediction_text"} <= one.keys() for one in value)
    ):
        ids = [str(one["id"]) for one in value]
        check_ids(ids, path)
        answers = dict(zip(ids, (one["prediction_text"] for one in value), strict=True))
    elif isinstance(value, dict):
        answers = {one: answer[0]["text"] if _is_nbest(answer) else answer for one, answer in value.items()}
    else:
        answers = {"": None}
    if not all(isinstance(answer, str) for answer in answers.values()):
        raise TunediffError(f"{path}: found no object of texts, expected {{question id: answer}}")
    for one, answer in answers.items():
        if half := LONE_SURROGATE.search(answer):
            raise TunediffError(f"{path}: {one}: found {half[0]!r}, expected whole characters")
    return answers


def no_answer_odds(path: Path, ids: Sequence[str], data: Path) -> dict[str, float]:
    """Read the no-answer probabilities or log-odds of questions, in the order of the file.

    Args:
        path: file of {question id: number}.
        ids: ids of the questions to read.
        data: path of the data set, for error messages.

    Raises:
        TunediffError: the file has another form, lacks a question, or has a value that is not a number.
    """
    values = read_json(path, unique_keys=True)
    if not isinstance(values, dict):
        raise TunediffError(f"{path}: found {shown(values)}, expected {{question id: probability}}")
    missing = [one for one in ids if one not in values]
    if missing:
        raise TunediffError(
            f"{path}: found no probability for {len(missing)} of the {len(ids)} questions of {data} ({missing[0]})"
        )
    wanted = set(ids)
    found = {one: value for one, value in values.items() if one in wanted}
    for one, value in found.items():
        # Integers may be too large for a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise TunediffError(f"{path}: {one}: found {shown(value)}, expected a number")
    return found


def _listed_odds(value: Any, ids: Sequence[str]) -> dict[str, float] | None:
    """The no_answer_probability of each question in a list, if all have a number."""
    if not isinstance(value, list):
        return None
    found = {str(one["id"]): one.get("no_answer_probability") for one in value}
    odds = {one: found[one] for one in ids}
    return odds if all(type(one) in (int, float) and math.isfinite(one) for one in odds.values()) else None


def _scores(odds: Mapping[str, float] | None, ids: Sequence[str]) -> tuple[Table | None, str]:
    """Log-probabilities of `LABELS`, of shape (n_questions, 2), and how the numbers were interpreted."""
    if odds is None:
        return None, ""
    numbers = np.array([odds[one] for one in ids], dtype=np.float64)
    if (numbers == numbers[0]).all():
        return None, f"; the probability of no answer is {numbers[0]:g} throughout and ignored"
    if ((numbers >= 0) & (numbers <= 1)).all():
        tiny = np.finfo(np.float64).tiny
        return np.log(np.maximum(np.stack([1 - numbers, numbers], axis=1), tiny)), "; with probabilities of no answer"
    # The inverse of log(p / (1 - p)), normalised in log space.
    logs = np.stack([-np.logaddexp(0, numbers), -np.logaddexp(0, -numbers)], axis=1)
    return logs, "; with log-odds of no answer"


def unanswered(answers: Mapping[str, object], ids: Sequence[str], path: Path, data: Path) -> str | None:
    """Return a message about questions without an answer in a file; None if all have one."""
    missing = [one for one in ids if one not in answers]
    if not missing:
        return None
    return f"{path}: found no answer to {len(missing)} of the {len(ids)} questions of {data} ({first_three(missing)})"


def check_ids(ids: Sequence[str], path: Path) -> None:
    """Check that no question id is repeated.

    Raises:
        TunediffError: an id is repeated; the message names the first.
    """
    repeated = [one for one, count in Counter(ids).items() if count > 1]
    if repeated:
        first = first_three(repeated)
        raise TunediffError(f"{path}: id: found {len(repeated)} more than once ({first}), expected each once")


def _question(row: Row) -> dict[str, Any]:
    """The columns of a question of `read_squad`; the start of a gold answer outside of the paragraph is dropped."""
    length = len(row["context"])
    gold = tuple(
        Answer(text, start if start is not None and 0 <= start < length else None)
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    )
    return {
        "case_id": row["id"],
        "question": row["question"],
        "context": row["context"],
        "cluster": content_hash(row["context"]),
        "label": ANSWERABLE if gold else UNANSWERABLE,
        "answers": gold,
    }


FORMAT = FileFormat("SQuAD predictions with their data set", is_listed, _read)
