"""Read and write files: rows as JSON lines, metrics as flat JSON, every write atomic.

write_json(Path("metrics/prepare.json"), {"train_n": 8000})
rows = read_jsonl(Path("data/test_sets/test.jsonl"))
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
from typing import TYPE_CHECKING, Any, BinaryIO

import psutil

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.problems import Problems

# Between a name and the random end of its scratch path: no file of a user is called so.
BEING_WRITTEN = ".being-written-"

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# What no text in a file may hold. Half of a surrogate pair is what JSON's "\ud800" becomes.
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
HALF_PAIR = re.compile("[\ud800-\udfff]")
# Bytes that a line is shorter than: one that never ends would fill the memory.
LONGEST_LINE = 2**28
# How Python calls the encoding of text that says no other, and how a packed file ends.
UTF8, PACKED = "utf-8", ".gz"
# Levels of lists and objects in JSON. Data have five; a thousand end Python's own stack in whoever walks them.
DEEPEST = 100
# Rows of a Parquet file for each of its bytes. Distinct rows take more than a bit each.
ROWS_PER_BYTE = 64
# Bytes that a Parquet file may become in memory: so many, and so many for each of its own. Text shrinks to a tenth at
# best; but one that stands in the file once and that every row names has no bound of its own.
GROWN, GROWTH = 2**30, 200
# Rows that are read, compared or turned into tokens at a time, and those of a row group of a Parquet file of ours.
ROWS = 65_536
# Bytes that may be read of it before they are counted.
AT_ONCE = 2**30


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
        if (size := _bytes_of(path)) > (free := psutil.virtual_memory().available):
            raise TunediffError(f"{path}: found {size:,} bytes, more than the {free:,} bytes of free memory")
        # Programs on Windows put a byte order mark at the start, which would become part of the first word.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise TunediffError(f"{path}: byte {error.start}: {_not_utf8(error)}") from None
    except OSError as error:
        raise TunediffError(f"{path}: cannot be read: {error.strerror}") from None


def kind_of(path: Path) -> str:
    """What the name of a file ends in, in small letters, without the .gz of one that is packed: .csv of a.CSV.gz."""
    return (path.with_suffix("") if path.suffix.lower() == PACKED else path).suffix.lower()


def text_lines(path: Path, encoding: str = UTF8) -> Iterator[str]:
    """The lines of a file one by one, each with the line feed that ends it; errors are those of `read_text`.

    Only a line feed ends a line: JSON text may hold U+2028 and other characters that `splitlines` takes for ends. A
    file whose name ends in .gz is unpacked as it is read.

    Args:
        path: the file.
        encoding: of its text, as Python names it.
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
        raise TunediffError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise TunediffError(f"{path}: cannot be read: {error.strerror or error}") from None


def _byte_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked where it is packed, within the bounds above."""
    size, start = _bytes_of(path), 0
    packed = path.suffix.lower() == PACKED
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise TunediffError(f"{path}: byte {start}: found a line of {LONGEST_LINE:,} bytes or more")
            yield line
            start += len(line)
            if packed and start > (bound := GROWN + GROWTH * size):
                raise TunediffError(f"{path}: found more than {bound:,} bytes, packed into {size:,}")


def _decoded_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a file in another encoding than UTF-8, whose line feeds may be of several bytes."""
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
    """What was found instead of UTF-8, and what it looks like."""
    found, at = error.object, error.start
    sentence = "found bytes that are not UTF-8 text"
    if found.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in found[:4]:
        return f"{sentence}; it looks like UTF-16"
    # A single byte of an accented letter or a typographic mark among ASCII, where Chinese and others have two in a row.
    alone = all(not byte >= 0x80 for byte in found[max(0, at - 1) : at] + found[at + 1 : at + 2])
    around = found[max(0, at - 10) : at + 10].decode("cp1252", errors="replace").split("\n")
    letter = found[at : at + 1].decode("cp1252", errors="replace")
    if not alone or letter == "\N{REPLACEMENT CHARACTER}":
        return sentence
    return f"{sentence}; it looks like Windows-1252: {shown(next(one for one in around if letter in one))}"


