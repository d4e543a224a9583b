"""Two models' predictions on disk, paired some cases at a time: files of any length take the memory of a part of them.

    before, after = (store(read_predictions(path, fields), str(path)) for path in paths)
    for aligned in pair(before, after, names): ...          # tables as tunediff.compare.pairs.align.align returns them

Predictions go into the row groups of a Parquet file without a name, which vanishes with the object that holds it. Then
those of the second file are put into the row groups that the first one has, so that a pair of groups holds the same
cases. In memory stay eight bytes a case for its place, and a few groups of `tunediff.runtime.files.ROWS` cases.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import reduction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import Rows, SharedColumns, check_columns, check_labels, input_ids, paired_rows
from tunediff.compare.pairs.label_order import Scored, Table, common_labels, log_probabilities
from tunediff.compare.pairs.predictions import CASE_ID, Predictions
from tunediff.compare.pairs.vocabulary import foreign_answers
from tunediff.data.cases import Answer
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import ROWS
from tunediff.runtime.threads import cores
from tunediff.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (CASE_ID, "label", "prediction", "outcome", "prompt_hash", "scorer")
SCORES = "scores"


class RowGroups:
    """A table on disk: the tables that were appended, each a row group, or several where it has more rows than `ROWS`.

    Args:
        folder: where the file lies; None: where the system has its temporary files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._writer: Any = None
        self._reader: Any = None
        self.sizes: list[int] = []  # rows of each group
        with self._writing():
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (lives as long as this object)

    def append(self, table: "pa.Table") -> None:
        """Add rows; all tables have the columns of the first."""
        import pyarrow.parquet as pq

        with self._writing():
            self._writer = self._writer or pq.ParquetWriter(self._file, table.schema, write_statistics=False)
            self._writer.write_table(table, row_group_size=ROWS)
        self.sizes += [min(ROWS, table.num_rows - start) for start in range(0, table.num_rows, ROWS)]

    def read(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> "pa.Table":
        """The rows of some groups, one group after the other; nothing can be appended from now on."""
        import pyarrow.parquet as pq

        if self._reader is None:
            if self._writer is not None:
                self.finished()
            # What is buffered ahead stays in memory.
            self._reader = pq.ParquetFile(self._file, pre_buffer=False)
        return self._reader.read_row_groups(list(groups), columns=columns)

    def finished(self) -> int:
        """The descriptor of the file, all of which has been written: nothing can be appended from now on."""
        with self._writing():
            self._writer.close()
            self._file.flush()
        return self._file.fileno()

    def take_over(self, descriptor: int) -> None:
        """Read from the file that another process has finished and sent; what it knew of it was sent before."""
        self._file = os.fdopen(descriptor, "rb")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_writer": None, "_reader": None}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TunediffError(f"{self._folder}: cannot be written: {error.strerror or error}") from None

    def column(self, name: str) -> Iterator[pd.Series]:
        """The values of a column, a group at a time."""
        for group in range(len(self.sizes)):
            yield self.read([group], [name])[name].to_pandas()


@dataclass(frozen=True)
class Stored:
    """One model's predictions on disk; the other fields are those of
    `tunediff.compare.pairs.predictions.Predictions`.
    """

    groups: RowGroups
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None
    same: tuple[str, ...]
    scored: Scored | None  # None: not every case has scores
    environment: Mapping[str, str]
    kind: Task
    checks: tuple[tuple[str, str], ...]
    origin: str


def store(parts: Iterable[Predictions], name: str, folder: Path | None = None) -> Stored:
    """Put predictions on disk as they come.

    Args:
        parts: some cases each, all of one kind; at least one.
        name: of the file that they are from, for errors.
        folder: as for `RowGroups`.

    Raises:
        TunediffError: predictions that lack something, or the scores of some cases are of other labels.
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
                    f"{name}, row {part.frame.index[0]}: scores: found those of {_described(part)}, expected a finite "
                    f"number for each label, the same labels in every row"
                )
            scored.look(part.scores, part.frame["prediction"])
        groups.append(_table(part, first))
    if first is None:
        raise TunediffError(f"{name}: found no case, expected at least one")
    if first.hashed:
        groups = _numbered_ids(groups, first.inputs, folder)
    foreign = foreign_answers(groups.column, name) if first.compared else None
    checks = (*first.checks, *([("TD401", foreign)] if foreign else []))
    about = first.environment, first.kind, checks, first.origin
    return Stored(groups, first.inputs, first.labels, first.same, scored, *about)


def store_both(
    before: Iterable[Predictions],
    after: Iterable[Predictions],
    names: tuple[str, str],
    folder: Path | None = None,
    at_once: bool = False,
) -> tuple[Stored, Stored]:
    """Put the predictions of both files on disk, as `store` does each.

    Args:
        before: predictions of the base model, not yet begun.
        after: predictions of the tuned model, likewise.
        names: of the files.
        folder: as for `RowGroups`.
        at_once: read the second in a process of its own, where there is a core for it: twice as fast for large files.

    Raises:
        TunediffError: see `store`; what is wrong with the first file comes first.
    """
    # Elsewhere than on Linux a fork may meet threads of the system's libraries, or there is none.
    if not at_once or cores() == 1 or sys.platform != "linux":
        return store(before, names[0], folder), store(after, names[1], folder)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe()
    process = fork.Process(target=_store_for, args=(sender, after, names[1], folder), daemon=True)
    process.start()
    sender.close()
    try:
        first = store(before, names[0], folder)
        try:
            found = receiver.recv()
            if isinstance(found, Stored):
                found.groups.take_over(reduction.recv_handle(receiver))
        except (EOFError, ConnectionError):
            raise TunediffError(
                f"{names[1]}: the process reading it was killed, perhaps because memory ran out"
            ) from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(found, TunediffError):
        raise found
    return first, found


def _store_for(pipe: Any, parts: Iterable[Predictions], name: str, folder: Path | None) -> None:
    """In a process of its own: store predictions, and hand over what is known of them and the file they are in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one ends it
    try:
        found = store(parts, name, folder)
        pipe.send(replace(found, environment=dict(found.environment)))  # a view of one cannot be sent
        reduction.send_handle(pipe, found.groups.finished(), os.getppid())
        pipe.recv()  # nothing comes: until it is ended, the file stays open
    except TunediffError as error:
        pipe.send(error)
    except EOFError:
        pass


def _described(part: Predictions) -> str:
    assert part.scores is not None
    return ", ".join(part.labels) if part.labels else f"{part.scores.shape[1]} labels"


def _table(part: Predictions, first: Predictions) -> "pa.Table":
    """Predictions as a table of the columns that the first ones have."""
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
    """The same rows, where those that repeat the inputs of an earlier one have an id of their own."""
    import pyarrow as pa

    # Case ids have 64 bits.
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
    """Both models' predictions, a row a case in the order of `before`, some cases at a time and as often as wanted.

    Each part is what `tunediff.compare.pairs.align.align` returns, on an index that continues over all parts.
    """

    before: RowGroups
    after: RowGroups
    groups: list[list[int]]  # of `after`, those that hold the cases of each group of `before`
    rows: Rows  # of the file after, of each case
    inputs: tuple[str, ...]
    shared: tuple[str, ...]  # columns that must be equal in both, beside those that always must
    labels: tuple[str, ...] | None  # in the order of the log-probabilities
    scored: tuple[Scored, Scored] | None
    environments: tuple[Mapping[str, str], Mapping[str, str]]
    names: tuple[str, str]
    kind: Task  # of inputs and labels it knows nothing
    checks: tuple[tuple[str, str], ...]  # that either file fails: code and sentence
    origins: tuple[str, str]  # what the files were taken for

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """All cases.

        Raises:
            TunediffError: once they have all been looked at: the two differ in what both must say of a case.
        """
        agreement = SharedColumns(self.shared)
        for group in range(len(self.groups)):
            yield self._part(group, agreement)
        agreement.check(self.names)

    def at(self, rows: Rows) -> pd.DataFrame:
        """The cases at some rows, rising."""
        group = np.searchsorted(np.cumsum(self.before.sizes), rows, side="right")
        agreement = SharedColumns(self.shared)
        parts: list[pd.DataFrame] = [
            self._part(one, agreement).loc[rows[group == one]] for one in np.unique(group).tolist() or [0]
        ]
        return pd.concat(parts)

    def _part(self, group: int, agreement: SharedColumns) -> pd.DataFrame:
        start, size = sum(self.before.sizes[:group]), self.before.sizes[group]
        # The cases of the file after lie in its own order.
        places = np.argsort(np.argsort(self.rows[start : start + size]))
        tables = self.before.read([group]), self.after.read(self.groups[group]).combine_chunks().take(places)
        known = zip(tables, self.scored or (None, None), strict=True)
        base, tuned = (_frame(table, scored, self.kind) for table, scored in known)
        agreement.look(base, tuned)
        aligned: pd.DataFrame = agreement.beside(base, tuned).set_axis(pd.RangeIndex(start, start + size))
        return aligned


def pair(before: Stored, after: Stored, names: tuple[str, str], folder: Path | None = None) -> Pairs:
    """Return the predictions of both models side by side.

    Args:
        before: of the base model.
        after: of the tuned model, in any order of rows.
        names: what to call the two in an error.
        folder: as for `RowGroups`.

    Raises:
        TunediffError: the two are of other kinds, label lists or cases.
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
    # Scores in one file alone have nothing to be compared with and are left out.
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
    """The second file in groups that hold cases of one group of the first only, and for each of that the groups."""
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
    """Predictions as they were before they were stored, with log_probs in the place of scores."""
    frame: pd.DataFrame = table.drop_columns(
        [name for name in (SCORES, *kind.shared_columns) if name in table.column_names]
    ).to_pandas()
    for name in kind.shared_columns:  # gold answers
        answers = [tuple(Answer(**one) for one in gold) for gold in table[name].to_pylist()]
        frame[name] = pd.Series(answers, dtype=object)
    if scored is not None:
        frame["log_probs"] = list(log_probabilities(_scores(table, scored.size), scored.probable))
    return frame


def _scores(table: "pa.Table", size: int) -> Table:
    return np.asarray(table[SCORES].combine_chunks().flatten().to_numpy().reshape(-1, size))
