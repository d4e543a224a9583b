"""Cases, their content-hashed ids, and the prediction file where the two wings meet.

A case, as it stands in data/test_sets/test.jsonl:

    {"case_id": "0f3a9c51d2b7e846", "premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.",
     "label": "entailment", "tags": ["hypernym"]}

A case of question answering has the texts that answer it besides, and its label says whether there are any:

    {"case_id": "8d1f5a0c9b3e7264", "question": "Where is the dog?", "context": "The dog is in the park.",
     "label": "answerable", "tags": [], "answers": [{"text": "in the park", "start": 11}]}

A case of multiple choice has the texts to choose from as `options`, in the order of the labels.

A prediction file (Parquet) holds one row a case, in row groups of `ROWS`; `PREDICTION_COLUMNS` lists its columns,
`SETTING_COLUMNS` those of the other ways to ask, which are there where they were asked for, `ANSWER_COLUMNS` those of
answers in words. A column whose name starts with one of `NUMBERS` holds a number of each case, as its task says.
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
from tunediff.runtime.files import ROWS, from_json, numbered_jsonl, read_parquet, replacing, shown, write_jsonl
from tunediff.runtime.hashing import content_hash

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    # Writes some rows of a file.
    Write = Callable[[pd.DataFrame], None]

OUTCOMES = RIGHT, WRONG, INVALID = "right", "wrong", "invalid"
# The two models, before and after, as files and columns name them.
MODELS = ("base", "tuned")
# Characters of the cases that are asked about at a time: as tokens and as batches, a character takes some 30 bytes.
CHARACTERS = 2**25
# More than any file of ours has.
ENVIRONMENT_KEYS = 20

PREDICTION_COLUMNS = {
    "case_id": "id of the case",
    "label": "gold label",
    "prediction": "predicted label, or answer (empty: there is none); null where what was written could not be parsed",
    "outcome": "right, wrong or invalid",
    "log_probs": "natural-log probability of each label, in the order of the labels, exp sums to 1; null without one",
    "text": "the answer as the model gave it",
    "finish_reason": "stop, length (the answer ran into the token limit) or none (nothing was generated)",
    "scorer": "choices, generation or head",
    "prompt_hash": "hash of the text that the model reads, and of the texts of scored choices",
    "n_tokens": "tokens of the prompt",
    "truncated": "whether the prompt was cut to fit the context",
}

SETTING_COLUMNS = {
    "generated": "predicted label of the freely generated answer; null where it could not be parsed",
    "generated_text": "that answer as the model gave it",
    "premise_free_log_probs": "as log_probs, from the partial-input input alone",
    "again_prediction": "predicted label of the same model at another batch size; null where it could not be parsed",
    "seed_prediction": "predicted label or answer of the same base with another new head; null where none was parsed",
    "few_shot_log_probs": "as log_probs, with solved examples before the prompt",
}

ANSWER_COLUMNS = {
    "answers": "gold answers, each as text; empty where there is none",
    "f1": "words that prediction and gold answer share, as F1, 0..1",
}


def answer_columns(columns: Iterable[str]) -> list[str]:
    """Of these columns those that predictions in words have besides."""
    return [name for name in columns if name in ANSWER_COLUMNS or name.startswith(NUMBERS)]


def outcome(prediction: str | None, label: str) -> str:
    """Right, wrong, or invalid where there is no prediction."""
    return INVALID if prediction is None else RIGHT if prediction == label else WRONG


def answered(prediction: str | None) -> str | None:
    """Whether an answer says that there is one: answerable, unanswerable where it is empty, None where invalid."""
    return None if prediction is None else ANSWERABLE if prediction else UNANSWERABLE


class Answer(NamedTuple):
    """A gold answer: its text, and where in the context it starts, in characters from 0; None where nobody said."""

    text: str
    start: int | None


@dataclass(frozen=True)
class Case:
    """One labelled example: its inputs by field name, its gold label, tags such as the phenomenon it tests, answers.

    `options`: of multiple choice the texts to choose from, in the order of the labels.
    """

    case_id: str
    inputs: Mapping[str, str]
    label: str
    tags: tuple[str, ...] = field(default=())
    answers: tuple[Answer, ...] = field(default=())
    options: tuple[str, ...] = field(default=())


# Inputs, label, tags, of a question the answers, and of multiple choice (which has no answers) the options.
Example = (
    tuple[Mapping[str, str], str, Sequence[str]]
    | tuple[Mapping[str, str], str, Sequence[str], Sequence[Answer]]
    | tuple[Mapping[str, str], str, Sequence[str], Sequence[Answer], Sequence[str]]
)


def make_cases(examples: Iterable[Example]) -> list[Case]:
    """Cases with their ids from (inputs, label, tags), answers and options where there are any, in the given order.

    The id hashes the inputs, not the label, so that a corrected label keeps its case. Repeated inputs are told
    apart by their number among their like; these are counted in an order of their own, which label, tags and answers
    give: the ids are the same for any order of the examples.
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
    return [_made(key, *one) for key, one in zip(ids, given, strict=True)]