def _bytes_of(path: Path) -> int:
    """The size of an ordinary file; others, such as a pipe or a device, may never end.

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
    # Half of a surrogate pair has no UTF-8 form; it is written as the question mark that readers would show.
    whole = text.encode("utf-8", errors="replace")
    with replacing(path) as fresh:
        fresh.write_bytes(whole)


def read_json(path: Path, once: bool = False) -> Any:
    """The value of a JSON file; `once` refuses an object that names a key twice, of which JSON keeps the last."""
    try:
        return from_json(read_text(path), _once if once else None)
    except ValueError as error:
        raise TunediffError(f"{path}: is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"has the key {shown(_repeated([key for key, _ in pairs]))} twice")
    return found


def from_json(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text.

    Args:
        text: the text.
        pairs: what makes an object of its keys and values; None: a dictionary.

    Raises:
        ValueError: it is not JSON, or has more levels than `DEEPEST`.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError(f"found more than {DEEPEST} levels of lists and objects") from None
    if text.count("[") + text.count("{") > DEEPEST and _levels(value) > DEEPEST:
        raise ValueError(f"found more than {DEEPEST} levels of lists and objects")
    return value


def _levels(value: Any) -> int:
    """How deep lists and objects stand in each other."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth, level = depth + 1, [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return depth


