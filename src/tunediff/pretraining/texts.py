r"""Plain text for pretraining, as documents: what the model learns from, and what it is validated on.

    texts = read_texts(params.pretrain, Path("../data/wikitext2"))
    texts.train[0]          # "Robert Boulter\nRobert Boulter is an English film , television ..."

A document is a story of a synthetic data set, a sentence of a file's columns, an article of WikiText, or what lies
between two empty lines of a plain text. A line of it is a paragraph. Documents for validation come from a file or a
split of their own, or are held out; none of them is among those that the model learns from.
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

# What stands in WikiText's .tokens files for a word that is not in their vocabulary.
UNKNOWN = "<unk>"
# Next-sentence prediction takes its random sentences from another document, so one alone would not do.
FEWEST = 2


class Texts(NamedTuple):
    """Documents to learn from and documents to validate on."""

    train: list[str]
    validation: list[str]


def read_texts(section: Pretrain, path: Path) -> Texts:
    """The documents that the section pretrain names, in the order of the source.

    Args:
        section: the section pretrain.
        path: its file, or the folder of its files; synthetic text and the hub do not read it.

    Raises:
        TunediffError: a file or a column is missing, a row holds no text, or too few documents are there.
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
        if len(documents) < FEWEST:
            raise TunediffError(
                f"{path}: found {len(documents)} documents to {name}, expected at least {FEWEST} "
                f"(pretrain.text {section.text})"
            )
    return Texts(train, found.validation)


def _held_out(section: Pretrain, documents: int) -> int:
    """How many documents are held out of so many."""
    return max(FEWEST, round(section.held_out * documents))


def _synthetic(section: Pretrain) -> Texts:
    """Synthetic documents, and further ones of which none is among them."""
    n = section.documents or 0
    texts = {"captions": stories.text, "sums": sums.text, "orders": orders.text, "rankings": rankings.text}
    write = texts[section.synthetic or "captions"]
    written = write(n + _held_out(section, n), section.seed)
    known = set(written[:n])
    return Texts(written[:n], [text for text in written[n:] if text not in known])


def _hold_out(documents: list[str], section: Pretrain) -> Texts:
    """Documents drawn by a hash of seed and text, and the others."""
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
    """The articles of a text where WikiText's headings part it, else its paragraphs."""
    lines = text.split("\n")
    headed = any(re.fullmatch(r"= [^=].*[^=] =", line.strip()) for line in lines)
    return list(wikitext_articles(lines) if headed else _paragraphs(lines))


def _sentences(file: Path, columns: Sequence[str]) -> dict[str, None]:
    """The text of the columns, each once: many rows of NLI share a premise."""
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
    """Documents of plain text: the lines between two empty ones."""
    document: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            document.append(line.strip())
        elif document:
            yield "\n".join(document)
            document = []


def wikitext_articles(lines: Iterable[str]) -> Iterator[str]:
    """The articles of WikiText, title first, without empty lines.

    ` = Title = ` between empty lines starts an article and ` = = Section = = ` does not; a formula may look like a
    title and stands between lines of text. ` @-@ `, ` @,@ ` and ` @.@ ` are joined to what they were (Merity et al.
    2016, "Pointer Sentinel Mixture Models", section 4.3); headings lose their signs.
    """
    article: list[str] = []
    given = [line.strip() for line in lines]
    for before, line, after in zip(["", *given], given, [*given[1:], ""], strict=False):
        heading = None if before or after else re.fullmatch(r"((?:= )+)(.*?)(?: =)+", line)
        if heading and heading[1] == "= " and article:
            yield "\n".join(article)
            article = []
        if line:
            article.append(re.sub(r" @([-,.])@ ", r"\1", heading[2] if heading else line))
    if article:
        yield "\n".join(article)
