"""Read the columns of a row that all tasks share: texts, tags, group, slices, and label values.

text_of(row, "premise")        # "A man is feeding two dogs."
tags_of(row)                   # ["hypernym"]
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.rules import Rule
from tunediff.data.cases import Case, Example, make_cases
from tunediff.data.sources import Row
from tunediff.data.values import value_text
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import NOT_TEXT, shown
from tunediff.runtime.problems import Problems

Made = TypeVar("Made")


def each_row(rows: Sequence[Row], make: Callable[[Row], Made]) -> list[Made]:
    """Apply `make` to each row, and report all rows that it refuses together.

    Raises:
        TunediffError: rows are invalid; there is one line per kind of error and source, with the first and the number.
    """
    made: list[Made] = []
    problems: dict[str, Problems] = {}
    for row in rows:
        try:
            made.append(make(row))
        except TunediffError as error:
            message = str(error).removeprefix(f"{row.place}: ")
            # Errors of the same kind differ only in the value that was found.
            kind = re.sub(r"found .*, expected|; its columns.*", "", message, flags=re.DOTALL)
            problems.setdefault(row.source, Problems(row.source)).add(row.name or row.number, message, kind)
    if problems:
        raise TunediffError(*(line for one in problems.values() for line in one.lines()))
    return made


def cases_of(rows: Sequence[Row], make: Callable[[Row], Example | None]) -> list[Case | None]:
    """Return the case of each row, in their order, made of the result of `make`; None for a row without a gold label.

    Raises:
        TunediffError: as for `each_row`.
    """
    examples = each_row(rows, make)
    made = iter(make_cases(example for example in examples if example is not None))
    return [None if example is None else next(made) for example in examples]


def value_of(row: Row, column: str) -> object:
    """Return the value of a column.

    Raises:
        TunediffError: the row has no such column.
    """
    if column not in row:
        raise TunediffError(
            f"{row.place}: has no column {column!r}; its columns: {', '.join(map(repr, map(str, row))) or 'none'}"
        )
    return row[column]


def text_of(row: Row, column: str) -> str:
    """Return the text of a column, unchanged.

    Raises:
        TunediffError: there is no such column, or its value is not text, is empty, or is not valid Unicode.
    """
    return checked_text(value_of(row, column), f"{row.place}: {column}")


def inputs_of(row: Row, names: Sequence[str], data: Origin) -> dict[str, str]:
    """Return the text of each input, by name.

    Raises:
        TunediffError: as for `text_of`; if `data.empty` is keep, only if no input has text.
    """
    if data.empty != "keep":
        return {name: text_of(row, data.columns[name]) for name in names}
    values = {name: value_of(row, data.columns[name]) for name in names}
    if all(is_empty(value) for value in values.values()):
        columns = ", ".join(data.columns[name] for name in names)
        raise TunediffError(f"{row.place}: {columns}: found no text in any, expected text in one")
    return {name: "" if is_empty(value) else text_of(row, data.columns[name]) for name, value in values.items()}


def is_empty(value: object) -> bool:
    """Return whether a cell is empty or has only spaces."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def checked_text(value: object, place: str) -> str:
    """Check that a value is text that is not empty and is valid Unicode, and return it.

    Raises:
        TunediffError: it is not; the message starts with `place`.
    """
    if not isinstance(value, str) or not value.strip():
        raise TunediffError(f"{place}: found {shown(value)}, expected text that is not empty")
    if found := NOT_TEXT.search(value):
        raise TunediffError(f"{place}: found the character {found[0]!r}, expected text without it")
    return value


def tags_of(row: Row) -> Sequence[str]:
    """Return the tags of a row from the column `tags` (a list or a text), if there is one."""
    value = row.get("tags")
    tags = [str(tag) for tag in (value if isinstance(value, list) else [value]) if tag is not None and tag != ""]
    if any(NOT_TEXT.search(tag) for tag in tags):
        raise TunediffError(f"{row.place}: tags: found {shown(value)}, expected text")
    return tags


def groups_of(rows: Sequence[Row], column: str) -> list[str]:
    """Return the group of each row.

    Raises:
        TunediffError: a row has no such column, or its value is neither text nor an integer.
    """

    def group(row: Row) -> str:
        value = value_of(row, column)
        return str(value) if type(value) is int else text_of(row, column)

    return each_row(rows, group)


def slice_values(rows: Sequence[Row], column: str) -> list[str | None]:
    """Return the value of each row in a column for slices, as text; None if the cell is empty.

    Raises:
        TunediffError: a row has no such column, or its value is neither text nor a number.
    """
    return each_row(rows, lambda row: _slice_value(row, column))


def _slice_value(row: Row, column: str) -> str | None:
    value = value_of(row, column)
    try:
        text = value_text(value)
    except TypeError:
        raise TunediffError(f"{row.place}: {column}: found {shown(value)}, expected text or a number") from None
    return None if text is None else checked_text(text, f"{row.place}: {column}")


def columns_fit(gold: str) -> Rule:
    """Return the rule that data.columns has a column for each input and for the gold answer, and no other."""

    def rule(params: Params) -> str | None:
        expected = sorted({*params.task.inputs, gold})
        if sorted(params.data.columns) == expected:
            return None
        return f"data.columns: found {sorted(params.data.columns)}, expected task.inputs and {gold}: {expected}"

    return rule


def single_setting(params: Params) -> str | None:
    """The rule that there are no other evaluation settings, which require choices."""
    settings, few_shot = params.evaluate.settings, params.evaluate.few_shot
    given = [f"evaluate.settings is {settings}"] if settings else []
    given += [f"evaluate.few_shot is {few_shot}"] if few_shot else []
    if not given:
        return None
    return f"{' and '.join(given)}, but task.name is {params.task.name}, which has a single evaluation setting"


def no_grades(params: Params) -> str | None:
    """The rule that task.grade is not set, because the task has its own grading."""
    if not params.task.grade:
        return None
    return f"task.grade: given, but task.name is {params.task.name}, which has its own grading"


def no_options(params: Params) -> str | None:
    """The rule that task.option_score is not set, because cases have no options."""
    if params.task.option_score == "sum":
        return None
    return f"task.option_score: given, but task.name is {params.task.name}, whose cases have no options"


def is_number(value: object) -> bool:
    """Return whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
