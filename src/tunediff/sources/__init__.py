"""Where rows come from: files on disk, the Hugging Face hub, or a built-in world.

rows = read_source(params.data, Path("data/raw"))
rows["test"][11]          # {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
rows["test"][11].place    # "data/raw/test.jsonl, row 12"
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunediff.sections import Data


class Row(dict[str, Any]):
    """A row of a source by column, which knows where it stands so that an error can name it.

    Args:
        values: the value of each column.
        source: the file, or the data set and its split.
        number: from 1; the line as an editor shows it, or the position where the source has no lines.
        name: what the source itself calls the place, where a number would not help to find it.
    """

    __slots__ = ("name", "number", "source")

    def __init__(self, values: Mapping[str, Any], source: str, number: int, name: str | None = None) -> None:
        super().__init__(values)
        self.source, self.number, self.name = source, number, name

    @property
    def place(self) -> str:
        """Such as `data/raw/test.jsonl, row 12`."""
        return f"{self.source}, {self.name or f'row {self.number}'}"


def read_source(data: Data, raw: Path) -> dict[str, list[Row]]:
    """The rows of each source split that `data.train`, `data.validation` and `data.test` are drawn from.

    Args:
        data: section `data` of the parameters.
        raw: folder of the files; other sources do not read it.

    Raises:
        TunediffError: a file or a data set cannot be read.
    """
    names = sorted({data.train.source, data.validation.source, data.test.source})
    if data.files is not None:
        from tunediff.sources.local import read_rows

        return {name: read_rows(raw / data.files[name]) for name in names}
    if data.hub is not None:
        from tunediff.sources.hub import dataset_rows

        return {name: dataset_rows(data.hub.id, data.hub.config, data.hub.revision, name) for name in names}
    assert data.world is not None  # section data has exactly one of the three
    from tunediff.sources.worlds import captions

    world = data.world
    splits = captions.rows(world.train, world.validation, world.test, world.seed)
    return {
        name: [Row(row, f"world {world.name}, {name}", number) for number, row in enumerate(splits[name], start=1)]
        for name in names
    }
