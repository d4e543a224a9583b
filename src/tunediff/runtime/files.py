"""Read untrusted files within bounds, and write files atomically.

write_json(Path("metrics/prepare.json"), {"train_n": 8000})
for number, row in numbered_jsonl(Path("data/test_sets/test.jsonl")): ...
"""

import codecs
import csv
import fcntl
import glob
import gzip
import itertools
import json
import math
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.problems import Problems

# Marks a scratch path, between the name of the file and a random suffix.
BEING_WRITTEN = ".being-written-"

# Characters that text in a file may not contain: NUL and lone surrogates, which JSON's "\ud800" becomes.
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Limit of a line in bytes, so that a line without end does not fill the memory.
LONGEST_LINE = 2**28
# The default encoding, as Python spells it, and the suffix of a compressed file.
UTF8, PACKED = "utf-8", ".gz"
# Limit of nested lists and objects in JSON. Data need about five; a thousand exceed Python's recursion limit.
DEEPEST = 100
# See `unpacked_limit`.
_UNPACKED_BYTES, _UNPACKED_RATIO = 2**30, 200
# Rows that are read, compared or tokenized at a time, and rows per row group of a Parquet file written here.
ROWS = 65_536


def output_path(text: str) -> Path:
    """Return a path to write to, which must be inside the project (the current folder).

    Raises:
        TunediffError: the path, with links resolved, is outside the current folder or that folder itself.
    """
    path, project = Path(text), Path.cwd().resolve()
    if project not in path.resolve().parents:
        raise TunediffError(f"{text}: leads out of the project, expected a path inside {project}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder atomically: yield a scratch path that replaces `path` if the block succeeds.

    If the block fails, `path` stays as it is and the scratch path is removed. Scratch paths that killed processes left
    are removed as well.

    Raises:
        TunediffError: the disk is full, the folder is read-only, or the like.
    """
    prefix = f".{path.name}{BEING_WRITTEN}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(prefix)}*"):
            if _is_abandoned(left):
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
        # The error may concern another file, such as one that the block reads.
        elsewhere = error.filename is not None and scratch not in Path(str(error.filename)).parents
        if elsewhere and error.filename != str(path):
            raise
        raise TunediffError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _is_abandoned(scratch: Path) -> bool:
    """Whether the process that wrote here is gone and its lock released; False if that is unknown."""
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
    """Return the text of a UTF-8 file.

    Raises:
        TunediffError: the file is missing, not readable, not UTF-8 or larger than the free memory.
    """
    try:
        if (size := bytes_of(path)) > (free := psutil.virtual_memory().available):
            raise TunediffError(f"{path}: found {size:,} bytes, more than the {free:,} bytes of free memory")
        # Programs on Windows write a byte order mark, which would become part of the first word.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise TunediffError(f"{path}: byte {error.start}: {_not_utf8(error)}") from None
    except OSError as error:
        raise TunediffError(f"{path}: cannot be read: {error.strerror}") from None


def kind_of(path: Path) -> str:
    """Return the suffix of a file in lower case, ignoring .gz: `.csv` for a.CSV.gz."""
    return (path.with_suffix("") if path.suffix.lower() == PACKED else path).suffix.lower()


def text_lines(path: Path, encoding: str = UTF8) -> Iterator[str]:
    """Iterate over the lines of a file, each with its line feed; raises the errors of `read_text`.

    Only a line feed ends a line: JSON text may contain U+2028 and other characters that `splitlines` would split at. A
    file whose name ends in .gz is decompressed.

    Args:
        path: the file.
        encoding: a codec of Python.
    """
    try:
        if codecs.lookup(encoding).name != UTF8:
            yield from _decoded_lines(path, encoding)
            return
        start = 0
        for line in _byte_lines(path):
            if not start and line[1:2] == b"\0":
                raise TunediffError(f"{path}: found text that looks like UTF-16, expected UTF-8")
            try:
                yield line.decode("utf-8" if start else "utf-8-sig")
            except UnicodeDecodeError as error:
                raise TunediffError(f"{path}: byte {start + error.start}: {_not_utf8(error)}") from None
            start += len(line)
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error) as error:
        raise TunediffError(f"{path}: cannot be decompressed: {error}") from None
    except OSError as error:
        raise TunediffError(f"{path}: cannot be read: {error.strerror or error}") from None


def _byte_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, decompressed if it ends in .gz, within the bounds above."""
    size, start = bytes_of(path), 0
    packed = path.suffix.lower() == PACKED
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise TunediffError(f"{path}: byte {start}: found a line of {LONGEST_LINE:,} bytes or more")
            yield line
            start += len(line)
            if packed and start > (bound := unpacked_limit(size)):
                raise TunediffError(f"{path}: found more than {bound:,} bytes compressed into {size:,}")


def _decoded_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a file in another encoding than UTF-8, in which a line feed may have several bytes."""
    decoder, text, start = codecs.getincrementaldecoder(encoding)(), "", 0
    for part in itertools.chain(_byte_lines(path), [b""]):
        try:
            text += decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            found = error.object[error.start : error.start + 1]
            raise TunediffError(f"{path}: byte {start}: found {found!r} near there, expected {encoding} text") from None
        start += len(part)
        *lines, text = text.split("\n")
        yield from (f"{line}\n" for line in lines)
    if text:
        yield text


def _not_utf8(error: UnicodeDecodeError) -> str:
    """Describe the bytes that are not UTF-8, with a guess at their encoding."""
    found, at = error.object, error.start
    sentence = "found bytes that are not UTF-8 text"
    if found.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in found[:4]:
        return f"{sentence}; it looks like UTF-16"
    # In Windows-1252 an accented letter or a typographic mark is a single byte among ASCII; East Asian encodings have
    # several such bytes in a row.
    alone = all(not byte >= 0x80 for byte in found[max(0, at - 1) : at] + found[at + 1 : at + 2])
    around = found[max(0, at - 10) : at + 10].decode("cp1252", errors="replace").split("\n")
    letter = found[at : at + 1].decode("cp1252", errors="replace")
    if not alone or letter == "\N{REPLACEMENT CHARACTER}":
        return sentence
    return f"{sentence}; it looks like Windows-1252: {shown(next(text for text in around if letter in text))}"


def unpacked_limit(size: int) -> int:
    """Return how many bytes a compressed file of `size` bytes may become in memory.

    Text compresses to a tenth at best. The constant allows for a Parquet file in which every row refers to a text that
    is stored once.
    """
    return _UNPACKED_BYTES + _UNPACKED_RATIO * size


def bytes_of(path: Path) -> int:
    """Return the size of a regular file; a pipe or a device may never end.

    Raises:
        OSError: there is no such file.
        TunediffError: it is not a regular file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise TunediffError(f"{path}: cannot be read: it is {what}")
    return status.st_size


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    # A lone surrogate has no UTF-8 form; it becomes a question mark.
    data = text.encode("utf-8", errors="replace")
    with replacing(path) as fresh:
        fresh.write_bytes(data)


def read_json(path: Path, unique_keys: bool = False) -> Any:
    """Return the value of a JSON file.

    Args:
        path: the file.
        unique_keys: whether to refuse an object with a repeated key, of which JSON keeps the last.

    Raises:
        TunediffError: as for `read_text`, or the text is not JSON.
    """
    try:
        return from_json(read_text(path), _unique if unique_keys else None)
    except ValueError as error:
        raise TunediffError(f"{path}: is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"has the key {shown(repeated([key for key, _ in pairs]))} twice")
    return found


def repeated(names: Sequence[str]) -> str:
    """Return the first name that occurs more than once."""
    return next(name for name, count in Counter(names).items() if count > 1)


def from_json(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse a JSON text.

    Args:
        text: the text.
        pairs: makes an object from its keys and values, as `object_pairs_hook` of `json.loads`; None: a dictionary.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than `DEEPEST`.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError(f"found more than {DEEPEST} levels of lists and objects") from None
    if text.count("[") + text.count("{") > DEEPEST and _levels(value) > DEEPEST:
        raise ValueError(f"found more than {DEEPEST} levels of lists and objects")
    return value


def _levels(value: Any) -> int:
    """The depth of nested lists and objects."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, dict | list)]:
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        depth += 1
    return depth


def write_json(path: Path, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Write a JSON object, or a list of them, with keys in the given order.

    Raises:
        TunediffError: a number at any depth is NaN or infinite, which JSON cannot represent.
    """
    write_text(path, _encoded(json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2), values, str(path)))


def _encoded(encoder: json.JSONEncoder, value: object, place: str) -> str:
    """A value as JSON with a trailing line feed."""
    try:
        return encoder.encode(value) + "\n"
    except ValueError:
        for key, number in _not_finite(value):
            raise TunediffError(f"{place}: {key}: found {number}, expected a finite number") from None
        raise


def _not_finite(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a value that JSON cannot represent, each with its path, such as `steps.2.flips`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    elif isinstance(value, Mapping | list | tuple):
        for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _not_finite(part, f"{key}.{name}" if key else str(name))


def numbered_jsonl(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the JSON objects of a file with one per line, with line numbers from 1; empty lines are skipped.

    One row is in memory at a time. Invalid lines are skipped, and reported together after the last line.
    """
    problems = Problems(str(path))
    for number, line in enumerate(text_lines(path, encoding), start=1):
        line = line.removesuffix("\n")
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except ValueError:
            problems.add(number, f"is not JSON: {shown(line)}", kind="no JSON")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(number, f"found {shown(line)}, expected a JSON object", kind="no object")
    problems.check()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]], first: int = 1) -> None:
    """Write one JSON object per line; one row is in memory at a time.

    Args:
        path: the file.
        rows: the objects.
        first: number of the first row, for the error message, if another file has the rows before.

    Raises:
        TunediffError: a number is NaN or infinite, as for `write_json`.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
    # A lone surrogate becomes a question mark, as in `write_text`.
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(_encoded(encoder, row, f"{path}, row {number}") for number, row in enumerate(rows, first))


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write rows as a CSV file with a header: `columns`, or the keys of the rows, which must be the same in all rows.

    Raises:
        TunediffError: there are neither rows nor columns to take the header from.
    """
    if not rows and not columns:
        raise TunediffError(f"{path}: there are no rows to write, expected at least one")
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns or rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def shown(value: object, width: int = 60) -> str:
    """Format a value for an error message: quoted, escaped, cut to `width` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits than Python converts, or deeply nested lists
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= width else text[: width - 1] + "…"


def visible(text: str) -> str:
    """Make characters visible that could hide or reorder other text of a data set.

    C0 control characters become their Unicode pictures, C1 controls and bidirectional overrides their code points, and
    lone surrogates, which no file can contain, the replacement character.
    """
    text = LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", lambda match: chr(0x2400 + ord(match.group())), text)
    return re.sub(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)
