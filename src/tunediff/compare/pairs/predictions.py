"""Predictions of any origin, brought into the columns that are compared.

    >>> table = pd.DataFrame({"text": ["A dog runs.", "A cat sits."], "gold": [0, 1], "answer": [0, None]})
    >>> fields = Fields(label="gold", prediction="answer", inputs=("text",))
    >>> from_table(table, fields, "before").frame[["label", "prediction", "outcome"]].fillna("-").values.tolist()
    [['0', '0', 'right'], ['1', '-', 'invalid']]

A label is compared as text: 0 and "0" are the same label, "Yes" and "yes" are not. An empty or missing prediction is
invalid. A case is known by its id where there is one, else by the hash of its input fields. Files come as several such
tables, so that they need not fit memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import input_ids
from tunediff.compare.pairs.label_order import Table, score_table
from tunediff.data.cases import ANSWER_COLUMNS, INVALID, RIGHT, WRONG
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import ROWS, shown
from tunediff.tasks import foreign_task
from tunediff.tasks.classification import Classification
from tunediff.tasks.task import Task

CASE_ID = "case_id"
# The columns that make a table one of this project's own prediction files, whose outcomes are taken as they are.
OUR_COLUMNS = (CASE_ID, "label", "prediction", "outcome", "log_probs", "scorer", "prompt_hash")
# Names that a line of cases.jsonl has already.
TAKEN = (CASE_ID, "label", "outcome", "prediction", "prompt_hash", "scorer", "scores", "cluster", "transition", "tags")


@dataclass(frozen=True)
class Fields:
    """Names of columns: what a file calls the label, the prediction and the rest. None: there is no such column."""

    label: str = "label"
    prediction: str = "prediction"
    scores: str | None = None  # a number a label, as a list or an object
    inputs: tuple[str, ...] = ()
    case_id: str | None = None  # None: "case_id" where there is such a column, else the hash of the inputs
    cluster: str | None = None  # what several cases may share, such as the premise

    def wanted(self) -> tuple[str, ...]:
        """The columns to read: those named, and those of this project's own prediction files."""
        named = (self.label, self.prediction, self.scores, *self.inputs, self.case_id, self.cluster)
        return tuple(dict.fromkeys(name for name in (*named, *OUR_COLUMNS, *ANSWER_COLUMNS) if name is not None))


class Predictions(NamedTuple):
    """Some or all of one model's predictions, ready to be paired.

    frame: case_id, label, prediction (null where invalid), outcome, prompt_hash, scorer (null where unknown), the
    inputs, and where there are any cluster, answers (gold ones, a tuple of `tunediff.data.cases.Answer`) and f1 (0..1).
    """

    frame: pd.DataFrame
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None = None  # in the order of the scores, where it is known
    scores: Table | None = None  # of shape (n_cases, n_labels)
    same: tuple[str, ...] = ()  # columns beside the inputs that must be equal in both files
    environment: Mapping[str, str] = MappingProxyType({})  # what the model computed with, where the file says it
    kind: type[Task] = Classification
    hashed: bool = False  # whether case_id is the hash of the inputs, which does not tell repeated ones apart


def from_table(table: pd.DataFrame, fields: Fields, name: str, labels: Sequence[str] | None = None) -> Predictions:
    """Bring a table of predictions into the columns that are compared.

    Args:
        table: a row a case; the index numbers the rows in errors.
        fields: what its columns are called.
        name: of the file, for errors.
        labels: the label list in the order of the scores, where the file says it.

    Raises:
        TunediffError: a named column is missing, a label is missing, or there is nothing to know a case by.
    """
    ours = all(column in table for column in OUR_COLUMNS)
    known_by = fields.case_id or (CASE_ID if CASE_ID in table else None)
    if known_by is None and not fields.inputs:
        raise TunediffError(
            f"{name}: found no column {CASE_ID}, expected one, or the name of another (--id-field), or of the input "
            "fields that tell one case from another (--input-fields)"
        )
    named = [fields.label, fields.prediction, fields.scores, *fields.inputs, known_by, fields.cluster]
    missing = [column for column in named if column is not None and column not in table]
    if missing:
        raise TunediffError(
            f"{name}: found no column {', '.join(missing)} among {shown(', '.join(map(str, table.columns)), 200)}"
        )
    clash = sorted(set(fields.inputs) & set(TAKEN))
    if clash:
        raise TunediffError(f"{name}: input field {clash[0]}: expected a name other than {', '.join(TAKEN)}")
    if table.empty:
        raise TunediffError(f"{name}: found no case, expected at least one")
    inputs = pd.DataFrame({column: _filled(table[column], name, column) for column in fields.inputs})
    label = _filled(table[fields.label], name, fields.label)
    prediction = as_text(table[fields.prediction], name, fields.prediction)
    kind = foreign_task(table.columns) if ours else Classification
    prediction = kind.read_answers(prediction)
    frame = {
        CASE_ID: _filled(table[known_by], name, known_by) if known_by else input_ids(inputs),
        "label": label,
        "prediction": prediction,
        "outcome": as_text(table["outcome"], name, "outcome") if ours else outcomes(label, prediction),
        "prompt_hash": as_text(table["prompt_hash"], name, "prompt_hash") if "prompt_hash" in table else None,
        "scorer": as_text(table["scorer"], name, "scorer") if "scorer" in table else None,
        **{column: inputs[column] for column in fields.inputs},
    }
    if fields.cluster:
        frame["cluster"] = as_text(table[fields.cluster], name, fields.cluster)
    frame |= kind.read_gold(table, label, name)
    # Without a label list, numbers that nobody asked for are no reason to refuse a file.
    scores = fields.scores or ("log_probs" if ours and labels and table["log_probs"].notna().all() else None)
    table_of_scores, score_names = score_table(table[scores], name) if scores else (None, None)
    same = (*(["cluster"] if fields.cluster else []), *kind.shared_columns)
    return Predictions(
        pd.DataFrame(frame),
        fields.inputs,
        tuple(labels) if labels else score_names,
        table_of_scores,
        same,
        hashed=known_by is None,
        kind=kind,
    )


