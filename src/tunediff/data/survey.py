"""What a table of labelled texts holds: its labels and how they are spelled, empty cells, duplicates.

found = survey(rows, ["subject", "body"], "team")
found.labels         # {"Billing": 231, "Technical": 198}, the most frequent first, other spellings with them
found.spellings      # {"billing": "Billing"}: what differs in case, blanks and punctuation alone
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tunediff.data.sources import Row
from tunediff.data.values import value_text

# A label of at most this share of the rows of another, whose name it nearly has, may be a misspelling of it.
RARE, NEARLY = 0.1, 0.85


class Survey(NamedTuple):
    """What was found, counted in rows."""

    rows: int
    labels: dict[str, int]
    """Rows of each label, the most frequent first; those of its other spellings are among them."""
    spellings: dict[str, str]
    """The label of each value that differs from it in case, blanks and punctuation alone."""
    alike: dict[str, str]
    """Rare labels, each with a frequent one whose name it nearly has."""
    unlabelled: int
    empty: dict[str, int]
    """Rows in which a column of text is empty; columns without such rows are left out."""
    duplicates: int
    """Rows whose texts stand in an earlier row too."""
    contradictory: int
    """Different texts that stand in rows of different labels."""
    texts: dict[str, list[str]]
    """The texts of each column that are not empty, in the order of the rows."""
    golds: list[str]
    """Those of the column of the label, as they stand there."""


def survey(rows: Sequence[Row], texts: Sequence[str], label: str) -> Survey:
    """Look at each row once.

    Args:
        rows: of a table.
        texts: the columns that are read.
        label: the column of the label.
    """
    values = [_text(row.get(label)) for row in rows]
    spellings = _spellings(Counter(value for value in values if value))
    given = [spellings.get(value, value) for value in values]
    labels = Counter(value for value in given if value)
    labels_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    seen: Counter[tuple[str, ...]] = Counter()
    for row, value in zip(rows, given, strict=True):
        key = tuple(_text(row.get(column)) for column in texts)
        seen[key] += 1
        labels_of[key].add(value)
    columns = {column: [_text(row.get(column)) for row in rows] for column in texts}
    return Survey(
        rows=len(rows),
        labels=dict(sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))),
        spellings=spellings,
        alike=_alike(labels),
        unlabelled=given.count(""),
        empty={column: cells.count("") for column, cells in columns.items() if "" in cells},
        duplicates=sum(count - 1 for count in seen.values()),
        contradictory=sum(len(one - {""}) > 1 for one in labels_of.values()),
        texts={column: [cell for cell in cells if cell] for column, cells in columns.items()},
        golds=[value for value in values if value],
    )


def _text(value: object) -> str:
    try:
        return value_text(value) or ""
    except TypeError:
        return str(value)


def _spellings(counts: Counter[str]) -> dict[str, str]:
    """The most frequent spelling of each value that is another spelling of it."""
    like: dict[str, list[str]] = defaultdict(list)
    for value in sorted(counts, key=lambda value: (-counts[value], value)):
        # What is punctuation alone, such as + and -, is no spelling of anything.
        like[re.sub(r"[\W_]+", "", value.casefold()) or value].append(value)
    return {other: usual for usual, *others in like.values() for other in others}


def _alike(labels: Counter[str]) -> dict[str, str]:
    found = {}
    # Where the values are texts, there are many rare ones.
    common = {label: most for label, most in labels.items() if RARE * most >= 1}
    for rare, count in labels.items():
        frequent = [label for label, most in common.items() if count <= RARE * most]
        if near := difflib.get_close_matches(rare, frequent, n=1, cutoff=NEARLY):
            found[rare] = near[0]
    return found
