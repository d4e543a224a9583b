"""Prediction files as people have them: JSON lines, CSV, Parquet, lm-evaluation-harness samples, SQuAD predictions.

    for some in read_predictions(Path("before.csv"), Fields(label="gold", prediction="answer", case_id="id")): ...
    (all,) = read_predictions(Path("samples_anli_r1_2026-11-20.jsonl"), Fields())
    (all,) = read_predictions(Path("predictions.json"), Fields(), data=Path("dev-v2.0.json"))

The kind is known by the name and, of JSON lines, by the first line, which may also begin an array with all rows. JSON
lines, CSV and Parquet are read some cases at a time; samples of lm-evaluation-harness, JSON arrays and SQuAD's JSON,
where all rows say what one of them means, are read at once.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.compare.pairs.harness import is_sample, read_samples
from tunediff.compare.pairs.predictions import Fields, Predictions, from_table, in_tables
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import RIGHT, WRONG, Answer, about_predictions, environment_of
from tunediff.data.sources import Row
from tunediff.data.sources.squad_json import read_squad
from tunediff.data.sources.table_files import numbered_csv
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import HALF_PAIR, numbered_jsonl, parquet_batches, read_json, shown, text_lines
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.problems import Problems
from tunediff.tasks import foreign_task

KINDS = (".jsonl", ".csv", ".parquet", ".json")
LABELS = (ANSWERABLE, UNANSWERABLE)


def read_predictions(
    path: Path, fields: Fields, data: Path | None = None, metric: str | None = None, filter_name: str | None = None
) -> Iterator[Predictions]:
    """Read one model's predictions, some cases at a time.

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
    if kind == ".json" and data is not None:
        yield _squad(path, data)
        return
    if data is not None:
        raise TunediffError(f"{path}: found a data set (--data) beside a {kind} file, expected SQuAD's .json")
    if kind == ".parquet":
        yield from _checked(_parquet(path, fields), fields, path)
        return
    if kind == ".json" and not _is_array(path):
        raise TunediffError(f"{path}: is a file of SQuAD predictions by its name; expected its data set as --data")
    rows = numbered_csv(path) if kind == ".csv" else _array(path) if _is_array(path) else numbered_jsonl(path)
    first = next(rows, None)
    if first is None:
        raise TunediffError(f"{path}: has no row, expected at least one")
    rows = itertools.chain([first], rows)
    if kind != ".csv" and is_sample(first[1]):
        yield read_samples(rows, str(path), metric, filter_name, fields.cluster)
        return
    nothing: dict[str, Any] = {}
    wanted = fields.wanted(name.strip() for name in first[1])
    tables = ((table, nothing) for table in in_tables(rows, wanted, str(path)))
    yield from _checked(tables, fields, path)


def _checked(
    tables: Iterable[tuple[pd.DataFrame, dict[str, Any]]], fields: Fields, path: Path
) -> Iterator[Predictions]:
    """The predictions of tables, each with what made it; rows at fault are reported together at the end."""
    problems = Problems(str(path))
    for table, about in tables:
        predictions = from_table(table, fields, str(path), about.get("labels"), problems)
        if not problems:
            yield predictions._replace(environment=environment_of(about))
    problems.check()


def _is_array(path: Path) -> bool:
    """Whether a file of JSON holds one array, as lm-evaluation-harness wrote its samples up to version 0.4.2."""
    lines = itertools.islice((line.strip() for line in text_lines(path)), 100)
    first = next(filter(None, lines), "")
    return first == "[" or (first.startswith("[") and first[1:].lstrip().startswith("{"))


def _array(path: Path) -> Iterator[tuple[int | str, dict[str, Any]]]:
    rows = read_json(path)
    problems = Problems(str(path))
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(number, f"found {shown(row)}, expected a JSON object", kind="no object")
    problems.check()


def _parquet(path: Path, fields: Fields) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """The wanted columns, some rows at a time, and what made them."""
    import pyarrow as pa

    schema, names, batches = parquet_batches(path, fields.wanted)
    about = about_predictions(path, schema)
    start = 1
    for batch in batches:
        try:
            # Whole numbers beside an empty cell would become floats, and lose digits.
            frame = batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
        yield frame.set_axis(pd.RangeIndex(start, start + len(batch))).reindex(columns=names), about
        start += len(batch)
    if start == 1:
        raise TunediffError(f"{path}: has no row, expected at least one")


def _squad(path: Path, data: Path) -> Predictions:
    """Exact match as the outcome and token F1 as the score of every question of the data set.

    The label is whether a question has an answer. Answers to questions that the data set does not have are left out,
    so that part of a data set can be looked at.
    """
    questions = list(map(_question, read_squad(data)))
    ids = [question["case_id"] for question in questions]
    check_ids(ids, data)
    answers = squad_answers(path)
    if missing := unanswered(answers, ids, path, data):
        raise TunediffError(f"{missing}, expected one to each")
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
    kind = foreign_task(frame.columns)
    same = "cluster", *kind.shared_columns
    return Predictions(frame, ("question", "context"), labels=LABELS, same=same, kind=kind)


def squad_answers(path: Path) -> dict[str, str]:
    """Read SQuAD predictions, an answer by question id.

    Args:
        path: a .json file of {question id: answer}.

    Raises:
        TunediffError: the file is of another kind, names a question twice, or has an answer that no file can hold.
    """
    answers = read_json(path, once=True)
    if not isinstance(answers, dict) or not all(isinstance(answer, str) for answer in answers.values()):
        raise TunediffError(f"{path}: found no object of texts, expected {{question id: answer}}")
    for one, answer in answers.items():
        if half := HALF_PAIR.search(answer):
            raise TunediffError(f"{path}: {one}: found {half[0]!r}, expected whole characters")
    return answers


def unanswered(answers: Mapping[str, object], ids: Sequence[str], path: Path, data: Path) -> str | None:
    """Which questions of a data set a file has no answer to, in a sentence; None where it has one to each."""
    missing = [one for one in ids if one not in answers]
    if not missing:
        return None
    first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return f"{path}: found no answer to {len(missing)} of the {len(ids)} questions of {data} ({first})"


def check_ids(ids: Sequence[str], data: Path) -> None:
    """Refuse a data set that has a question id twice, as answers are known by it.

    Raises:
        TunediffError: naming the first.
    """
    repeated = [one for one, count in Counter(ids).items() if count > 1]
    if repeated:
        first = ", ".join(repeated[:3]) + (", ..." if len(repeated) > 3 else "")
        raise TunediffError(f"{data}: id: found {len(repeated)} more than once ({first}), expected each once")


def _question(row: Row) -> dict[str, Any]:
    """The columns of a question of `read_squad`: texts, gold answers, paragraph; a start outside of it is none."""
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
