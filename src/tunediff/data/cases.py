"""Cases with their content-hashed ids, and prediction files.

A case in data/test_sets/test.jsonl:

    {"case_id": "0f3a9c51d2b7e846", "premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.",
     "label": "entailment", "tags": ["hypernym"]}

A case of question answering also has the gold answers, and its label tells whether there are any:

    {"case_id": "8d1f5a0c9b3e7264", "question": "Where is the dog?", "context": "The dog is in the park.",
     "label": "answerable", "tags": [], "answers": [{"text": "in the park", "start": 11}]}

A case of multiple choice also has `options`, the texts to choose from in the order of the labels.

A prediction file (Parquet) has one row per case, in row groups of `ROWS`, with the columns `PREDICTION_COLUMNS`; with
those of `SETTING_COLUMNS` if the model was evaluated in these settings; and with `ANSWER_COLUMNS` for free-text
answers. Columns whose name starts with one of `NUMBERS` have one number per case, defined by the task.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.config.task import ANSWERABLE, NUMBERS, UNANSWERABLE
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import ROWS, from_json, numbered_jsonl, replacing, shown, write_jsonl
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.parquet import read_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    # Appends rows to a file.
    Write = Callable[[pd.DataFrame], None]

OUTCOMES = RIGHT, WRONG, INVALID = "right", "wrong", "invalid"
# The names of the two models, before and after, in files and columns.
MODELS = ("base", "tuned")
# Maximum number of characters in a window of cases: as tokens and batches, a character needs about 30 bytes.
CHARACTERS = 2**25
# Maximum number of entries that are read from a file's environment.
ENVIRONMENT_KEYS = 20

PREDICTION_COLUMNS = {
    "case_id": "id of the case",
    "label": "gold label",
    "prediction": "predicted label or answer (empty: no answer); null if the text could not be parsed",
    "outcome": "right, wrong or invalid",
    "log_probs": "log-probability (natural logarithm) of each label, in their order, exp sums to 1; null if none",
    "text": "the unparsed answer",
    "finish_reason": "stop, length (the answer ran into the token limit) or none (nothing was generated)",
    "scorer": "choices, generation or head",
    "prompt_hash": "hash of the prompt and of the texts of scored choices",
    "n_tokens": "tokens of the prompt",
    "truncated": "whether the prompt was truncated to fit the context",
}

SETTING_COLUMNS = {
    "generated": "predicted label of the freely generated answer; null if it could not be parsed",
    "generated_text": "the freely generated answer, unparsed",
    "premise_free_log_probs": "as log_probs, given the partial input alone",
    "again_prediction": "predicted label of the same model at another batch size; null if it could not be parsed",
    "seed_prediction": "predicted label or answer of the same base with another new head; null if not parsed",
    "few_shot_log_probs": "as log_probs, with solved examples before the prompt",
}

ANSWER_COLUMNS = {
    "answers": "gold answers as texts; empty if there is none",
    "f1": "token F1 of prediction and gold answer, 0..1",
}


def answer_columns(columns: Iterable[str]) -> list[str]:
    """Return those of the given columns that belong to free-text answers."""
    return [name for name in columns if name in ANSWER_COLUMNS or name.startswith(NUMBERS)]


def outcome(prediction: str | None, label: str) -> str:
    """Return right, wrong, or invalid if there is no prediction."""
    return INVALID if prediction is None else RIGHT if prediction == label else WRONG


def answered(prediction: str | None) -> str | None:
    """Return answerable, unanswerable if the prediction is empty, or None if it is invalid."""
    return None if prediction is None else ANSWERABLE if prediction else UNANSWERABLE


class Answer(NamedTuple):
    """A gold answer: its text, and its start in the context, in characters from 0; None if unknown."""

    text: str
    start: int | None


@dataclass(frozen=True)
class Case:
    """A labelled example: inputs by field name, gold label, tags such as the phenomenon it tests, gold answers.

    options: for multiple choice, the texts to choose from, in the order of the labels.
    """

    case_id: str
    inputs: Mapping[str, str]
    label: str
    tags: tuple[str, ...] = field(default=())
    answers: tuple[Answer, ...] = field(default=())
    options: tuple[str, ...] = field(default=())


# Inputs, label, tags, and if any gold answers and options.
Example = (
    tuple[Mapping[str, str], str, Sequence[str]]
    | tuple[Mapping[str, str], str, Sequence[str], Sequence[Answer]]
    | tuple[Mapping[str, str], str, Sequence[str], Sequence[Answer], Sequence[str]]
)


def make_cases(examples: Iterable[Example]) -> list[Case]:
    """Create cases with ids from (inputs, label, tags), with answers and options if there are any, in the given order.

    The id is a hash of the inputs without the label, so that a case with a corrected label keeps its id. Repeated
    inputs are numbered in an order given by label, tags and answers, so that ids do not depend on the order of the
    examples.
    """
    given = list(examples)
    ids = [content_hash(dict(inputs)) for inputs, *_ in given]
    like: dict[str, list[int]] = defaultdict(list)
    for at, key in enumerate(ids):
        like[key].append(at)
    for places in like.values():
        if len(places) > 1:
            places.sort(key=lambda at: content_hash(given[at][1:]))
        for number, at in enumerate(places[1:], start=2):
            ids[at] = content_hash([dict(given[at][0]), number])
    return [
        Case(key, dict(inputs), label, *map(tuple, more))  # type: ignore[arg-type]  # the order of an Example
        for key, (inputs, label, *more) in zip(ids, given, strict=True)
    ]


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Write cases as JSON lines, with inputs at the same level as id, label, tags and, if any, answers."""
    write_jsonl(path, map(_case_line, cases))


