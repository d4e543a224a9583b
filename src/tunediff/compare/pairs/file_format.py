"""The interface for formats of other tools: how a file is recognised and read.

    FORMAT = FileFormat("promptfoo results", recognises=is_promptfoo, read=read_promptfoo)

To add a format, add a module to `tunediff.compare.pairs.formats` and an entry to its list.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.compare.pairs.predictions import Fields, Predictions

# Pairs of a row number, or the file's own name of the place, and the row. A .json file with one object has one row.
Rows = Iterable[tuple[int | str, dict[str, Any]]]


class ReadOptions(NamedTuple):
    """The user's options for reading a file.

    fields: names of the columns. data: the data set that the file answers. metric: the metric that decides what is
    right. part: the filter or model to read. threshold: the lowest score that counts as right. no_answer: a file of
    {question id: probability of no answer}.
    """

    fields: Fields
    data: Path | None = None
    metric: str | None = None
    part: str | None = None
    threshold: float | None = None
    no_answer: Path | None = None


class FileFormat(NamedTuple):
    """A format of another tool.

    name: name of the format for messages. recognises: whether the first row (the object of a .json file; for Parquet, a
    row without values) has this format. read: function of the rows, the name of the file and the user's options that
    returns predictions; it raises TunediffError if the file is invalid.
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Rows, str, ReadOptions], Predictions]
