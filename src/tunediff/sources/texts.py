"""Plain text for pretraining: a built-in world's own, or the sentences of a file's columns.

read_texts(params.pretrain, Path("data/raw"))        # ["A man is feeding two dogs. ...", ...]
"""

from pathlib import Path

from tunediff.errors import TunediffError
from tunediff.sections import Pretrain
from tunediff.sources.local import read_rows
from tunediff.sources.worlds import captions


def read_texts(section: Pretrain, path: Path) -> list[str]:
    """The documents that the section pretrain names, each once, in the order of the source.

    Raises:
        TunediffError: the file has no such column, or holds no text at all.
    """
    if section.text == "world":
        return captions.text(section.documents or 0, section.seed)
    texts: dict[str, None] = {}
    for number, row in enumerate(read_rows(path), start=1):
        for column in section.columns:
            if column not in row:
                raise TunediffError(f"{path}, row {number}: has no column {column}, expected one of {', '.join(row)}")
            texts.setdefault(str(row[column]).strip())
    texts.pop("", None)
    if not texts:
        raise TunediffError(f"{path}: columns {', '.join(section.columns)} hold no text")
    return list(texts)[: section.documents]
