"""Where rows come from: files on disk, the Hugging Face hub, or one of the synthetic data sets.

row = Row({"premise": "A man is feeding two dogs.", "hypothesis": ..., "label": 0}, "data/raw/test.jsonl", 12)
row.place    # "data/raw/test.jsonl, row 12"
"""

from collections.abc import Mapping
from typing import Any


class Row(dict[str, Any]):
    """A row of a source by column, which knows where it stands so that an error can name it.

    Args:
        values: the value of each column.
        source: the file, or the data set and its split.
        number: from 1, as a spreadsheet counts: the header is a row, and so is an empty line; or the position where
            the source has no lines. Where line breaks in fields set the line apart, both: "4 (line 5)".
        name: what the source itself calls the place, where a number would not help to find it.
    """

    __slots__ = ("name", "number", "source")

    def __init__(self, values: Mapping[str, Any], source: str, number: int | str, name: str | None = None) -> None:
        super().__init__(values)
        self.source, self.number, self.name = source, number, name

    @property
    def place(self) -> str:
        """Such as `data/raw/test.jsonl, row 12`."""
        return f"{self.source}, {self.name or f'row {self.number}'}"
