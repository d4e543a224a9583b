"""Journals of finished batches, from which an interrupted prediction resumes.

    with finished_batches(scratch_folder("predict_base", ...)):
        ask_cases(...)                            # run_batches answers only batches that are not in the journal

Each call of `run_batches` inside the block has a file in the folder, numbered in the order of the calls and per
process, with a line per finished batch. The same parameters, data and code make the same calls with the same batches,
so the results in the journal equal those that would be computed; floats keep all digits. A truncated line is ignored.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import rank_and_size

# Seconds between two calls of `saved`, which may take longer than a short batch.
BETWEEN = 1.0


class Journal(NamedTuple):
    """The finished results of one call of `run_batches` by row, and a function that adds a batch."""

    results: dict[int, Any]
    add: Callable[[list[int], list[Any]], None]


class _Block:
    """An open block of `finished_batches`: its folder, the number of calls, and the time of the last `saved`."""

    def __init__(self, folder: Path, saved: Callable[[], None]) -> None:
        self.folder, self.saved, self.calls, self.saved_at = folder, saved, 0, 0.0


_open_blocks: list[_Block] = []


@contextmanager
def finished_batches(folder: Path, saved: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep journals of finished batches in a folder inside the block, and reuse those that are there.

    Args:
        folder: from `scratch_folder`, keyed by everything that the answers depend on.
        saved: called after a batch has been written, at most once per second; only if there is a single process.
    """
    _open_blocks.append(_Block(folder, saved))
    try:
        yield
    finally:
        _open_blocks.pop()


def next_folder() -> Path | None:
    """Return a folder for journals of another process, which counts as a call; None outside `finished_batches`."""
    if not _open_blocks:
        return None
    _open_blocks[-1].calls += 1
    return _open_blocks[-1].folder / f"{_open_blocks[-1].calls:03d}"


@contextmanager
def journal(n_rows: int, title: str) -> Iterator[Journal]:
    """Open the journal of the next call of `run_batches`; outside `finished_batches`, one that stores nothing.

    Args:
        n_rows: number of rows of the call.
        title: label of the line that reports how many rows are already answered.

    Raises:
        TunediffError: a batch cannot be written.
    """
    if not _open_blocks:
        yield Journal({}, lambda _rows, _results: None)
        return
    block = _open_blocks[-1]
    block.calls += 1
    process, processes = rank_and_size()
    path = block.folder / f"{block.calls:03d}-{process}.jsonl"
    try:
        results, end = _read(path, n_rows)
        if results:
            print(f"{title}: {len(results):,} of {n_rows:,} were answered before the run was interrupted")
        block.folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        file.truncate(end)
    except OSError as error:
        raise TunediffError(f"{path}: cannot be written: {error.strerror}") from None

    def add(rows: list[int], answers: list[Any]) -> None:
        line = json.dumps([rows, answers]).encode() + b"\n"
        try:
            while line:  # an almost full disk may write a part of it
                line = line[file.write(line) or 0 :]
        except OSError as error:
            raise TunediffError(f"{path}: cannot be written: {error.strerror}") from None
        # With several processes, `saved` would have to be called in all of them at the same time.
        if processes == 1 and time.monotonic() > block.saved_at + BETWEEN:
            block.saved()
            block.saved_at = time.monotonic()

    with file:
        yield Journal(results, add)


def _read(path: Path, n_rows: int) -> tuple[dict[int, Any], int]:
    """The results in a journal by row, and the offset in bytes at which its complete lines end."""
    results: dict[int, Any] = {}
    end = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                rows, answers = json.loads(line)
                complete = line.endswith(b"\n") and len(rows) == len(answers) and all(0 <= row < n_rows for row in rows)
            except (ValueError, TypeError):
                complete = False
            if not complete:
                break
            results |= dict(zip(rows, answers, strict=True))
            end += len(line)
    return results, end
