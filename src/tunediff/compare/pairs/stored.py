"""Predictions of two models on disk, paired chunk by chunk, so that files of any length fit into memory.

    before, after = (store(read_predictions(path, fields), str(path)) for path in paths)
    for aligned in pair(before, after, names): ...          # tables as tunediff.compare.pairs.align.align returns them

Predictions are written to the row groups of an unnamed Parquet file, which vanishes with the object that holds it. Then
those of the second file are rearranged to the row groups of the first, so that a pair of groups holds the same cases.
Memory is needed for eight bytes per case and for a few groups of `tunediff.runtime.files.ROWS` cases.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import Rows, SharedColumns, check_columns, check_labels, input_ids, paired_rows
from tunediff.compare.pairs.label_order import Scored, common_labels, log_probabilities
from tunediff.compare.pairs.predictions import CASE_ID, Predictions
from tunediff.compare.pairs.vocabulary import foreign_answers
from tunediff.data.cases import Answer
from tunediff.runtime.beside import beside
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import ROWS
from tunediff.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (CASE_ID, "label", "prediction", "outcome", "prompt_hash", "scorer")
SCORES = "scores"


class RowGroups:
    """A table on disk, one row group per appended table, or several if a table has more than `ROWS` rows.

    Args:
        folder: folder of the file; None: the system's folder of temporary files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._writer: Any = None
        self._reader: Any = None
        self._process = os.getpid()
        self.sizes: list[int] = []  # rows of each group
        with self._writing():
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (lives as long as this object)

    def append(self, table: "pa.Table") -> None:
        """Append rows; all tables must have the columns of the first."""
        import pyarrow.parquet as pq

        with self._writing():
            self._writer = self._writer or pq.ParquetWriter(self._file, table.schema, write_statistics=False)
            self._writer.write_table(table, row_group_size=ROWS)
        self.sizes += [min(ROWS, table.num_rows - start) for start in range(0, table.num_rows, ROWS)]

    def read(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of some groups in order; nothing can be appended afterwards."""
        import pyarrow.parquet as pq

        if self._process != os.getpid():  # after a fork, both would move the position of one handle
            self._file = Path(f"/proc/self/fd/{self._file.fileno()}").open("rb")  # noqa: SIM115  (see above)
            self._reader, self._process = None, os.getpid()
        if self._reader is None:
            self.finished()
            # A pre-buffer would stay in memory.
            self._reader = pq.ParquetFile(self._file, pre_buffer=False)
        return self._reader.read_row_groups(list(groups), columns=columns)

    def finished(self) -> int:
        """Finish writing and return the descriptor of the file; nothing can be appended afterwards."""
        if self._writer is not None:
            with self._writing():
                self._writer.close()
                self._file.flush()
            self._writer = None
        return self._file.fileno()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": reduction.DupFd(self.finished()), "_writer": None, "_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_file": os.fdopen(state["_file"].detach(), "rb"), "_process": os.getpid()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TunediffError(f"{self._folder}: cannot be written: {error.strerror or error}") from None

    def column(self, name: str) -> Iterator[pd.Series]:
        """Yield the values of a column, one group at a time."""
        for group in range(len(self.sizes)):
            yield self.read([group], [name])[name].to_pandas()


@dataclass(frozen=True)
class Stored:
    """One model's predictions on disk; see `tunediff.compare.pairs.predictions.Predictions` for the other fields."""

    groups: RowGroups
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None
    same: tuple[str, ...]
    scored: Scored | None  # None: not every case has scores
    environment: dict[str, str]  # a mappingproxy cannot be sent to another process
    kind: Task
    checks: tuple[tuple[str, str], ...]
    origin: str


def store(parts: Iterable[Predictions], name: str, folder: Path | None = None) -> Stored:
    """Write predictions to disk as they are read.

    Args:
        parts: chunks of predictions of the same kind, at least one.
        name: name of the file for error messages.
        folder: as for `RowGroups`.

    Raises:
        TunediffError: there is no case, or the chunks differ in their columns or in the labels of their scores.
    """
    groups, scored = RowGroups(folder), None
    first: Predictions | None = None
    for part in parts:
        check_columns(part.frame, name, (*part.inputs, *part.same))
        if first is None:
            first = part
            scored = None if part.scores is None else Scored(part.scores.shape[1], part.labels)
        if part.compared != first.compared:
            raise TunediffError(
                f"{name}, row {part.frame.index[0]}: found columns that earlier rows lack, after which outcomes are "
                "taken from the file; expected the same columns in all rows"
            )
        if part.scores is None:
            scored = None
        elif scored is not None:
            if (part.scores.shape[1], part.labels) != (scored.size, scored.labels):
                raise TunediffError(
                    f"{name}, row {part.frame.index[0]}: scores: found those of "
                    f"{', '.join(part.labels) if part.labels else f'{part.scores.shape[1]} labels'}, expected a finite "
                    "number for each label, the same labels in every row"
                )
            scored.look(part.scores, part.frame["prediction"])
        groups.append(_table(part, first))
    if first is None:
        raise TunediffError(f"{name}: found no case, expected at least one")
    if first.hashed:
        groups = _numbered_ids(groups, first.inputs, folder)
    foreign = foreign_answers(groups.column, name) if first.compared else None
    checks = (*first.checks, *([("TD401", foreign)] if foreign else []))
    about = dict(first.environment), first.kind, checks, first.origin
    return Stored(groups, first.inputs, first.labels, first.same, scored, *about)


def store_both(
    before: Iterable[Predictions],
    after: Iterable[Predictions],
    names: tuple[str, str],
    folder: Path | None = None,
    at_once: bool = False,
) -> tuple[Stored, Stored]:
    """Write the predictions of both files to disk; see `store`.

    Args:
        before: predictions of the base model; the iterator must not have been started.
        after: predictions of the tuned model; likewise.
        names: names of the files for error messages.
        folder: as for `RowGroups`.
        at_once: read the second file in another process if there is a core for it: twice as fast for large files.

    Raises:
        TunediffError: see `store`; errors of the first file take precedence.
    """
    with beside(lambda: store(after, names[1], folder), names[1], at_once) as second:
        return store(before, names[0], folder), second()


def _table(part: Predictions, first: Predictions) -> "pa.Table":
    """Predictions as an Arrow table with the columns of the first chunk."""
    import pyarrow as pa

    kind = first.kind
    kinds: dict[str, Any] = dict.fromkeys((*kind.scores, *kind.traits), pa.float64())
    kinds["answers"] = pa.list_(pa.struct([("text", pa.large_string()), ("start", pa.int64())]))
    names = dict.fromkeys((*COLUMNS, *first.inputs, *first.same, *kind.columns))
    schema = pa.schema([(name, kinds.get(name, pa.large_string())) for name in names])
    table = pa.Table.from_pandas(part.frame[list(names)], schema, preserve_index=False)
    if first.scores is None:
        return table
    scores = pa.nulls(len(table), pa.list_(pa.float64(), first.scores.shape[1]))
    if part.scores is not None:
        scores = pa.FixedSizeListArray.from_arrays(part.scores.ravel(), first.scores.shape[1])
    return table.append_column(SCORES, scores)


def _numbered_ids(groups: RowGroups, inputs: Sequence[str], folder: Path | None) -> RowGroups:
    """The same rows with distinct ids for rows with repeated inputs."""
    import pyarrow as pa

    keys = np.concatenate([np.array([int(one, 16) for one in ids], np.uint64) for ids in groups.column(CASE_ID)])
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.append(True, keys[order][1:] != keys[order][:-1]))
    occurrences = np.empty(len(keys), dtype=np.int64)
    occurrences[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys))) + 1
    if occurrences.max() == 1:
        return groups
    fresh, start = RowGroups(folder), 0
    for group, size in enumerate(groups.sizes):
        table = groups.read([group])
        ids = input_ids(table.select(inputs).to_pandas(), occurrences[start : start + size])
        place = table.column_names.index(CASE_ID)
        fresh.append(table.set_column(place, table.field(place), pa.array(ids, pa.large_string())))
        start += size
    return fresh