def write_json(path: Path, values: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Write a JSON object, keys in the given order, or a list of them.

    Raises:
        TunediffError: a number at any depth is NaN or infinite, which JSON cannot hold and no metric should be.
    """
    write_text(path, _encoded(json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2), values, str(path)))


def _encoded(encoder: json.JSONEncoder, value: object, place: str) -> str:
    """A value as JSON, with a line end."""
    try:
        return encoder.encode(value) + "\n"
    except ValueError:
        for key, number in _not_finite(value):
            raise TunediffError(f"{place}: {key}: found {number}, expected a finite number") from None
        raise


def _not_finite(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a value that JSON cannot hold, each after where it stands, such as `steps.2.flips`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    elif isinstance(value, Mapping | list | tuple):
        for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _not_finite(part, f"{key}.{name}" if key else str(name))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line; empty lines are skipped."""
    return [row for _, row in numbered_jsonl(path)]


def numbered_jsonl(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows as `read_jsonl`, each after the number of its line, from 1; one row is held at a time.

    Lines at fault are passed over, and reported together once the others have been read.
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


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON object a line; one row is held at a time.

    Raises:
        TunediffError: a number is NaN or infinite, as for `write_json`.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
    # Half of a surrogate pair becomes a question mark, as in `write_text`.
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(_encoded(encoder, row, f"{path}, row {number}") for number, row in enumerate(rows, start=1))


def read_parquet(path: Path, wanted: Sequence[str] | None = None) -> tuple["pa.Table", list[str]]:
    """The table of a Parquet file, and the names of all its columns; errors are those of `parquet_batches`.

    Args:
        path: the file.
        wanted: columns to read, where they are there; None: all.
    """
    import pyarrow as pa

    schema, names, batches = parquet_batches(path, None if wanted is None else lambda _: wanted)
    return pa.Table.from_batches(list(batches), schema), names


def parquet_batches(
    path: Path, wanted: Callable[[Sequence[str]], Sequence[str]] | None = None
) -> tuple["pa.Schema", list[str], Iterator["pa.RecordBatch"]]:
    """The columns of a Parquet file that are read, the names of all, and the rows, some at a time.

    Blanks around names are cut. Nothing is read of a file that would become far larger than it is: see `GROWN` and the
    bounds above it.

    Args:
        path: the file.
        wanted: which columns to read, where they are there, given the names of all; None: all.

    Raises:
        TunediffError: the file is missing, is no Parquet that can be read, names a column twice, or is past a bound.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reading_parquet(path):
        size = _bytes_of(path)
        # What is buffered ahead stays in memory to the end of the file.
        file = pq.ParquetFile(path, pre_buffer=False)
        names = [name.strip() for name in file.schema_arrow.names]
        if len(set(names)) < len(names):
            raise TunediffError(f"{path}: has the column {shown(_repeated(names))} twice")
        kept = names if wanted is None else wanted(names)
        fields = [field for field in file.schema_arrow if field.name.strip() in kept]
        schema = pa.schema([field.with_name(field.name.strip()) for field in fields], file.schema_arrow.metadata)
        columns = [field.name for field in fields]
        batches = _batches(path, size, file, _rows_at_once(path, size, file), columns)
        return schema, names, (batch.rename_columns(schema.names) for batch in batches)


def _batches(
    path: Path, size: int, file: "pq.ParquetFile", rows: int, columns: Sequence[str]
) -> Iterator["pa.RecordBatch"]:
    grown, bound = 0, GROWN + GROWTH * size
    with _reading_parquet(path), file:
        for batch in file.iter_batches(rows, columns=columns):
            yield batch
            if (grown := grown + batch.nbytes) > bound:
                raise TunediffError(f"{path}: found more than {bound:,} bytes, packed into {size:,}")


@contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise TunediffError(f"{path}: is not a readable Parquet file: {error}") from None


def _repeated(names: Sequence[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _rows_at_once(path: Path, size: int, file: "pq.ParquetFile") -> int:
    """How many rows surely fit into `AT_ONCE`, though each of them named the largest text of a dictionary.

    Raises:
        TunediffError: there are far more rows than bytes, or a column chunk is far larger than the file.
    """
    about = file.metadata
    if about.num_rows > ROWS_PER_BYTE * size:
        found = f"found {about.num_rows:,} rows in {size:,} bytes"
        raise TunediffError(f"{path}: {found}, expected at most {ROWS_PER_BYTE} a byte")
    groups = [about.row_group(at) for at in range(about.num_row_groups)]
    chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
    bound = GROWN + GROWTH * size
    if (claimed := sum(chunk.total_uncompressed_size for chunk in chunks)) > bound:
        raise TunediffError(f"{path}: found {claimed:,} bytes packed into {size:,}, expected at most {bound:,}")
    with path.open("rb") as stream:
        largest = max((_dictionary_bytes(stream, chunk) for chunk in chunks), default=0)
    return max(1, min(ROWS, AT_ONCE // max(largest, 1)))


def _dictionary_bytes(stream: BinaryIO, chunk: "pq.ColumnChunkMetaData") -> int:
    """Bytes of the dictionary of a column chunk, unpacked; 0 where it has none.

    Its page header begins, in Thrift's compact form, with two numbers: the kind of the page (2: a dictionary), and the
    bytes of the page unpacked (apache/parquet-format, parquet.thrift, PageHeader).
    """
    starts = [at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at]
    stream.seek(max(0, min(starts, default=0)))
    head = iter(stream.read(16))
    found = []
    for _ in range(2):
        next(head, 0)  # the field's number and kind
        number = shift = 0
        for byte in head:
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(number >> 1)  # zigzag: what is not negative is doubled
    return found[1] if found[0] == 2 else 0


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write rows as a CSV file with a header: `columns`, else the keys that all rows share.

    Raises:
        TunediffError: there is neither a row nor a column to take the header from.
    """
    if not rows and not columns:
        raise TunediffError(f"{path}: there are no rows to write, expected at least one")
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns or rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def shown(value: object, width: int = 60) -> str:
    """A value as an error message shows it: quoted, escaped, cut to `width` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, or lists in lists
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= width else text[: width - 1] + "…"


def visible(text: str) -> str:
    """Text of a data set with the characters that hide or reorder other text written out.

    Control characters become their pictures, those that override the direction of writing their code points;
    a lone half of a surrogate pair, which no file can hold, becomes the replacement character.
    """
    text = HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", lambda match: chr(0x2400 + ord(match.group())), text)
    return re.sub(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)
