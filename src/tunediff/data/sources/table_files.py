"""Rows of files on disk: .jsonl, .csv, .tsv, these also packed (.gz), .xlsx, .parquet, and SQuAD's .json.

rows = read_rows(Path("data/raw/test.jsonl"))
rows[11]          # {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
rows[11].place    # "data/raw/test.jsonl, row 12"

A .tsv file is what GLUE publishes: a tab ends a field, and a quotation mark is a character of the text. A .csv file
follows RFC 4180, where quotation marks enclose a field. Values of both are text. Blanks around the names of columns do
not count, nor do those around the cells of .csv and .xlsx, which people type. A .json file is a data set in SQuAD's own
layout (`tunediff.data.sources.squad_json`).
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
    read_parquet,
    shown,
    text_lines,
    unpacked_limit,
)
from tunediff.runtime.problems import Problems

# A row after its number, see `tunediff.data.sources.Row`.
Numbered = Iterator[tuple[int | str, dict[str, Any]]]
Lines = Iterator[tuple[int | str, list[str]]]
# What people separate fields by.
SEPARATORS = (";", "\t", "|", ",")


def read_rows(path: Path, encoding: str = UTF8, delimiter: str | None = None) -> list[Row]:
    """The rows of a file, each with its number; empty lines are skipped.

    Args:
        path: the file; .jsonl, .csv and .tsv may be packed (.gz).
        encoding: of .jsonl, .csv and .tsv files.
        delimiter: of .csv files; None: see `numbered_csv`.

    Raises:
        TunediffError: the file is missing, is of another kind, has no row, or rows cannot be read; a line for each kind
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
    """The rows of a .csv file, each after its number; one row is held at a time.

    Args:
        path: the file.
        encoding: of its text.
        delimiter: what separates its fields; None: a comma, or where the first line has none, what it has of
            `SEPARATORS`, as spreadsheets of many countries write it.

    Raises:
        TunediffError: the file or a row cannot be read.
    """
    lines = text_lines(path, encoding)
    first = next(lines, "")
    return _table(path, _csv_lines(path, itertools.chain([first], lines), delimiter or separator_of(first)))


def separator_of(line: str) -> str:
    """What separates the names of columns in the first line of a .csv file."""
    return "," if "," in line else max(SEPARATORS, key=line.count)


def _csv_lines(path: Path, text: Iterable[str], delimiter: str) -> Lines:
    # Strict: a quotation mark that is never closed would otherwise swallow the rest of the file.
    csv.field_size_limit(2**31 - 1)  # left alone it refuses a text of more than 131,072 characters
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
    """The rows of a .tsv file as `numbered_csv` gives those of a .csv file; quotation marks are characters."""
    text = enumerate(text_lines(path, encoding), start=1)
    lines = ((number, line.removesuffix("\n")) for number, line in text)
    return _table(path, ((number, line.split("\t")) for number, line in lines if line), "\t")


def _table(path: Path, lines: Lines, separator: str | None = None) -> Numbered:
    """Rows by column name from lines of fields, the first of which names the columns.

    A single column whose name another character separates is refused where `separator` is the only one there can be.
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
    """Rows typed by hand: blanks around what a cell says do not count."""
    for number, row in rows:
        yield number, {name: value.strip() if isinstance(value, str) else value for name, value in row.items()}


def _spreadsheet(path: Path) -> Numbered:
    """The rows of the first sheet of a workbook, the names of the columns first; numbers and dates are text too."""
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
            f"{path}: this needs openpyxl, which is not installed: pip install 'tunediff[excel]'"
        ) from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise TunediffError(f"{path}: is not a readable workbook: {error}") from None
    rows = ([verbatim_text(value) or "" for value in row] for row in frame.to_numpy().tolist())
    yield from _table(path, ((number, row) for number, row in enumerate(rows, start=1) if any(row)))


def _parquet(path: Path) -> Numbered:
    table, _ = read_parquet(path)
    try:
        rows = table.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that Python does not have
        raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
    yield from enumerate(rows, start=1)
