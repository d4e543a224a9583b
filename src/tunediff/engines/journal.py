"""Batches that are finished stay finished: a killed evaluation goes on behind its last one.

    with finished_batches(scratch_folder("eval_base", ...)):
        predict_cases(...)                        # run_batches answers what does not lie there yet

Every call of `run_batches` inside the block has a file of its own in the folder, numbered in the order of the calls
(and of each process, where several share the batches), and every finished batch a line of it. The same parameters, data
and code make the same calls with the same batches, so what is read back is what would be computed: floats keep all
their digits. A line that a kill cut off is passed over.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import part

# Seconds between two calls of `saved`: with short batches, it would take longer than the answers.
BETWEEN = 1.0


class Journal(NamedTuple):
    """What one call of `run_batches` has finished: results by row, and how a batch is added."""

    results: dict[int, Any]
    add: Callable[[list[int], list[Any]], None]


class _Evaluation:
    """The folder of the evaluation that is at work, and how many calls it has seen."""

    def __init__(self, folder: Path, saved: Callable[[], None]) -> None:
        self.folder, self.saved, self.calls, self.noted = folder, saved, 0, 0.0


_at_work: list[_Evaluation] = []


@contextmanager
def finished_batches(folder: Path, saved: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While this is open, finished batches are kept in the folder, and those that lie there are not computed again.

    Args:
        folder: as `scratch_folder` gives it, for everything that the answers depend on.
        saved: called after a batch has been kept, but not more often than once a second; not in several processes.
    """
    _at_work.append(_Evaluation(folder, saved))
    try:
        yield
    finally:
        _at_work.pop()


def next_folder() -> Path | None:
    """A folder in the place of the journal of the next call, for `finished_batches` elsewhere; None: none is kept."""
    if not _at_work:
        return None
    _at_work[-1].calls += 1
    return _at_work[-1].folder / f"{_at_work[-1].calls:03d}"


@contextmanager
def journal(n_rows: int, title: str) -> Iterator[Journal]:
    """The journal of the next call of `run_batches`; outside `finished_batches`, an empty one that keeps nothing.

    Args:
        n_rows: rows of the call.
        title: what is answered, for the line that says how much need not be done again.

    Raises:
        TunediffError: a batch cannot be written.
    """
    if not _at_work:
        yield Journal({}, lambda _rows, _results: None)
        return
    work = _at_work[-1]
    work.calls += 1
    process, processes = part()
    path = work.folder / f"{work.calls:03d}-{process}.jsonl"
    try:
        results, end = _read(path, n_rows)
        if results:
            print(f"{title}: {len(results):,} of {n_rows:,} were answered before the run was interrupted")
        work.folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        file.truncate(end)
    except OSError as error:
        raise TunediffError(f"{path}: cannot be written: {error.strerror}") from None

    def add(rows: list[int], answers: list[Any]) -> None:
        line = json.dumps([rows, answers]).encode() + b"\n"
        try:
            while line:  # a disk that is almost full takes a part of it
                line = line[file.write(line) or 0 :]
        except OSError as error:
            raise TunediffError(f"{path}: cannot be written: {error.strerror}") from None
        # Several processes note their cost together: none can do so behind a batch of its own.
        if processes == 1 and time.monotonic() > work.noted + BETWEEN:
            work.saved()
            work.noted = time.monotonic()

    with file:
        yield Journal(results, add)


def _read(path: Path, n_rows: int) -> tuple[dict[int, Any], int]:
    """The results in a journal by row, and where in the file its whole lines end, in bytes."""
    results: dict[int, Any] = {}
    end = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                rows, answers = json.loads(line)
                whole = line.endswith(b"\n") and len(rows) == len(answers) and all(0 <= row < n_rows for row in rows)
            except (ValueError, TypeError):
                whole = False
            if not whole:
                break
            results |= dict(zip(rows, answers, strict=True))
            end += len(line)
    return results, end