def _case_line(case: Case) -> dict[str, Any]:
    line = {"case_id": case.case_id, **case.inputs, "label": case.label, "tags": list(case.tags)}
    more = {"answers": [answer._asdict() for answer in case.answers], "options": list(case.options)}
    return line | {name: values for name, values in more.items() if values}


def read_split(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> list[Case]:
    """Read training or validation cases, of which there may be none if the model was trained elsewhere.

    Arguments and errors are those of `read_cases`, except that the file may be empty.
    """
    return read_cases(path, inputs, labels) if path.stat().st_size else []


def read_cases(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> list[Case]:
    """Read cases written by `write_cases`.

    Args:
        path: a JSON lines file.
        inputs: names of the input fields.
        labels: the labels that a case may have.

    Raises:
        TunediffError: a row lacks a field or has an unknown label; or there is no row.
    """
    return list(each_case(path, inputs, labels))


def each_case(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of a file one by one; arguments and errors as for `read_cases`."""
    number = 0
    for number, row in numbered_jsonl(path):
        for name in ("case_id", *inputs, "label"):
            if not isinstance(row.get(name), str):
                raise TunediffError(f"{path}, row {number}: {name}: found {shown(row.get(name))}, expected text")
        if row["label"] not in labels:
            raise TunediffError(
                f"{path}, row {number}: label: found {shown(row['label'])}, expected one of {', '.join(labels)}"
            )
        # A missing field, null and an empty list are equivalent.
        listed = {name: row.get(name) or [] for name in ("tags", "answers", "options")}
        for name, value in listed.items():
            if not isinstance(value, list):
                raise TunediffError(f"{path}, row {number}: {name}: found {shown(value)}, expected a list")
        tags = tuple(str(tag) for tag in listed["tags"])
        answers = tuple(_answer(answer, f"{path}, row {number}") for answer in listed["answers"])
        options = tuple(map(str, listed["options"]))
        inside = {name: row[name] for name in inputs}
        yield Case(row["case_id"], inside, row["label"], tags, answers, options)
    if not number:
        raise TunediffError(f"{path}: has no case, expected at least one")


class CaseFile(Iterable[Case]):
    """The cases of a file, checked when it is opened and read anew for each iteration."""

    def __init__(self, path: Path, inputs: Sequence[str], labels: Sequence[str]) -> None:
        """Check all cases; arguments and errors as for `read_cases`."""
        self._read = partial(each_case, path, inputs, labels)
        for _ in self:
            pass

    def __iter__(self) -> Iterator[Case]:
        return self._read()


def windows(cases: Iterable[Case], size: int = ROWS, characters: int = CHARACTERS) -> Iterator[list[Case]]:
    """Yield the cases in windows, in order.

    Args:
        cases: the cases; if there are none, one empty window is yielded.
        size: maximum number of cases in a window.
        characters: a window also ends when its texts reach this number of characters.
    """
    window: list[Case] = []
    length, begun = 0, False
    for case in cases:
        window.append(case)
        length += sum(map(len, (*case.inputs.values(), *case.options)))
        if len(window) == size or length >= characters:
            yield window
            window, length, begun = [], 0, True
    if window or not begun:
        yield window


def _answer(value: Any, place: str) -> Answer:
    start = value.get("start") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not isinstance(start, int | None):
        raise TunediffError(f'{place}: answers: found {shown(value)}, expected {{"text": TEXT, "start": NUMBER}}')
    return Answer(value["text"], start)


@contextmanager
def predictions_writer(path: Path, about: Mapping[str, object]) -> Iterator["Write"]:
    """Yield a function that appends rows to a prediction file; other columns are ignored.

    `about` is the metadata: labels, model, environment.
    """

    def columns(frame: "pd.DataFrame") -> list[str]:
        settings = [name for name in SETTING_COLUMNS if name in frame]
        return [*PREDICTION_COLUMNS, *settings, *answer_columns(map(str, frame))]

    with frame_writer(path, about) as write:
        yield lambda frame: write(frame[columns(frame)])


@contextmanager
def frame_writer(path: Path, about: Mapping[str, object]) -> Iterator["Write"]:
    """Yield a function that appends tables with one row per case to a Parquet file, one row group each.

    A table of more than `ROWS` rows has several row groups. The file is created at the end of the block, atomically.

    Args:
        path: path of the file.
        about: content of the file's metadata entry `tunediff`.
    """
    import pyarrow.parquet as pq

    with replacing(path) as fresh, ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(frame: "pd.DataFrame") -> None:
            table = _table(frame, about)
            if not writers:
                writers.append(stack.enter_context(pq.ParquetWriter(fresh, table.schema)))
            writers[0].write_table(table, ROWS)

        yield write


def _table(frame: "pd.DataFrame", about: Mapping[str, object]) -> "pa.Table":
    """The columns of a prediction file, or of a file of raw answers, as an Arrow table."""
    import pyarrow as pa

    kinds = {"n_tokens": pa.int32(), "truncated": pa.bool_(), "f1": pa.float64(), "answers": pa.list_(pa.string())}
    kinds |= {name: pa.float64() for name in frame.columns if name.startswith(NUMBERS)}
    schema = pa.schema(
        [
            (name, pa.list_(pa.float64()) if name.endswith("log_probs") else kinds.get(name, pa.string()))
            for name in frame.columns
        ],
        metadata={"tunediff": json.dumps(about, sort_keys=True)},
    )
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    return table.replace_schema_metadata(schema.metadata)


def about_predictions(path: Path, schema: "pa.Schema") -> dict[str, Any]:
    """Return the metadata of a prediction file; empty if there is none.

    Raises:
        TunediffError: the metadata is not a JSON object, or its labels are not a list of texts.
    """
    about: Any
    try:
        about = from_json((schema.metadata or {}).get(b"tunediff", b"{}").decode())
    except ValueError as error:
        raise TunediffError(f"{path}: metadata tunediff: is not JSON: {error}") from None
    labels = about.get("labels", []) if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise TunediffError(
            f"{path}: metadata tunediff: found {shown(about)}, expected an object with a list of texts as labels"
        )
    return about


def read_predictions(path: Path) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Read a prediction file; return the frame and the metadata.

    Raises:
        TunediffError: the file is missing, is not Parquet, or lacks a column.
    """
    table = read_parquet(path)
    missing = [name for name in PREDICTION_COLUMNS if name not in table.column_names]
    if missing:
        raise TunediffError(f"{path}: has no column {', '.join(missing)}, expected {', '.join(PREDICTION_COLUMNS)}")
    about = about_predictions(path, table.schema)
    present = [name for name in SETTING_COLUMNS if name in table.column_names]
    frame = table.select([*PREDICTION_COLUMNS, *present, *answer_columns(table.column_names)]).to_pandas()
    for name in ("prediction", "generated", "again_prediction", "seed_prediction"):
        if name in frame:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame, about


def environment_of(about: Any) -> dict[str, str]:
    """Return the environment of a model (`tunediff.models.environment`) from a file's metadata; empty if there is none.

    The file is not trusted: all values are converted to text of one short line.
    """
    environment = about.get("environment") if isinstance(about, dict) else None
    pairs = list(environment.items())[:ENVIRONMENT_KEYS] if isinstance(environment, dict) else []
    return {_plain(name): _plain(value) for name, value in pairs}


def _plain(value: object) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)[:100])
