"""Convert predictions of any origin to the columns that are compared.

    >>> table = pd.DataFrame({"text": ["A dog runs.", "A cat sits."], "gold": [0, 1], "answer": [0, None]})
    >>> fields = Fields(label="gold", prediction="answer", inputs=("text",))
    >>> from_table(table, fields, "before").frame[["label", "prediction", "outcome"]].fillna("-").values.tolist()
    [['0', '0', 'right'], ['1', '-', 'invalid']]

Labels, predictions and ids are compared as `tunediff.data.values.value_text` writes them: 0, 0.0, "0" and "0.0" are the
same label, "Yes" and "yes" are not. An empty or missing prediction is invalid. A case is identified by its id if there
is one, else by the hash of its input fields. Files are read as several such tables, so they need not fit into memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import input_ids
from tunediff.compare.pairs.label_order import Table, score_table
from tunediff.data.cases import INVALID, RIGHT, WRONG, answer_columns
from tunediff.data.values import MAYBE_OTHER, value_text, verbatim_text
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, ROWS, shown
from tunediff.runtime.problems import Problems
from tunediff.tasks import foreign_task
from tunediff.tasks.task import Task

CASE_ID = "case_id"
# A table with all of these columns is a prediction file of tunediff, whose outcomes are taken from the file.
OUR_COLUMNS = (CASE_ID, "label", "prediction", "outcome", "log_probs", "scorer", "prompt_hash")
# The task of other tables.
LABELS = foreign_task(())
# Columns that may be missing in early rows, where they count as empty.
LATE = ("prompt_hash", "scorer")
# Values of a column of outcomes other than numbers.
GRADES = {"true": RIGHT, "right": RIGHT, "correct": RIGHT, "pass": RIGHT, "yes": RIGHT}
GRADES |= {"false": WRONG, "wrong": WRONG, "incorrect": WRONG, "fail": WRONG, "no": WRONG, "invalid": INVALID}
NEITHER = "expected 0 or 1 (or --threshold, the lowest score that counts as right)"
# Prefix of the columns whose values are slices.
SLICE = "slice: "
# Other names for the column of gold labels, used if there is no column label and exactly one of these.
GOLD = ("gold", "gold_label", "target", "reference", "expected")
# Fields of cases.jsonl that an input field must not be named after.
TAKEN = (CASE_ID, "label", "outcome", "prediction", "prompt_hash", "scorer", "scores", "cluster", "transition", "tags")


@dataclass(frozen=True)
class Fields:
    """Names of the columns of a file. None: there is no such column."""

    label: str = "label"
    prediction: str = "prediction"
    scores: str | None = None  # one number per label, as a list or an object
    inputs: tuple[str, ...] = ()
    case_id: str | None = None  # None: "case_id" if there is such a column, else the hash of the inputs
    cluster: str | None = None  # shared by related cases, such as the premise
    slices: tuple[str, ...] = ()  # columns whose values are slices
    # Whether the answer is right, as graded elsewhere; then label and prediction may be missing.
    correct: str | None = None
    by_row: bool = False  # a file with the answers of both models: cases without id or inputs are identified by row

    def wanted(self, columns: Iterable[str]) -> tuple[str, ...]:
        """The columns to read from a file with these columns: those named here, and those of tunediff's own files."""
        columns = list(columns)
        fields = self.as_called(columns)
        named = (fields.label, self.prediction, self.scores, *self.inputs, self.case_id, self.cluster, self.correct)
        named = *named, *self.slices
        ours = *OUR_COLUMNS, *answer_columns(columns), *(["transition"] if self.by_row else [])
        return tuple(dict.fromkeys(name for name in (*named, *ours) if name is not None))

    def as_called(self, columns: Iterable[str]) -> "Fields":
        """These fields, with the label column resolved for a file with these columns."""
        called = {str(column).strip() for column in columns}
        others = [name for name in GOLD if name in called]
        usual = self.label == Fields.label and self.label not in called
        return replace(self, label=others[0]) if usual and len(others) == 1 else self


