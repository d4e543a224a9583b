"""What a file of another tool is known by, and what a user says of it: the seam for a new format.

    FORMAT = FileFormat("promptfoo results", recognises=is_promptfoo, read=read_promptfoo)

A format is a file of `tunediff.compare.pairs.formats` and a name in its list.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.compare.pairs.predictions import Fields, Predictions

# A row after its number, or what its file calls the place. The object of a .json file is the only row of it.
Rows = Iterable[tuple[int | str, dict[str, Any]]]


class ReadOptions(NamedTuple):
    """What a user says of a file besides its name.

    fields: what its columns are called. data: the data set that it answers. metric: which of its metrics says what is
    right. part: which of its filters or models is meant. threshold: the least score that is right. no_answer: a file of
    {question id: how likely it is that there is no answer}.
    """

    fields: Fields
    data: Path | None = None
    metric: str | None = None
    part: str | None = None
    threshold: float | None = None
    no_answer: Path | None = None


class FileFormat(NamedTuple):
    """A format of another tool.

    name: as a user is told what a file was taken for. recognises: whether the first row (the object of a .json file, a
    row without values for the columns of Parquet) is of it. read: rows, the name of the file and what the user says of
    it become predictions; it raises TunediffError where the file is at fault.
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Rows, str, ReadOptions], Predictions]
