"""Read rows of files: .jsonl, .csv and .tsv (also compressed, .gz), .xlsx, .parquet, and SQuAD's .json.

rows = read_rows(Path("data/raw/test.jsonl"))
rows[11]          # {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
rows[11].place    # "data/raw/test.jsonl, row 12"

A .tsv file has the format of GLUE: fields are separated by tabs, and quotation marks are ordinary characters. A .csv
file follows RFC 4180, with quotation marks around fields. Values of both are text. Spaces around the names of columns
are stripped, and so are those around cells of .csv and .xlsx, which are often typed by hand. A .json file is a data set
in SQuAD's layout (`tunediff.data.sources.squad_json`).
"""

import csv
import itertools
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tunediff.data.sources import Row
from tunediff.data.sources.squad_json import read_squad
from tunediff.data.values import verbatim_text
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import (
    PACKED,
    UTF8,
    kind_of,
    numbered_jsonl,
    shown,
    text_lines,
    unpacked_limit,
)
from tunediff.runtime.parquet import read_parquet
from tunediff.runtime.problems import Problems

# Pairs of a row number (see `tunediff.data.sources.Row`) and a row.
Numbered = Iterator[tuple[int | str, dict[str, Any]]]
Lines = Iterator[tuple[int | str, list[str]]]
# Possible delimiters of .csv files.
SEPARATORS = (";", "\t", "|", ",")


def read_rows(path: Path, encoding: str = UTF8, delimiter: str | None = None) -> list[Row]:
    """Return the rows of a file, with their numbers; empty lines are skipped.

    Args:
        path: the file; .jsonl, .csv and .tsv may be compressed (.gz).
        encoding: encoding of .jsonl, .csv and .tsv files.
        delimiter: delimiter of .csv files; None: see `numbered_csv`.

    Raises:
        TunediffError: the file is missing, has another type or no row, or rows cannot be read, with one line per kind
            of problem.
    """
    readers: dict[str, Callable[[], Numbered]] = {
        ".jsonl": lambda: numbered_jsonl(path, encoding),
        ".ndjson": lambda: numbered_jsonl(path, encoding),
        ".csv": lambda: _without_blanks(numbered_csv(path, encoding, delimiter)),
        ".tsv": lambda: numbered_tsv(path, encoding),
        ".xlsx": lambda: _without_blanks(_spreadsheet(path)),
        ".parquet": lambda: _parquet(path),
    }
    kind = kind_of(path)
    if path.suffix.lower() == ".json":
        return read_squad(path)
    if kind not in readers or (path.suffix.lower() == PACKED and kind not in (".jsonl", ".ndjson", ".csv", ".tsv")):
        expected = f"{', '.join(readers)}, .json, .csv.gz, .tsv.gz, .jsonl.gz"
        raise TunediffError(f"{path}: found a name ending in '{path.suffix}', expected {expected}")
    rows = [Row(values, str(path), number) for number, values in readers[kind]()]
    if not rows:
        raise TunediffError(f"{path}: has no row, expected at least one")
    return rows


def numbered_csv(path: Path, encoding: str = UTF8, delimiter: str | None = None) -> Numbered:
    """Yield the rows of a .csv file with their numbers.

    Args:
        path: the file.
        encoding: encoding of the file.
        delimiter: delimiter of the fields; None: a comma, or if the first line has none, one of `SEPARATORS`, as
            written by spreadsheets in many countries.

    Raises:
        TunediffError: the file or a row cannot be read.
    """
    lines = text_lines(path, encoding)
    first = next(lines, "")
    return _table(path, _csv_lines(path, itertools.chain([first], lines), delimiter or separator_of(first)))


def separator_of(line: str) -> str:
    """Return the delimiter of the column names in the first line of a .csv file."""
    return "," if "," in line else max(SEPARATORS, key=line.count)


def _csv_lines(path: Path, text: Iterable[str], delimiter: str) -> Lines:
    # Strict, because an unclosed quotation mark would otherwise swallow the rest of the file.
    csv.field_size_limit(2**31 - 1)  # the default limit is 131,072 characters
    reader = csv.reader(text, strict=True, delimiter=delimiter)
    row, line = 1, 1
    try:
        for fields in reader:
            yield _number(row, line), fields
            row, line = row + 1, reader.line_num + 1
    except csv.Error as error:
        raise TunediffError(f"{path}, row {_number(row, line)}: is not CSV: {error}") from None


def _number(row: int, line: int) -> int | str:
    return row if row == line else f"{row} (line {line})"


def numbered_tsv(path: Path, encoding: str = UTF8) -> Numbered:
    """Yield the rows of a .tsv file with their numbers; quotation marks are ordinary characters."""
    text = enumerate(text_lines(path, encoding), start=1)
    lines = ((number, line.removesuffix("\n")) for number, line in text)
    return _table(path, ((number, line.split("\t")) for number, line in lines if line), "\t")


def _table(path: Path, lines: Lines, separator: str | None = None) -> Numbered:
    """Yield rows by column name from lines of fields, the first of which has the names.

    If `separator` is given, a single column whose name seems to contain another delimiter is refused.
    """
    filled = ((number, fields) for number, fields in lines if fields)
    _, header = next(filled, (0, []))
    header = [name.strip() for name in header]
    other = max(SEPARATORS, key=header[0].count) if separator and len(header) == 1 else separator
    if other and other != separator and other in header[0]:
        raise TunediffError(
            f"{path}: found one column {shown(header[0])}, which looks separated by {other!r}; expected {separator!r}"
        )
    doubled = sorted(name for name, count in Counter(header).items() if count > 1)
    if doubled:
        raise TunediffError(f"{path}: has the column {shown(doubled[0])} twice")
    problems = Problems(str(path))
    for number, fields in filled:
        if len(fields) != len(header):
            problems.add(number, f"found {len(fields)} fields, expected {len(header)}", kind="fields")
        else:
            yield number, dict(zip(header, fields, strict=True))
    problems.check()


def _without_blanks(rows: Numbered) -> Numbered:
    """Strip the spaces around all cells."""
    for number, row in rows:
        yield number, {name: value.strip() if isinstance(value, str) else value for name, value in row.items()}


def _spreadsheet(path: Path) -> Numbered:
    """Yield the rows of the first sheet of a workbook, whose first row has the names; all values are text."""
    import pandas as pd

    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            grown = sum(part.file_size for part in archive.infolist())
        if grown > (bound := unpacked_limit(size)):
            raise TunediffError(f"{path}: found {grown:,} bytes compressed into {size:,}, expected at most {bound:,}")
        frame = pd.read_excel(path, dtype=object, keep_default_na=False, header=None, engine="openpyxl")
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except ImportError:
        raise TunediffError(
            f"{path}: this needs openpyxl, which is not installed: pip install '.[excel]' in the clone of tunediff"
        ) from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise TunediffError(f"{path}: is not a readable workbook: {error}") from None
    rows = ([verbatim_text(value) or "" for value in row] for row in frame.to_numpy().tolist())
    yield from _table(path, ((number, row) for number, row in enumerate(rows, start=1) if any(row)))


def _parquet(path: Path) -> Numbered:
    try:
        rows = read_parquet(path).to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that Python does not have
        raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
    yield from enumerate(rows, start=1)
