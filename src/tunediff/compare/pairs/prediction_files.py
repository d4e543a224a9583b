"""Read prediction files: tables, and the files of other tools, which are recognised by their content.

    for some in read_predictions(Path("before.csv"), Fields(label="gold", prediction="answer", case_id="id")): ...
    (all,) = read_predictions(Path("samples_anli_r1_2026-11-20.jsonl"), Fields())
    (all,) = read_predictions(Path("predictions.json"), Fields(), data=Path("dev-v2.0.json"))

Tables are CSV, TSV, JSON lines, JSON arrays and Parquet, read in chunks. The formats of other tools are listed in
`tunediff.compare.pairs.formats.FORMATS` and read as a whole. `Predictions.origin` describes how a file was interpreted.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.formats import FORMATS, squad_answers
from tunediff.compare.pairs.formats.inspect_log import SUFFIX, archive_rows
from tunediff.compare.pairs.predictions import Fields, Predictions, from_table, in_tables
from tunediff.data.cases import about_predictions, environment_of
from tunediff.data.sources.table_files import numbered_csv, numbered_tsv
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import PACKED, kind_of, numbered_jsonl, read_json, shown, text_lines
from tunediff.runtime.parquet import parquet_batches
from tunediff.runtime.problems import Problems

LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
KINDS = (*LINES, ".parquet", ".json", SUFFIX)


def read_predictions(
    path: Path,
    fields: Fields,
    data: Path | None = None,
    metric: str | None = None,
    filter_name: str | None = None,
    threshold: float | None = None,
    no_answer: Path | None = None,
) -> Iterator[Predictions]:
    """Read one model's predictions, in chunks.

    Args:
        path: a file with a suffix in `KINDS`.
        fields: names of its columns; for files of other tools only the cluster, such as a field of the document.
        data: the data set in SQuAD's layout, for a .json file of answers.
        metric: metric of another tool's file that decides what is right; None: the tool's usual one.
        filter_name: filter or model of such a file; None if there is only one.
        threshold: the lowest score that counts as right, if scores are not 0 or 1.
        no_answer: file with the probabilities that SQuAD questions have no answer.

    Raises:
        TunediffError: the file cannot be read, is of an unknown kind, or lacks required columns.
    """
    kind = kind_of(path)
    if threshold is not None and not math.isfinite(threshold):
        raise TunediffError(f"--threshold: found {threshold}, expected a finite number")
    options = ReadOptions(fields, data, metric, filter_name, threshold, no_answer)
    if kind not in KINDS or (path.suffix.lower() == PACKED and kind not in LINES):
        expected = f"{', '.join(KINDS)}, and {', '.join(f'{one}{PACKED}' for one in LINES)}"
        raise TunediffError(f"{path}: found a name ending in '{path.suffix}', expected {expected}")
    if kind == ".json" and data is not None:
        yield squad_answers.read_answers(path, data, no_answer)
        return
    for given, option in ((data, "a data set (--data)"), (no_answer, "probabilities (--no-answer)")):
        if given is not None:
            raise TunediffError(f"{path}: found {option} with a {kind} file, expected SQuAD's .json and --data")
    if kind == ".parquet":
        yield from _parquet_predictions(path, options)
        return
    rows = _rows(path, kind)
    first = next(rows, None)
    if first is None:
        raise TunediffError(f"{path}: has no row, expected at least one")
    rows = itertools.chain([first], rows)
    if (known := _format_of(first[1])) and kind not in (".csv", ".tsv"):
        _refuse_columns(options, path, known.name)
        yield known.read(rows, str(path), options)
        return
    if kind == ".json" and not _is_array(path) and squad_answers.is_answers(first[1]):
        yield squad_answers.FORMAT.read(rows, str(path), options)
        return
    if kind == SUFFIX or (kind == ".json" and not _is_array(path)):
        raise TunediffError(
            f"{path}: found an object with {shown(', '.join(first[1]), 200)}, expected a list of objects, or one of "
            f"these: {', '.join(one.name for one in FORMATS)}"
        )
    wanted = options.fields.wanted(name.strip() for name in first[1])
    yield from _checked(((table, {}) for table in in_tables(rows, wanted, str(path))), options, path)


def _format_of(row: Mapping[str, Any]) -> FileFormat | None:
    return next((one for one in FORMATS if one.recognises(row)), None)


def _rows(path: Path, kind: str) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """The numbered rows of a file; a JSON object is its only row."""
    lines: Callable[[Path], Iterator[tuple[int | str, dict[str, Any]]]] = numbered_jsonl
    readers = {".csv": numbered_csv, ".tsv": numbered_tsv, SUFFIX: archive_rows}
    if kind in readers:
        return readers[kind](path)
    return _values(path) if kind == ".json" or _is_array(path) else lines(path)


def _refuse_unused(options: ReadOptions, path: Path) -> None:
    """Refuse options that do not apply to tables, instead of ignoring them.

    Raises:
        TunediffError: there is a metric, a filter, or a threshold without a column of scores.
    """
    if options.metric is not None:
        raise TunediffError(
            f"{path}: is a table, found --metric {options.metric}, expected it with another tool's file"
        )
    if options.threshold is not None and options.fields.correct is None:
        raise TunediffError(f"{path}: is a table, found --threshold, expected it with --correct-field")
    if options.part is not None and not options.fields.by_row:
        raise TunediffError(f"{path}: is a table, found --filter {options.part}, expected it with another tool's file")


def _refuse_columns(options: ReadOptions, path: Path, tool: str) -> None:
    """Refuse names of columns for a file of another tool, whose columns are fixed.

    Raises:
        TunediffError: such a name is given.
    """
    given, usual = options.fields, Fields()
    names = {"label": "--label-field", "scores": "--scores-field", "case_id": "--id-field", "inputs": "--input-fields"}
    names |= {"correct": "--correct-field"} | ({} if given.by_row else {"prediction": "--prediction-field"})
    for key, option in names.items():
        if getattr(given, key) != getattr(usual, key):
            raise TunediffError(f"{path}: is {tool}, found {option}, expected it with a table")


def _checked(
    tables: Iterable[tuple[pd.DataFrame, dict[str, Any]]], options: ReadOptions, path: Path
) -> Iterator[Predictions]:
    """The predictions of tables, given with their arguments; invalid rows are reported together at the end."""
    _refuse_unused(options, path)
    problems = Problems(str(path))
    for table, about in tables:
        predictions = from_table(table, options.fields, str(path), about.get("labels"), problems, options.threshold)
        if not problems:
            yield predictions._replace(environment=environment_of(about))
    problems.check()


def _is_array(path: Path) -> bool:
    """Whether a JSON file is one array, as lm-evaluation-harness wrote its samples up to version 0.4.2."""
    lines = itertools.islice((line.strip() for line in text_lines(path)), 100)
    first = next(filter(None, lines), "")
    return first == "[" or (first.startswith("[") and first[1:].lstrip().startswith("{"))


def _values(path: Path) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """The numbered objects of a JSON array, or the only object of a file."""
    value = read_json(path)
    problems = Problems(str(path))
    for number, row in enumerate(value if isinstance(value, list) else [value], start=1):
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(number, f"found {shown(row)}, expected a JSON object", kind="no object")
    problems.check()


def _parquet_predictions(path: Path, options: ReadOptions) -> Iterator[Predictions]:
    """The predictions of a Parquet file: of another tool if the columns match, else a table."""
    _, names, _ = parquet_batches(path, lambda _: ())
    if known := _format_of(dict.fromkeys(names)):
        _refuse_columns(options, path, known.name)
        yield known.read(_parquet_rows(path), str(path), options)
        return
    yield from _checked(_parquet(path, options.fields), options, path)


def _parquet_rows(path: Path) -> Rows:
    _, _, batches = parquet_batches(path)
    number = 1
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that Python does not have
            raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
        yield from enumerate(rows, start=number)
        number += len(rows)


def _parquet(path: Path, fields: Fields) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """The wanted columns in chunks, with the arguments of `from_table`."""
    import pyarrow as pa

    schema, names, batches = parquet_batches(path, fields.wanted)
    about = about_predictions(path, schema)
    start = 1
    for batch in batches:
        try:
            # Integers in a column with an empty cell would become floats, and lose digits.
            frame = batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise TunediffError(f"{path}: found a value that cannot be read: {error}") from None
        yield frame.set_axis(pd.RangeIndex(start, start + len(batch))).reindex(columns=names), about
        start += len(batch)
    if start == 1:
        raise TunediffError(f"{path}: has no row, expected at least one")