class Predictions(NamedTuple):
    """Some or all of one model's predictions, ready to be paired.

    frame: case_id, label, prediction (null if invalid), outcome, prompt_hash, scorer (null if unknown), the inputs, and
    if available cluster, answers (gold answers, a tuple of `tunediff.data.cases.Answer`) and f1 (0..1).
    """

    frame: pd.DataFrame
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None = None  # in the order of the scores, if known
    scores: Table | None = None  # of shape (n_cases, n_labels)
    same: tuple[str, ...] = ()  # columns other than the inputs that must be equal in both files
    environment: Mapping[str, str] = MappingProxyType({})  # software and hardware that the model ran on, if known
    kind: Task = LABELS  # without inputs and labels
    hashed: bool = False  # whether case_id is the hash of the inputs, which may repeat
    compared: bool = False  # whether outcomes come from comparing predictions with labels
    checks: tuple[tuple[str, str], ...] = ()  # checks that the file fails: code and sentence
    origin: str = "a table"  # how the file was interpreted


def from_table(
    table: pd.DataFrame,
    fields: Fields,
    name: str,
    labels: Sequence[str] | None = None,
    problems: Problems | None = None,
    threshold: float | None = None,
) -> Predictions:
    """Convert a table of predictions to the columns that are compared.

    Args:
        table: one row per case; the index has the row numbers for error messages.
        fields: names of its columns.
        name: name of the file for error messages.
        labels: the label list in the order of the scores, if the file has one.
        problems: collects invalid rows, so that further tables of the same file are still read; None: raise at once.
        threshold: the lowest score of `Fields.correct` that counts as right, if it is not yes or no.

    Raises:
        TunediffError: a named column or a label is missing, or nothing identifies a case.
    """
    fields = fields.as_called(table.columns)
    known_by = _known_by(table, fields, name)
    graded, given = fields.correct is not None, table
    ours = not graded and all(column in table for column in OUR_COLUMNS)
    if graded:
        nothing = pd.Series(None, index=table.index, dtype=object)
        table = table.assign(**{one: nothing for one in (fields.label, fields.prediction) if one not in table})
    found = Problems(name) if problems is None else problems
    kind = foreign_task(table.columns) if ours else LABELS
    # Labels of tunediff's own files are text already, and must match the spelling of the label list.
    read = _unchanged if ours else as_text
    inputs = pd.DataFrame({column: _unchanged(table[column], column, found) for column in fields.inputs}).fillna("")
    label = read(table[fields.label], fields.label, found)
    if not graded or label.notna().any():
        label = _filled(label, fields.label, found)
    prediction = kind.read_answers(read(table[fields.prediction], fields.prediction, found))
    optional = {
        column: as_text(table[column], column, found) if column in table else None
        for column in ("prompt_hash", "scorer")
    }
    outcome = _outcome(table, fields, label, prediction, threshold, ours, found)
    if fields.by_row and not graded and "transition" in table:
        _agree_with_transition(table["transition"], outcome, fields.prediction, found)
    frame = {
        CASE_ID: _filled(as_text(table[known_by], known_by, found), known_by, found) if known_by else None,
        "label": label,
        "prediction": prediction,
        "outcome": outcome,
        **optional,
        **{column: inputs[column] for column in fields.inputs},
    }
    if fields.cluster:
        frame["cluster"] = as_text(table[fields.cluster], fields.cluster, found)
    frame |= {f"{SLICE}{column}": as_text(table[column], column, found) for column in fields.slices}
    if not found:
        frame |= kind.read_gold(table, label, name)
    # Scores that the user did not name are ignored if there is no label list.
    scores = fields.scores or ("log_probs" if ours and labels and table["log_probs"].notna().all() else None)
    table_of_scores, score_names = score_table(table[scores], name) if scores and not found else (None, None)
    if problems is None:
        found.check()
    if known_by is None and not found:
        frame[CASE_ID] = input_ids(inputs) if fields.inputs else pd.Series(table.index.map(str), table.index)
    sliced = (f"{SLICE}{column}" for column in fields.slices)
    same = (*(["cluster"] if fields.cluster else []), *sliced, *kind.shared_columns)
    return Predictions(
        pd.DataFrame(frame),
        fields.inputs,
        () if graded and label.isna().all() else tuple(labels) if labels else score_names,
        table_of_scores,
        same,
        hashed=known_by is None and bool(fields.inputs),
        compared=not (ours or graded),
        kind=kind,
        origin=_origin(fields, given, name, ours, threshold),
    )


