"""The tables of docs/formats.md, metrics.md and params.md that the code declares: `python -m tests.schema_tables`.

printed("metrics.md", text)        # the text of the page, with its tables as the code has them
"""

import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen

from tests.imports import ROOT
from tunediff.config.also import AlsoData, AlsoSet
from tunediff.config.data import Draw, HubData, Synthetic
from tunediff.config.grade import Grade
from tunediff.config.params import Params
from tunediff.config.pretrain import TextFiles, Tokenizer
from tunediff.config.section import Section
from tunediff.data.cases import ANSWER_COLUMNS, PREDICTION_COLUMNS, SETTING_COLUMNS
from tunediff.data.schemas import FREE_TEXT, FURTHER_LABELS, LABELS, METRICS, QUESTIONS, STAGE_FILES, TABLES

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


def section_of(annotation):
    """A section, also where it may be left out."""
    return next(kind for kind in (*get_args(annotation), annotation) if kind is not type(None))


SECTIONS = {
    **{name: section_of(field.annotation) for name, field in Params.model_fields.items() if name != "also"},
    "task.grade": Grade,
    "also.NAME": AlsoSet,
    "also.NAME.data": AlsoData,
    "data.synthetic": Synthetic,
    "data.hub, pretrain.hub": HubData,
    "data.train, data.validation, data.test": Draw,
    "pretrain.files": TextFiles,
    "pretrain.tokenizer": Tokenizer,
}
KINDS = {bool: "true or false", str: "text", int: "whole number", float: "number", type(None): "none", Any: "anything"}
BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


def kind(annotation):
    """A type as the document writes it: `list of text`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(one) for one in arguments if one is not type(None))
    if origin is list:
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return f"{kind(arguments[0])} to {kind(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return KINDS[annotation]


def bounds(field):
    """Limits of a value: `, at least 1`."""
    limits = [
        (words, getattr(m, name)) for m in field.metadata for words, name in [BOUNDS.get(type(m), ("", ""))] if name
    ]
    said = [f"{words} {limit}" for words, limit in limits]
    said += [f"at least {m.min_length} of them" for m in field.metadata if isinstance(m, MinLen) and m.min_length > 1]
    return "".join(f", {one}" for one in said)


def default(field):
    if field.is_required():
        return "required"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"  # as YAML writes it
    return "none" if field.default in (None, []) else f"`{field.default}`"


def section_table(section):
    """The keys of a section of params.yaml."""
    head = ["| key | value | default | meaning |", "|---|---|---|---|"]
    return head + [
        f"| `{name}` | {kind(field.annotation)}{bounds(field)} | {default(field)} | {field.description} |"
        for name, field in section.model_fields.items()
    ]


# The first table below each heading.
PAGES = {
    "formats.md": {
        "Columns of a prediction file": keys(PREDICTION_COLUMNS, "column"),
        "Columns of further settings": keys(SETTING_COLUMNS, "column"),
        "Columns of textual answers": keys(ANSWER_COLUMNS, "column"),
        "Tables and plots": files(TABLES, "columns", "csv"),
        "Metrics": files(metrics(), "keys", "json"),
        "Environments and costs": files(STAGE_FILES, "keys", "json"),
    },
    "metrics.md": {
        "Tasks with labels": keys(LABELS | FURTHER_LABELS),
        "Question answering": keys(QUESTIONS),
        "Figures of free text": keys(FREE_TEXT),
    },
    "params.md": {heading: section_table(section) for heading, section in SECTIONS.items()},
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
