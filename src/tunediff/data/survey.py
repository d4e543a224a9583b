"""Survey a table of labelled texts: labels and their spellings, empty cells, duplicates.

found = survey(rows, ["subject", "body"], "team")
found.labels         # {"Billing": 231, "Technical": 198}, the most frequent first, including other spellings
found.spellings      # {"billing": "Billing"}: values that differ only in case, spaces and punctuation
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tunediff.data.sources import Row
from tunediff.data.values import key_of

# A label with at most this share of the rows of another one, and with a name of at least this similarity, may be a
# misspelling of it.
RARE, NEARLY = 0.1, 0.85


class Survey(NamedTuple):
    """The results of a survey."""

    rows: int
    labels: dict[str, int]
    """Number of rows of each label, including its other spellings, the most frequent first."""
    spellings: dict[str, str]
    """The label of each value that differs from it only in case, spaces and punctuation."""
    alike: dict[str, str]
    """Rare labels, each with a frequent label of a similar name."""
    unlabelled: int
    empty: dict[str, int]
    """Number of rows in which each column of text is empty; columns without such rows are omitted."""
    duplicates: int
    """Number of rows whose texts repeat those of an earlier row."""
    contradictory: int
    """Number of distinct texts that occur with different labels."""
    texts: dict[str, list[str]]
    """The texts of each column that are not empty, in the order of the rows."""
    golds: list[str]
    """The values of the column of the label, unchanged."""


def survey(rows: Sequence[Row], texts: Sequence[str], label: str) -> Survey:
    """Survey the rows of a table, by its columns of text and its column of labels."""
    values = [key_of(row.get(label)) or "" for row in rows]
    spellings = _spellings(Counter(value for value in values if value))
    given = [spellings.get(value, value) for value in values]
    labels = Counter(value for value in given if value)
    columns = {column: [key_of(row.get(column)) or "" for row in rows] for column in texts}
    labels_of: dict[tuple[str, ...], set[str]] = defaultdict(set)
    seen: Counter[tuple[str, ...]] = Counter()
    for at, value in enumerate(given):
        key = tuple(cells[at] for cells in columns.values())
        seen[key] += 1
        labels_of[key].add(value)
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


def _spellings(counts: Counter[str]) -> dict[str, str]:
    """The most frequent spelling of each value that is another spelling of it."""
    like: dict[str, list[str]] = defaultdict(list)
    for value in sorted(counts, key=lambda value: (-counts[value], value)):
        # Values of punctuation only, such as + and -, are not spellings of each other.
        like[re.sub(r"[\W_]+", "", value.casefold()) or value].append(value)
    return {other: usual for usual, *others in like.values() for other in others}


def _alike(labels: Counter[str]) -> dict[str, str]:
    found = {}
    # Free-text columns have many rare values, so the comparison is limited to common ones.
    common = {label: most for label, most in labels.items() if RARE * most >= 1}
    for rare, count in labels.items():
        frequent = [label for label, most in common.items() if count <= RARE * most]
        if near := difflib.get_close_matches(rare, frequent, n=1, cutoff=NEARLY):
            found[rare] = near[0]
    return found
