"""Prediction files as people have them: JSON lines, CSV, Parquet, lm-evaluation-harness samples, SQuAD predictions.

    read_predictions(Path("before.csv"), Fields(label="gold", prediction="answer", case_id="id"))
    read_predictions(Path("samples_anli_r1_2026-11-20.jsonl"), Fields())
    read_predictions(Path("predictions.json"), Fields(), data=Path("dev-v2.0.json"))

The kind is known by the name and, of JSON lines, by the first line.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.cases import RIGHT, WRONG, Answer, about_predictions, content_hash, environment_of
from tunediff.compare.harness import is_sample, read_samples
from tunediff.compare.predictions import Fields, Predictions, from_rows, from_table
from tunediff.errors import TunediffError
from tunediff.files import numbered_jsonl, read_json, read_parquet
from tunediff.sections import ANSWERABLE, UNANSWERABLE
from tunediff.sources.local import read_rows
from tunediff.sources.squad import read_squad
from tunediff.squad import exact_match, token_f1

KINDS = (".jsonl", ".csv", ".parquet", ".json")
LABELS = (ANSWERABLE, UNANSWERABLE)


def read_predictions(
    path: Path, fields: Fields, data: Path | None = None, metric: str | None = None, filter_name: str | None = None
) -> Predictions:
    """Read one model's predictions.

    Args:
        path: a file of one of `KINDS`.
        fields: names of its columns; for samples of lm-evaluation-harness only the cluster, a field of the document.
        data: the data set in SQuAD's layout, for a .json file of {question id: answer}.
        metric: which metric of lm-evaluation-harness samples says what is right; None takes the first.
        filter_name: which filter of such samples; None where there is only one.

    Raises:
        TunediffError: the file cannot be read, is of another kind, or lacks what is needed.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise TunediffError(f"{path}: found a name that ends in '{path.suffix}', expected {', '.join(KINDS)}")
    if kind == ".json":
        if data is None:
            raise TunediffError(f"{path}: is a file of SQuAD predictions by its name; expected its data set as --data")
        return _squad(path, data)
    if data is not None:
        raise TunediffError(f"{path}: found a data set (--data) beside a {kind} file, expected SQuAD's .json")
    if kind == ".parquet":
        return _parquet(path, fields)
    if kind == ".csv":
        rows = ((row.number, row) for row in read_rows(path))
        return from_table(from_rows(rows, fields.wanted(), str(path)), fields, str(path))
    lines = numbered_jsonl(path)
    first = next(lines, None)
    if first is None:
        raise TunediffError(f"{path}: has no row, expected at least one")
    lines = itertools.chain([first], lines)
    if is_sample(first[1]):
        return read_samples(lines, str(path), metric, filter_name, fields.cluster)
    return from_table(from_rows(lines, fields.wanted(), str(path)), fields, str(path))


def _parquet(path: Path, fields: Fields) -> Predictions:
    import pyarrow as pa

    table, names = read_parquet(path, fields.wanted())
    try:
        frame = table.to_pandas(ignore_metadata=True).set_axis(pd.RangeIndex(1, table.num_rows + 1))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
    about = about_predictions(path, table)
    predictions = from_table(frame.reindex(columns=names), fields, str(path), about.get("labels"))
    return predictions._replace(environment=environment_of(about))


def _squad(path: Path, data: Path) -> Predictions:
    """Exact match as the outcome and token F1 as the score of every question of the data set.

    The label is whether a question has an answer. Answers to questions that the data set does not have are left out,
    so that part of a data set can be looked at.
    """
    questions = list(_questions(data))
    answers = squad_answers(path, [question["case_id"] for question in questions], data)
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
    return Predictions(frame, ("question", "context"), labels=LABELS, same=("cluster", "answers"))


def squad_answers(path: Path, ids: Sequence[str], data: Path) -> dict[str, str]:
    """Read SQuAD predictions, an answer by question id.

    Args:
        path: a .json file of {question id: answer}.
        ids: of the questions that have to be answered.
        data: the data set that they come from, for errors.

    Raises:
        TunediffError: the file is of another kind, or a question has no answer.
    """
    answers = read_json(path)
    if not isinstance(answers, dict) or not all(isinstance(answer, str) for answer in answers.values()):
        raise TunediffError(f"{path}: found no object of texts, expected {{question id: answer}}")
    missing = [one for one in ids if one not in answers]
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise TunediffError(
            f"{path}: found no answer to {len(missing)} of the {len(ids)} questions of {data} ({first}), "
            "expected one to each"
        )
    return answers


def _questions(data: Path) -> Iterator[dict[str, Any]]:
    """The questions of a data set in SQuAD's layout: id, texts, gold answers, paragraph."""
    for row in read_squad(data):
        gold = tuple(map(Answer, row["answers"]["text"], row["answers"]["answer_start"]))
        yield {
            "case_id": row["id"],
            "question": row["question"],
            "context": row["context"],
            "cluster": content_hash(row["context"]),
            "label": ANSWERABLE if gold else UNANSWERABLE,
            "answers": gold,
        }
