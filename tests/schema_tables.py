"""The tables of docs/formats.md and docs/metrics.md that the code has: `python -m tests.schema_tables` writes them.

table(METRICS)     # lines: | file | keys | content |, a row for names that share a description
"""

import re

from tests.imports import ROOT
from tunediff.data.cases import ANSWER_COLUMNS, PREDICTION_COLUMNS, SETTING_COLUMNS
from tunediff.data.schemas import FREE_TEXT, FURTHER_LABELS, LABELS, METRICS, QUESTIONS, TABLES

OF_QUESTIONS = "diff_cases of questions"


def rows(schema):
    """The cells of a schema: its names, and what they hold."""
    return [f"{' '.join(f'`{name}`' for name in names.split())} | {what} |" for names, what in schema.items()]


def keys(schema, kind="keys"):
    """A table of one file."""
    return [f"| {kind} | content |", "|---|---|", *(f"| {row}" for row in rows(schema))]


def files(schemas, kind, end):
    """A table of several files; the first row of each names it."""
    lines = [f"| file | {kind} | content |", "|---|---|---|"]
    for name, schema in schemas.items():
        file, _, of = name.partition(" ")
        first, *others = rows(schema)
        lines += [f"| `{file}.{end}`{of and f' {of}'} | {first}", *(f"| | {row}" for row in others)]
    return lines


def metrics():
    """Those of metrics/ but the two that docs/metrics.md has; of questions what other tasks do not have."""
    also = {key: what for key, what in METRICS[OF_QUESTIONS].items() if key not in METRICS["diff_cases"]}
    return {name: also if name == OF_QUESTIONS else schema for name, schema in METRICS.items() if schema is not LABELS}


# The first table below each heading.
PAGES = {
    "formats.md": {
        "Columns of a prediction file": keys(PREDICTION_COLUMNS, "column"),
        "Columns of further settings": keys(SETTING_COLUMNS, "column"),
        "Columns of textual answers": keys(ANSWER_COLUMNS, "column"),
        "Tables and plots": files(TABLES, "columns", "csv"),
        "Metrics": files(metrics(), "keys", "json"),
    },
    "metrics.md": {
        "Tasks with labels": keys(LABELS | FURTHER_LABELS),
        "Question answering": keys(QUESTIONS),
        "Figures of free text": keys(FREE_TEXT),
    },
}


def printed(page, text):
    """The text of a page with its tables as the code has them.

    Raises:
        ValueError: a heading has no table.
    """
    for heading, lines in PAGES[page].items():
        table = rf"(^#+ {re.escape(heading)}\n(?:(?!#|\|).*\n)*)(?:\|.*\n)+"
        new, found = re.subn(table, lambda match, to=lines: match[1] + "\n".join(to) + "\n", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{page}: {heading}: found {found} tables, expected one")
        text = new
    return text


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / "docs" / name
        path.write_text(printed(name, path.read_text(encoding="utf-8")), encoding="utf-8")