def outcomes(label: pd.Series, prediction: pd.Series) -> pd.Series:
    """The outcome of each case: right where the texts are equal, invalid where there is no prediction."""
    names = np.select([prediction.isna(), prediction == label], [INVALID, RIGHT], WRONG)
    return pd.Series(names, index=label.index, dtype="str")


def as_text(column: pd.Series, name: str, field: str) -> pd.Series:
    """The values of a column as text, null where there is none; a whole number has no decimal point.

    Raises:
        TunediffError: a value is a list or an object.
    """
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype("str")
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        # A column of whole numbers with a gap in it is stored as floats.
        column = column.astype("Int64")
    texts = [_text(value) for value in column.astype(object).where(column.notna(), None)]
    bad = next((row for row, text in enumerate(texts) if text is _NOT_TEXT), None)
    if bad is not None:
        raise TunediffError(
            f"{name}, row {column.index[bad]}: {field}: found {shown(column.iloc[bad])}, expected text or a number"
        )
    try:
        return pd.Series(texts, index=column.index, dtype="str")
    except UnicodeEncodeError as error:  # half of a surrogate pair, which no file can hold
        row = column.index[texts.index(error.object)]
        raise TunediffError(
            f"{name}, row {row}: {field}: found {shown(error.object[error.start :])}, expected whole characters"
        ) from None


_NOT_TEXT: Any = object()


def _text(value: object) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if np.isscalar(value) else _NOT_TEXT


def _filled(column: pd.Series, name: str, field: str) -> pd.Series:
    """The column as text; a missing value is an error."""
    text = as_text(column, name, field)
    if text.isna().any():
        row = int(text.isna().to_numpy().argmax())
        raise TunediffError(f"{name}, row {column.index[row]}: {field}: found nothing, expected a value in each row")
    return text


def in_tables(rows: Iterable[tuple[int, dict[str, Any]]], wanted: Sequence[str], name: str) -> Iterator[pd.DataFrame]:
    """Tables of at most `ROWS` numbered rows each, as `from_rows` makes them; all have the columns of the first."""
    rows = iter(rows)
    columns = None
    while len(table := from_rows(islice(rows, ROWS), wanted, name)):
        columns = table.columns if columns is None else columns
        yield table.reindex(columns=columns)


def from_rows(rows: Iterable[tuple[int, dict[str, Any]]], wanted: Sequence[str], name: str) -> pd.DataFrame:
    """A table of the wanted columns from numbered rows; of any other column only the name stays, without values.

    Raises:
        TunediffError: a text holds half of a surrogate pair, which no file can hold; the line starts with `name`.
    """
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    gather = [(column, values.append) for column, values in columns.items()]
    numbers: list[int] = []
    seen: dict[str, None] = {}
    for number, row in rows:
        numbers.append(number)
        if not row.keys() <= seen.keys():
            seen.update(dict.fromkeys(row))
        for column, append in gather:
            append(row.get(column))
    # All columns have a place, so that an error can say which there are.
    try:
        return pd.DataFrame({column: columns.get(column) for column in seen}, index=pd.Index(numbers))
    except UnicodeEncodeError as error:
        text = error.object
        at = next(((numbers[values.index(text)], one) for one, values in columns.items() if text in values), (0, ""))
        place = f"{name}, row {at[0]}: {at[1]}" if at[0] else f"{name}: the name of a column"
        raise TunediffError(f"{place}: found {shown(text[error.start :])}, expected whole characters") from None
