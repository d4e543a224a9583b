"""Sources of rows: files on disk, the Hugging Face hub, or a synthetic data set.

row = Row({"premise": "A man is feeding two dogs.", "hypothesis": ..., "label": 0}, "data/raw/test.jsonl", 12)
row.place    # "data/raw/test.jsonl, row 12"
"""

from collections.abc import Mapping
from typing import Any


class Row(dict[str, Any]):
    """A row of a source, by column, with its place for error messages.

    Args:
        values: the value of each column.
        source: the file, or the data set and its split.
        number: row number from 1, counting the header and empty lines like a spreadsheet; or the position, if the
            source has no lines. If the line differs because of line breaks in fields, both: "4 (line 5)".
        name: the source's own name of the place, if a number would not help to find it.
    """

    __slots__ = ("name", "number", "source")

    def __init__(self, values: Mapping[str, Any], source: str, number: int | str, name: str | None = None) -> None:
        super().__init__(values)
        self.source, self.number, self.name = source, number, name

    @property
    def place(self) -> str:
        """The place for error messages, such as `data/raw/test.jsonl, row 12`."""
        return f"{self.source}, {self.name or f'row {self.number}'}"
