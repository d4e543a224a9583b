"""Rows of files on disk: .jsonl, .csv, .tsv, .parquet, and SQuAD's .json.

rows = read_rows(Path("data/raw/test.jsonl"))
rows[11]          # {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
rows[11].place    # "data/raw/test.jsonl, row 12"

A .tsv file is what GLUE publishes: a tab ends a field, and a quotation mark is a character of the text. A .csv file
follows RFC 4180, where quotation marks enclose a field. Values of both are text. Blanks around the names of columns do
not count. A .json file is a data set in SQuAD's own layout (`tunediff.data.sources.squad_json`).
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunediff.data.sources import Row
from tunediff.data.sources.squad_json import read_squad
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import numbered_jsonl, read_parquet, shown, text_lines
from tunediff.runtime.problems import Problems

# A row after its number, see `tunediff.data.sources.Row`.
Numbered = Iterator[tuple[int | str, dict[str, Any]]]
Lines = Iterator[tuple[int | str, list[str]]]
# What people separate fields by.
SEPARATORS = (";", "\t", "|", ",")


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, each with its number; empty lines are skipped.

    Raises:
        TunediffError: the file is missing, is of another kind, has no row, or rows cannot be read; a line for each kind
            of problem.
    """
    readers: dict[str, Callable[[Path], Numbered]] = {
        ".jsonl": numbered_jsonl,
        ".csv": numbered_csv,
        ".tsv": numbered_tsv,
        ".parquet": _parquet,
    }
    read = readers.get(path.suffix.lower())
    if path.suffix.lower() == ".json":
        return read_squad(path)
    if read is None:
        raise TunediffError(f"{path}: found a name that ends in '{path.suffix}', expected {', '.join(readers)}, .json")
    rows = [Row(values, str(path), number) for number, values in read(path)]
    if not rows:
        raise TunediffError(f"{path}: has no row, expected at least one")
    return rows


def numbered_csv(path: Path) -> Numbered:
    """The rows of a .csv file, each after its number; one row is held at a time.

    Raises:
        TunediffError: the file or a row cannot be read.
    """
    return _table(path, _csv_lines(path), ",")


def _csv_lines(path: Path) -> Lines:
    # Strict: a quotation mark that is never closed would otherwise swallow the rest of the file.
    csv.field_size_limit(2**31 - 1)  # left alone it refuses a text of more than 131,072 characters
    reader = csv.reader(text_lines(path), strict=True)
    row, line = 1, 1
    try:
        for fields in reader:
            yield _number(row, line), fields
            row, line = row + 1, reader.line_num + 1
    except csv.Error as error:
        raise TunediffError(f"{path}, row {_number(row, line)}: is not CSV: {error}") from None


def _number(row: int, line: int) -> int | str:
    return row if row == line else f"{row} (line {line})"


def numbered_tsv(path: Path) -> Numbered:
    """The rows of a .tsv file as `numbered_csv` gives those of a .csv file; quotation marks are characters."""
    lines = ((number, line.removesuffix("\n")) for number, line in enumerate(text_lines(path), start=1))
    return _table(path, ((number, line.split("\t")) for number, line in lines if line), "\t")


def _table(path: Path, lines: Lines, separator: str) -> Numbered:
    """Rows by column name from lines of fields, the first of which names the columns."""
    filled = ((number, fields) for number, fields in lines if fields)
    _, header = next(filled, (0, []))
    header = [name.strip() for name in header]
    other = max(SEPARATORS, key=header[0].count) if len(header) == 1 else separator
    if other != separator and other in header[0]:
        raise TunediffError(
            f"{path}: found one column {shown(header[0])}, which looks separated by {other!r}; expected {separator!r}"
        )
    doubled = sorted(name for name, count in Counter(header).items() if count > 1)
    if doubled:
        raise TunediffError(f"{path}: names the column {shown(doubled[0])} twice")
    problems = Problems(str(path))
    for number, fields in filled:
        if len(fields) != len(header):
            problems.add(number, f"found {len(fields)} fields, expected {len(header)}", kind="fields")
        else:
            yield number, dict(zip(header, fields, strict=True))
    problems.check()


def _parquet(path: Path) -> Numbered:
    table, _ = read_parquet(path)
    try:
        rows = table.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that Python does not have
        raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
    yield from enumerate(rows, start=1)
