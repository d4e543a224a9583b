"""Read Parquet files from outside within bounds, in batches.

schema, names, batches = parquet_batches(Path("before.parquet"), lambda names: ["case_id", "label"])
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import ROWS, bytes_of, repeated, shown, unpacked_limit

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# Limit of rows per byte of a file: distinct rows take more than a bit each.
ROWS_PER_BYTE = 64
# Limit of a batch in bytes.
BATCH_BYTES = 2**30


def read_parquet(path: Path) -> "pa.Table":
    """Return the table of a Parquet file; raises the errors of `parquet_batches`."""
    import pyarrow as pa

    schema, _, batches = parquet_batches(path)
    return pa.Table.from_batches(list(batches), schema)


def parquet_batches(
    path: Path, wanted: Callable[[Sequence[str]], Sequence[str]] | None = None
) -> tuple["pa.Schema", list[str], Iterator["pa.RecordBatch"]]:
    """Return the schema of the columns to read, the names of all columns, and an iterator over batches of rows.

    Spaces around column names are removed. A file that would become far larger than it is when decompressed is refused
    before it is read.

    Args:
        path: the file.
        wanted: given the names of all columns, returns those to read, if present; None: all.

    Raises:
        TunediffError: the file is missing, is not readable Parquet, has a column twice, or exceeds a bound.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reading(path):
        size = bytes_of(path)
        # A buffer stays in memory until the end of the file.
        file = pq.ParquetFile(path, pre_buffer=False)
        names = [name.strip() for name in file.schema_arrow.names]
        if len(set(names)) < len(names):
            raise TunediffError(f"{path}: has the column {shown(repeated(names))} twice")
        kept = names if wanted is None else wanted(names)
        fields = [field for field in file.schema_arrow if field.name.strip() in kept]
        schema = pa.schema([field.with_name(field.name.strip()) for field in fields], file.schema_arrow.metadata)
        columns = [field.name for field in fields]
        batches = _batches(path, size, file, _rows_per_batch(path, size, file), columns)
        return schema, names, (batch.rename_columns(schema.names) for batch in batches)


def _batches(
    path: Path, size: int, file: "pq.ParquetFile", rows: int, columns: Sequence[str]
) -> Iterator["pa.RecordBatch"]:
    total, bound = 0, unpacked_limit(size)
    with _reading(path), file:
        for batch in file.iter_batches(rows, columns=columns):
            yield batch
            if (total := total + batch.nbytes) > bound:
                raise TunediffError(f"{path}: found more than {bound:,} bytes compressed into {size:,}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise TunediffError(f"{path}: is not a readable Parquet file: {error}") from None


def _rows_per_batch(path: Path, size: int, file: "pq.ParquetFile") -> int:
    """How many rows fit into `BATCH_BYTES` even if each of them refers to the largest text of a dictionary.

    Raises:
        TunediffError: there are far more rows than bytes, or the column chunks are far larger than the file.
    """
    about = file.metadata
    if about.num_rows > ROWS_PER_BYTE * size:
        found = f"found {about.num_rows:,} rows in {size:,} bytes"
        raise TunediffError(f"{path}: {found}, expected at most {ROWS_PER_BYTE} per byte")
    groups = [about.row_group(at) for at in range(about.num_row_groups)]
    chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
    bound = unpacked_limit(size)
    if (claimed := sum(chunk.total_uncompressed_size for chunk in chunks)) > bound:
        raise TunediffError(f"{path}: found {claimed:,} bytes compressed into {size:,}, expected at most {bound:,}")
    with path.open("rb") as stream:
        largest = max((_dictionary_bytes(stream, chunk) for chunk in chunks), default=0)
    return max(1, min(ROWS, BATCH_BYTES // max(largest, 1)))


def _dictionary_bytes(stream: BinaryIO, chunk: "pq.ColumnChunkMetaData") -> int:
    """Uncompressed bytes of the dictionary of a column chunk; 0 if it has none.

    The page header starts, in Thrift's compact protocol, with the type of the page (2: a dictionary) and the
    uncompressed size of the page (apache/parquet-format, parquet.thrift, PageHeader).
    """
    starts = [at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at]
    stream.seek(max(0, min(starts, default=0)))
    head = iter(stream.read(16))
    found = []
    for _ in range(2):
        next(head, 0)  # field id and type
        number = shift = 0
        for byte in head:
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(number >> 1)  # zigzag encoding: a non-negative number is doubled
    return found[1] if found[0] == 2 else 0