def _made(
    case_id: str,
    inputs: Mapping[str, str],
    label: str,
    tags: Sequence[str],
    answers: Sequence[Answer] = (),
    options: Sequence[str] = (),
) -> Case:
    return Case(case_id, dict(inputs), label, tuple(tags), tuple(answers), tuple(options))


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Write cases as JSON lines, inputs flat beside id, label, tags and, where there are any, answers."""
    write_jsonl(path, map(_case_line, cases))


def _case_line(case: Case) -> dict[str, Any]:
    line = {"case_id": case.case_id, **case.inputs, "label": case.label, "tags": list(case.tags)}
    more = {"answers": [answer._asdict() for answer in case.answers], "options": list(case.options)}
    return line | {name: values for name, values in more.items() if values}


def read_split(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> list[Case]:
    """The training or validation cases; none where the model was trained elsewhere and nobody named them.

    Arguments and errors are those of `read_cases`, but that the file may have no row.
    """
    return read_cases(path, inputs, labels) if path.stat().st_size else []


def read_cases(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> list[Case]:
    """Read cases that `write_cases` wrote.

    Args:
        path: a JSON lines file.
        inputs: names of the input fields.
        labels: the labels that a case may have.

    Raises:
        TunediffError: a row lacks a field or has an unknown label; or there is no row.
    """
    return list(each_case(path, inputs, labels))


def each_case(path: Path, inputs: Sequence[str], labels: Sequence[str]) -> Iterator[Case]:
    """The cases of a file one by one; one is held at a time. Arguments and errors are those of `read_cases`."""
    number = 0
    for number, row in numbered_jsonl(path):
        for name in ("case_id", *inputs, "label"):
            if not isinstance(row.get(name), str):
                raise TunediffError(f"{path}, row {number}: {name}: found {shown(row.get(name))}, expected text")
        if row["label"] not in labels:
            raise TunediffError(
                f"{path}, row {number}: label: found {shown(row['label'])}, expected one of {', '.join(labels)}"
            )
        # What is left out, null or an empty list says the same.
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
    """The cases of a file, read anew each time they are gone through; all of them are checked when it is opened."""

    def __init__(self, path: Path, inputs: Sequence[str], labels: Sequence[str]) -> None:
        """Arguments and errors are those of `read_cases`."""
        self._read = partial(each_case, path, inputs, labels)
        for _ in self:
            pass

    def __iter__(self) -> Iterator[Case]:
        return self._read()


def windows(cases: Iterable[Case], size: int = ROWS, characters: int = CHARACTERS) -> Iterator[list[Case]]:
    """The cases in their order, some at a time: so many, or fewer where their texts are long.

    Args:
        cases: the cases; without any there is one window, which is empty.
        size: cases of a window, at most.
        characters: a window ends with the case with which its texts have as many.
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


def write_predictions(path: Path, frame: "pd.DataFrame", about: Mapping[str, object]) -> None:
    """Write a prediction file: `frame` has `PREDICTION_COLUMNS`, any of `SETTING_COLUMNS` and of `answer_columns`.

    Args:
        path: where to.
        frame: one row per case; other columns are left out.
        about: what made it: labels, model, environment.
    """
    with predictions_writer(path, about) as write:
        write(frame)


@contextmanager
def predictions_writer(path: Path, about: Mapping[str, object]) -> Iterator["Write"]:
    """A function that writes rows behind those before; arguments are those of `write_predictions`."""
    with frame_writer(path, about) as write:
        yield lambda frame: write(
            frame[
                [
                    *PREDICTION_COLUMNS,
                    *(name for name in SETTING_COLUMNS if name in frame),
                    *answer_columns(map(str, frame)),
                ]
            ]
        )


@contextmanager
def frame_writer(path: Path, about: Mapping[str, object]) -> Iterator["Write"]:
    """A function that writes tables with a row per case one behind the other to a Parquet file, a row group each.

    A table of more than `ROWS` rows has several row groups. The file is there when the block ends well.

    Args:
        path: where to.
        about: what made it, which the file has as its metadata `tunediff`.
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
    """Columns of a prediction file, or of one of raw answers, as they are stored."""
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
    """What made the predictions of a Parquet file; empty where it does not say so.

    Raises:
        TunediffError: what it says is no JSON object, or its labels are no list of texts.
    """
    about: Any
    try:
        about = from_json((schema.metadata or {}).get(b"tunediff", b"{}").decode())
    except ValueError as error:
        raise TunediffError(f"{path}: what made it (metadata tunediff): is not JSON: {error}") from None
    labels = about.get("labels", []) if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
        raise TunediffError(
            f"{path}: what made it (metadata tunediff): found {shown(about)}, expected an object, its labels texts"
        )
    return about


def read_predictions(path: Path) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Read a prediction file: the frame, and what made it.

    Raises:
        TunediffError: no such file, not Parquet, or a column is missing.
    """
    table, _ = read_parquet(path)
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
    """What a model computed with (`tunediff.models.environment`), as a prediction file tells; empty where it does not.

    The file may be anybody's: what is told is text of one short line, whatever stands there.
    """
    environment = about.get("environment") if isinstance(about, dict) else None
    pairs = list(environment.items())[:ENVIRONMENT_KEYS] if isinstance(environment, dict) else []
    return {_plain(name): _plain(value) for name, value in pairs}


def _plain(value: object) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)[:100])