def _agree_with_transition(transition: pd.Series, outcome: pd.Series, prediction: str, problems: Problems) -> None:
    """Report rows of a cases.jsonl whose answers were graded by a rule other than equality with the label."""
    was_right = {"base_prediction": ("both_right", "broken"), "tuned_prediction": ("both_right", "repaired")}
    if prediction not in was_right:
        return
    for row in transition.index[transition.isin(was_right[prediction]) != (outcome == RIGHT)]:
        problems.add(
            row,
            f"transition: found {shown(transition[row])}, but {prediction} compared with the label is "
            f"{outcome[row]}: its answers were graded by a different rule; expected the two prediction files",
            kind="transition",
        )


def _outcome(
    table: pd.DataFrame,
    fields: Fields,
    label: pd.Series,
    prediction: pd.Series,
    threshold: float | None,
    ours: bool,
    problems: Problems,
) -> pd.Series:
    """The outcome of each case, from the file or by comparing prediction and label."""
    if ours:
        return _unchanged(table["outcome"], "outcome", problems)
    if fields.correct is None:
        return outcomes(label, prediction)
    texts = as_text(table[fields.correct], fields.correct, problems)
    known = {text: _graded(text, threshold) for text in texts.dropna().unique()}
    found = texts.map(known).where(texts.notna(), INVALID)
    for row in texts.index[found.isna()]:
        problems.add(row, f"{fields.correct}: found {shown(texts[row])}, {NEITHER}", kind=f"{fields.correct} neither")
    return found.astype("str")


def _graded(text: str, threshold: float | None) -> str | None:
    """The outcome that a word or a number stands for; None if neither."""
    if (word := text.lower()) in GRADES:
        return GRADES[word]
    try:
        right = is_right(float(text), threshold)
    except ValueError:
        return None
    return {True: RIGHT, False: WRONG, None: None}[right]


def is_right(score: Any, threshold: float | None) -> bool | None:
    """Return whether a score counts as right; None if that cannot be decided without a threshold."""
    if isinstance(score, bool):
        return score
    if not isinstance(score, int | float) or not math.isfinite(score):
        return None
    if threshold is not None:
        return score >= threshold
    return bool(score) if score in (0, 1) else None


def _origin(fields: Fields, table: pd.DataFrame, name: str, ours: bool, threshold: float | None) -> str:
    """A description of how a table was interpreted."""
    if ours:
        return "a prediction file of tunediff"
    known = _known_by(table, fields, name)
    by = shown(known or ", ".join(fields.inputs) or "row", 100)[1:-1]
    if fields.correct is None:
        return f"a table, {fields.prediction} compared with {fields.label}, cases by {by}"
    level = "" if threshold is None else f" from {threshold:g}"
    unknown = (
        "" if fields.prediction in table else "; without answers: cases wrong both times count as the same wrong answer"
    )
    return f"a table, right according to {fields.correct}{level}, cases by {by}{unknown}"


def _known_by(table: pd.DataFrame, fields: Fields, name: str) -> str | None:
    """The column of the case id, None if the inputs identify cases; checks that all named columns exist.

    Raises:
        TunediffError: see `from_table`.
    """
    known_by = fields.case_id or (CASE_ID if CASE_ID in table else None)
    columns = shown(list(map(str, table.columns)), 200)
    if known_by is None and not fields.inputs and not fields.by_row:
        raise TunediffError(
            f"{name}: found no column {CASE_ID} among {columns}, expected one, or the name of another (--id-field), "
            "or of the input fields that identify a case (--input-fields)"
        )
    named = [fields.label, fields.prediction] if fields.correct is None else [fields.correct]
    named = [*named, *filter(None, (fields.scores, *fields.inputs, known_by, fields.cluster, *fields.slices))]
    missing = [column for column in dict.fromkeys(named) if column not in table]
    if missing:
        raise TunediffError(f"{name}: found no column {', '.join(map(repr, missing))} among {columns}")
    clash = sorted(set(fields.inputs) & set(TAKEN))
    if clash:
        raise TunediffError(f"{name}: input field {clash[0]}: expected a name other than {', '.join(TAKEN)}")
    if table.empty:
        raise TunediffError(f"{name}: found no case, expected at least one")
    return known_by


def outcomes(label: pd.Series, prediction: pd.Series) -> pd.Series:
    """Return the outcome of each case: right if the texts are equal, invalid if there is no prediction."""
    names = np.select([prediction.isna(), prediction == label], [INVALID, RIGHT], WRONG)
    return pd.Series(names, index=label.index, dtype="str")


