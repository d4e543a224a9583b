"""Plain text for pretraining: a built-in world's own, or the sentences of a file's columns.

read_texts(params.pretrain, Path("data/raw"))        # ["A man is feeding two dogs. ...", ...]
"""

from pathlib import Path

from tunediff.errors import TunediffError
from tunediff.files import shown
from tunediff.sections import Pretrain
from tunediff.sources.local import read_rows
from tunediff.sources.worlds import stories


def read_texts(section: Pretrain, path: Path) -> list[str]:
    """The documents that the section pretrain names, each once, in the order of the source.

    Raises:
        TunediffError: the file has no such column, or a row holds no text there.
    """
    if section.text == "world":
        return stories.text(section.documents or 0, section.seed)
    texts: dict[str, None] = {}
    for row in read_rows(path):
        for column in section.columns:
            if column not in row:
                raise TunediffError(f"{row.place}: has no column {column}, expected one of {', '.join(row)}")
            text = row[column]
            if not isinstance(text, str) or not text.strip():
                raise TunediffError(f"{row.place}: {column}: found {shown(text)}, expected text that is not empty")
            texts.setdefault(text.strip())
    return list(texts)[: section.documents]
