r"""Read plain text for pretraining as documents for training and validation.

    texts = read_texts(params.pretrain, Path("../data/wikitext2"))
    texts.train[0]          # "Robert Boulter\nRobert Boulter is an English film , television ..."

A document is a story of a synthetic data set, a sentence in a column of a file, an article of WikiText, or the text
between two empty lines of plain text. A line is a paragraph. Validation documents come from a separate file or split,
or are held out; none of them is among the training documents.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tunediff.config.pretrain import Pretrain
from tunediff.data.sources import Row
from tunediff.data.sources.hub_dataset import dataset_rows
from tunediff.data.sources.table_files import read_rows
from tunediff.data.synthetic import orders, rankings, stories, sums
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text, shown
from tunediff.runtime.hashing import content_hash

# Placeholder in WikiText's .tokens files for words outside their vocabulary.
UNKNOWN = "<unk>"
# Next-sentence prediction takes random sentences from another document.
MIN_DOCUMENTS = 2


class Texts(NamedTuple):
    """Documents to learn from and documents to validate on."""

    train: list[str]
    validation: list[str]


def read_texts(section: Pretrain, path: Path) -> Texts:
    """Read the documents that the section pretrain names, in the order of the source.

    Args:
        section: the section pretrain.
        path: its file, or the folder of its files; not used for synthetic text and the hub.

    Raises:
        TunediffError: a file or a column is missing, a row has no text, or there are too few documents.
    """
    if section.text == "synthetic":
        found = _synthetic(section)
    elif section.hub is not None:
        hub = section.hub
        splits = (dataset_rows(hub.id, hub.config, hub.revision, name) for name in Texts._fields)
        found = Texts(*(list(wikitext_articles(map(_line, rows))) for rows in splits))
    elif section.files is not None and section.files.validation is not None:
        found = Texts(*(_documents(section, path / name) for name in (section.files.train, section.files.validation)))
    else:
        file = path if section.files is None else path / section.files.train
        found = _hold_out(_documents(section, file), section)
    known = set(found.validation)
    train = [text for text in found.train if text not in known][: section.documents]
    for name, documents in (("learn from", train), ("validate on", found.validation)):
        if len(documents) < MIN_DOCUMENTS:
            raise TunediffError(
                f"{path}: found {len(documents)} documents to {name}, expected at least {MIN_DOCUMENTS} "
                f"(pretrain.text {section.text})"
            )
    return Texts(train, found.validation)


def _held_out(section: Pretrain, documents: int) -> int:
    """The number of documents to hold out."""
    return max(MIN_DOCUMENTS, round(section.held_out * documents))


def _synthetic(section: Pretrain) -> Texts:
    """Synthetic documents, and further ones that differ from all of them."""
    n = section.documents or 0
    texts = {"captions": stories.text, "sums": sums.text, "orders": orders.text, "rankings": rankings.text}
    generate = texts[section.synthetic or "captions"]
    generated = generate(n + _held_out(section, n), section.seed)
    known = set(generated[:n])
    return Texts(generated[:n], [text for text in generated[n:] if text not in known])


def _hold_out(documents: list[str], section: Pretrain) -> Texts:
    """Hold out documents that are drawn by a hash of seed and text."""
    ranked = sorted(range(len(documents)), key=lambda at: content_hash([section.seed, documents[at]]))
    drawn = set(ranked[: _held_out(section, len(documents))])
    return Texts(
        [text for at, text in enumerate(documents) if at not in drawn],
        [text for at, text in enumerate(documents) if at in drawn],
    )


def _documents(section: Pretrain, file: Path) -> list[str]:
    if section.text == "columns":
        return list(_sentences(file, section.columns))
    lines = read_text(file).split("\n")
    return list(wikitext_articles(lines) if section.text == "wikitext" else _paragraphs(lines))


def documents_of(text: str) -> list[str]:
    """Split a text into articles at WikiText's headings or, without headings, at empty lines."""
    lines = text.split("\n")
    headed = any(re.fullmatch(r"= [^=].*[^=] =", line.strip()) for line in lines)
    return list(wikitext_articles(lines) if headed else _paragraphs(lines))


def _sentences(file: Path, columns: Sequence[str]) -> dict[str, None]:
    """The distinct texts of the columns; many rows of NLI share a premise."""
    texts: dict[str, None] = {}
    for row in read_rows(file):
        for column in columns:
            if column not in row:
                raise TunediffError(f"{row.place}: has no column {column}, expected one of {', '.join(row)}")
            text = row[column]
            if not isinstance(text, str) or not text.strip():
                raise TunediffError(f"{row.place}: {column}: found {shown(text)}, expected text that is not empty")
            texts.setdefault(text.strip())
    return texts


def _line(row: Row) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise TunediffError(f"{row.place}: text: found {shown(text)}, expected a line of WikiText")
    return text


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Split plain text into documents at empty lines."""
    document: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            document.append(line.strip())
        elif document:
            yield "\n".join(document)
            document = []


def wikitext_articles(lines: Iterable[str]) -> Iterator[str]:
    """Split WikiText into articles, each starting with its title, without empty lines.

    ` = Title = ` between empty lines starts an article, ` = = Section = = ` does not. A formula between lines of text
    may look like a title. ` @-@ `, ` @,@ ` and ` @.@ ` are replaced by the original characters (Merity et al. 2016,
    "Pointer Sentinel Mixture Models", section 4.3), and the signs around headings are removed.
    """
    article: list[str] = []
    stripped = [line.strip() for line in lines]
    for before, line, after in zip(["", *stripped], stripped, [*stripped[1:], ""], strict=False):
        heading = None if before or after else re.fullmatch(r"((?:= )+)(.*?)(?: =)+", line)
        if heading and heading[1] == "= " and article:
            yield "\n".join(article)
            article = []
        if line:
            article.append(re.sub(r" @([-,.])@ ", r"\1", heading[2] if heading else line))
    if article:
        yield "\n".join(article)