def as_text(column: pd.Series, field: str, problems: Problems) -> pd.Series:
    """Return the values of a column as written by `value_text`, null for empty cells; report any others."""
    texts = _strings(column)
    if texts is None:
        return _texts(column, value_text, field, problems)
    texts = texts.str.strip()
    texts = texts.where(texts != "")
    # `value_text` leaves most texts unchanged; calling it for all takes long.
    other = texts.str.contains(MAYBE_OTHER, regex=True, na=False)
    if other.any():
        names = {text: value_text(text) for text in texts[other].unique()}
        texts = texts.where(~other, texts.map(names))
    return texts


def _unchanged(column: pd.Series, field: str, problems: Problems) -> pd.Series:
    """Like `as_text`, but without changing texts."""
    texts = _strings(column)
    return _texts(column, verbatim_text, field, problems) if texts is None else texts


def _strings(column: pd.Series) -> pd.Series | None:
    """The column if it has only texts and empty cells, else None."""
    if isinstance(column.dtype, pd.StringDtype) or pd.api.types.infer_dtype(column, skipna=True) == "string":
        with suppress(UnicodeEncodeError):  # half of a surrogate pair, reported elsewhere
            return column.astype("str")
    return None


def _texts(column: pd.Series, text: Callable[[Any], str | None], field: str, problems: Problems) -> pd.Series:
    found: list[str | None] = []
    # As objects, float32 numbers would be printed with the digits of float64.
    values = column.to_numpy() if column.dtype.kind == "f" else column.astype(object).where(column.notna(), None)
    for row, value in zip(column.index, values, strict=True):
        try:
            one = text(value)
        except TypeError:
            problems.add(row, f"{field}: found {shown(value)}, expected text or a number", kind=f"{field} no text")
            one = ""
        if one and (half := LONE_SURROGATE.search(one)):
            problems.add(
                row, f"{field}: found {shown(one[half.start() :])}, expected whole characters", f"{field} half"
            )
            one = ""
        found.append(one)
    return pd.Series(found, index=column.index, dtype="str")


def _filled(column: pd.Series, field: str, problems: Problems) -> pd.Series:
    """The column; empty cells are reported."""
    empty = column.isna()
    for row in column.index[empty]:
        problems.add(row, f"{field}: found nothing, expected a value in each row")
    return column


def in_tables(
    rows: Iterable[tuple[int | str, dict[str, Any]]], wanted: Sequence[str], name: str
) -> Iterator[pd.DataFrame]:
    """Yield tables of at most `ROWS` numbered rows each, as returned by `from_rows`.

    All tables have the columns of the first, and columns of `LATE` from their first occurrence.

    Raises:
        TunediffError: another wanted column first occurs after the first table, so earlier rows lack it.
    """
    rows = iter(rows)
    columns: dict[Any, None] = {}
    while len(table := from_rows(islice(rows, ROWS), wanted, name)):
        fresh = [column for column in table if column in wanted and column not in columns]
        if columns and (bad := [column for column in fresh if column not in LATE]):
            row = table.index[int(table[bad[0]].notna().to_numpy().argmax())]
            raise TunediffError(
                f"{name}, row {row}: found the first value of {bad[0]!r}, expected one in the earlier rows too"
            )
        columns |= dict.fromkeys(table if not columns else fresh)
        yield table.reindex(columns=list(columns))


def from_rows(rows: Iterable[tuple[int | str, dict[str, Any]]], wanted: Sequence[str], name: str) -> pd.DataFrame:
    """Return a table of the wanted columns from numbered rows; other columns are kept without values.

    Spaces around column names are stripped. Values remain Python objects, because pandas would convert integers in a
    column with an empty cell to floats, and lose digits.

    Raises:
        TunediffError: a column name is not valid Unicode, or two differ only in spaces around them.
    """
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    gather = [(column, values.append) for column, values in columns.items()]
    numbers: list[int | str] = []
    seen: dict[str, None] = {}
    for number, row in rows:
        numbers.append(number)
        if not row.keys() <= seen.keys():
            fields = {column.strip(): value for column, value in row.items()}
            if len(fields) < len(row) or any(map(LONE_SURROGATE.search, fields)):
                raise TunediffError(f"{name}, row {number}: found the columns {shown(list(row))}, expected other names")
            seen.update(dict.fromkeys(fields))
            row = fields
        for column, append in gather:
            append(row.get(column))
    # Empty columns are kept so that error messages can list all names.
    return pd.DataFrame({column: columns.get(column) for column in seen}, index=pd.Index(numbers), dtype=object)
