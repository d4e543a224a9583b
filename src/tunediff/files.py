"""Read and write files: rows as JSON lines, metrics as flat JSON, every write whole or not at all.

write_json(Path("metrics/prepare.json"), {"train_n": 8000})
rows = read_jsonl(Path("data/splits/test.jsonl"))
"""

import csv
import fcntl
import glob
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tunediff.errors import TunediffError

# Between a name and the random end of its scratch path: no file of a user is called so.
BEING_WRITTEN = ".being-written-"


def output_path(text: str) -> Path:
    """A path to write to, refused where it leads out of the project (the current folder).

    Raises:
        TunediffError: the path, links followed, lies outside the current folder or is that folder itself.
    """
    path, project = Path(text), Path.cwd().resolve()
    if project not in path.resolve().parents:
        raise TunediffError(f"{text}: leads out of the project, expected a path inside {project}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The block writes a file or a folder at the scratch path. What stood at `path` before is replaced. A scratch path
    that a killed process left is removed.

    Raises:
        TunediffError: the disk is full, the folder is read-only, or the like.
    """
    prefix = f".{path.name}{BEING_WRITTEN}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(prefix)}*"):
            if _is_free(left):
                shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    except OSError as error:
        raise TunediffError(f"{path}: cannot be written: {error.strerror}") from None
    fresh = scratch / path.name
    lock = os.open(scratch, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield fresh
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(fresh, path)  # noqa: PTH105  (renames files and folders alike)
    except OSError as error:
        # The block may also fail for a reason of its own, such as a file that it reads.
        elsewhere = error.filename is not None and scratch not in Path(str(error.filename)).parents
        if elsewhere and error.filename != str(path):
            raise
        raise TunediffError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _is_free(scratch: Path) -> bool:
    """Whether the process that was writing here is gone: its lock went with it. No where that cannot be told."""
    try:
        folder = os.open(scratch, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; one line names the file where it is missing or is not UTF-8 text."""
    try:
        # Programs on Windows put a byte order mark at the start, which would become part of the first word.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise TunediffError(f"{path}: byte {error.start}: found bytes that are not UTF-8 text") from None
    except OSError as error:
        raise TunediffError(f"{path}: cannot be read: {error.strerror}") from None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    # Half of a surrogate pair has no UTF-8 form; it is written as the question mark that readers would show.
    whole = text.encode("utf-8", errors="replace")
    with replacing(path) as fresh:
        fresh.write_bytes(whole)


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise TunediffError(f"{path}: is not JSON: {error}") from None


def write_json(path: Path, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Write a JSON object, keys in the given order, or a list of them; a number that is not finite is refused.

    Raises:
        TunediffError: a value is NaN or infinite, which JSON cannot hold and no metric should be.
    """
    for one in [values] if isinstance(values, Mapping) else values:
        for key, value in one.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise TunediffError(f"{path}: {key}: found {value}, expected a finite number")
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; empty lines are skipped."""
    return [row for _, row in numbered_jsonl(path)]


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows as `read_jsonl`, each after the number of its line, from 1."""
    # Not splitlines(): JSON text may hold U+2028 and other characters that it takes for line ends.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise TunediffError(f"{path}, row {number}: is not JSON: {shown(line)}") from None
        if not isinstance(row, dict):
            raise TunediffError(f"{path}, row {number}: found {shown(line)}, expected a JSON object")
        yield number, row


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write rows as a CSV file with a header: `columns`, else the keys that all rows share.

    Raises:
        TunediffError: there is neither a row nor a column to take the header from.
    """
    if not rows and not columns:
        raise TunediffError(f"{path}: there is no row to write, expected at least one")
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns or rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def shown(value: object, width: int = 60) -> str:
    """A value as an error message shows it: quoted, escaped, cut to `width` characters."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