@dataclass(frozen=True)
class Pairs:
    """The predictions of both models, one row per case in the order of `before`; iterates over chunks, repeatedly.

    Each chunk is as returned by `tunediff.compare.pairs.align.align`, with an index that continues over all chunks.
    """

    before: RowGroups
    after: RowGroups
    groups: list[list[int]]  # groups of `after` with the cases of each group of `before`
    rows: Rows  # row of each case in the file after
    inputs: tuple[str, ...]
    shared: tuple[str, ...]  # columns that must be equal in both, in addition to `align.SHARED`
    labels: tuple[str, ...] | None  # in the order of the log-probabilities
    scored: tuple[Scored, Scored] | None
    environments: tuple[Mapping[str, str], Mapping[str, str]]
    names: tuple[str, str]
    kind: Task  # without inputs and labels
    checks: tuple[tuple[str, str], ...]  # checks that either file fails: code and sentence
    origins: tuple[str, str]  # how the files were interpreted

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Iterate over all cases in chunks; see `part`."""
        return self.part(range(len(self.groups)))

    def part(self, groups: Iterable[int]) -> Iterator[pd.DataFrame]:
        """Iterate over the cases of some groups of `before`, a chunk each.

        Raises:
            TunediffError: at the end, if the two files differ in a shared column.
        """
        agreement = SharedColumns(self.shared)
        for group in groups:
            yield self._part(group, agreement)
        agreement.check(self.names)

    def at(self, rows: Rows) -> pd.DataFrame:
        """Return the cases at ascending rows."""
        group = np.searchsorted(np.cumsum(self.before.sizes), rows, side="right")
        agreement = SharedColumns(self.shared)
        parts: list[pd.DataFrame] = [
            self._part(one, agreement).loc[rows[group == one]] for one in np.unique(group).tolist() or [0]
        ]
        return pd.concat(parts)

    def _part(self, group: int, agreement: SharedColumns) -> pd.DataFrame:
        start, size = sum(self.before.sizes[:group]), self.before.sizes[group]
        # The cases of `after` are in the order of its file.
        places = np.argsort(np.argsort(self.rows[start : start + size]))
        tables = self.before.read([group]), self.after.read(self.groups[group]).combine_chunks().take(places)
        known = zip(tables, self.scored or (None, None), strict=True)
        base, tuned = (_frame(table, scored, self.kind) for table, scored in known)
        agreement.look(base, tuned)
        aligned: pd.DataFrame = agreement.join(base, tuned).set_axis(pd.RangeIndex(start, start + size))
        return aligned


def pair(before: Stored, after: Stored, names: tuple[str, str], folder: Path | None = None) -> Pairs:
    """Pair the predictions of both models.

    Args:
        before: predictions of the base model.
        after: predictions of the tuned model, in any order of rows.
        names: names of the two for error messages.
        folder: as for `RowGroups`.

    Raises:
        TunediffError: the two differ in their kind, label list or cases.
    """
    if (before.inputs, before.same, before.kind) != (after.inputs, after.same, after.kind):
        inputs, columns = (
            f"{', '.join(first) or 'none'} and {', '.join(second) or 'none'}"
            for first, second in ((before.inputs, after.inputs), (before.kind.columns, after.kind.columns))
        )
        raise TunediffError(
            f"{names[0]} and {names[1]}: found files of two kinds, with inputs {inputs}"
            f"{f' and columns {columns}' if before.kind != after.kind else ''}, expected two of one kind"
        )
    # Scores in one file only cannot be compared, and are ignored.
    scored = None if before.scored is None or after.scored is None else (before.scored, after.scored)
    known = before.labels if before.labels is not None else after.labels
    labels = known if scored is None else common_labels(*scored, names)
    check_labels((before.labels, after.labels), names)
    rows = paired_rows(lambda: before.groups.column(CASE_ID), lambda: after.groups.column(CASE_ID), names)
    arranged, groups = _arranged(after.groups, rows, before.groups.sizes, folder)
    shared = (*before.inputs, *before.same)
    return Pairs(
        before.groups,
        arranged,
        groups,
        rows,
        before.inputs,
        shared,
        labels,
        scored,
        environments=(before.environment, after.environment),
        names=names,
        kind=before.kind,
        checks=before.checks + after.checks,
        origins=(before.origin, after.origin),
    )


def _arranged(
    after: RowGroups, rows: Rows, sizes: Sequence[int], folder: Path | None
) -> tuple[RowGroups, list[list[int]]]:
    """Rearrange the second file to groups with cases of one group of the first; return them by group of the first."""
    if after.sizes == sizes and np.array_equal(rows, np.arange(len(rows))):
        return after, [[group] for group in range(len(sizes))]
    wanted = np.empty(len(rows), dtype=np.int32)
    wanted[rows] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    arranged, start = RowGroups(folder), 0
    groups: list[list[int]] = [[] for _ in sizes]
    for group, size in enumerate(after.sizes):
        targets, table = wanted[start : start + size], after.read([group])
        for first in np.unique(targets).tolist():
            groups[first].append(len(arranged.sizes))
            arranged.append(table.take(np.flatnonzero(targets == first)))
        start += size
    return arranged, groups


def _frame(table: "pa.Table", scored: Scored | None, kind: Task) -> pd.DataFrame:
    """The stored predictions as a DataFrame, with log_probs instead of scores."""
    frame: pd.DataFrame = table.drop_columns(
        [name for name in (SCORES, *kind.shared_columns) if name in table.column_names]
    ).to_pandas()
    for name in kind.shared_columns:  # gold answers
        answers = [tuple(Answer(**one) for one in gold) for gold in table[name].to_pylist()]
        frame[name] = pd.Series(answers, dtype=object)
    if scored is not None:
        scores = table[SCORES].combine_chunks().flatten().to_numpy().reshape(-1, scored.size)
        frame["log_probs"] = list(log_probabilities(scores, scored.probable))
    return frame
