"""Read the rows of a source, convert them to cases, and sample the splits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunediff.config.data import Data, Origin
from tunediff.data.cases import Case
from tunediff.data.sources import Row
from tunediff.data.sources.source import read_source
from tunediff.data.splits import Drawn, draw_splits
from tunediff.tasks.columns import groups_of, is_empty, slice_values, value_of
from tunediff.tasks.task import Task


def read_splits(task: Task, data: Origin, raw: Path) -> tuple[dict[str, Drawn], list[str]]:
    """Return the splits by name, and the task's notes on each source split.

    Args:
        task: the task that converts rows to cases.
        data: the source, and how each split is sampled.
        raw: folder of the files.

    Raises:
        TunediffError: a source cannot be read, a row is invalid, or a split is empty.
    """
    rows = read_source(data, raw)
    empty = {name: _empty(task, rows[name], data) for name in rows}
    cases = {name: _cases(task, rows[name], data, empty[name]) for name in rows}
    group = data.group if isinstance(data, Data) else None
    groups = {name: groups_of(rows[name], group) for name in rows} if group else None
    notes = [f"{name}: {note}" for name in rows for note in task.notes(rows[name], cases[name], data)]
    drawn = draw_splits(cases, data, task.source_input, groups, empty)
    if isinstance(data, Data) and data.slices:
        test = drawn["test"]
        inside = [rows[test.source][at] for at in test.rows]
        drawn["test"] = replace(test, slices={column: slice_values(inside, column) for column in data.slices})
    return drawn, notes


def _empty(task: Task, rows: Sequence[Row], data: Origin) -> set[int]:
    """The indices of the rows that are dropped because an input is empty."""
    if data.empty != "drop":
        return set()
    columns = [data.columns[name] for name in task.inputs]
    return {at for at, row in enumerate(rows) if any(is_empty(value_of(row, column)) for column in columns)}


def _cases(task: Task, rows: Sequence[Row], data: Origin, empty: set[int]) -> list[Case | None]:
    """The case of each row; None if it has no gold label or is dropped."""
    made = iter(task.cases([row for at, row in enumerate(rows) if at not in empty], data))
    return [None if at in empty else next(made) for at in range(len(rows))]
