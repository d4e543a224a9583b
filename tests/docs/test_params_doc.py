"""docs/params.md says of every key what the code says of it: kind, default, meaning, and the stages that read it.

Where a test fails it shows the rows as they should stand in the document.
"""

import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen

from tests.imports import ROOT
from tests.keys import ALL_KEYS, DEFAULT, changed, changed_by
from tests.pipeline import NAMES
from tunediff.config.also import AlsoData, AlsoSet
from tunediff.config.data import Draw, HubData, Synthetic
from tunediff.config.grade import Grade
from tunediff.config.model import Model
from tunediff.config.params import Params
from tunediff.config.pretrain import TextFiles, Tokenizer
from tunediff.config.section import Section
from tunediff.config.task import RESERVED

DOCUMENT = (ROOT / "docs" / "params.md").read_text(encoding="utf-8")


def section_of(annotation):
    """A section, also where it may be left out."""
    return next(kind for kind in (*get_args(annotation), annotation) if kind is not type(None))


TABLES = {
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


def expected_rows(section):
    return [
        f"| `{name}` | {kind(field.annotation)}{bounds(field)} | {default(field)} | {field.description} |"
        for name, field in section.model_fields.items()
    ]


def written_rows(heading):
    """Rows of the table under a heading, header left out."""
    [text] = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("heading", TABLES)
def test_the_table_of_a_section_says_what_the_code_says(heading):
    rows = expected_rows(TABLES[heading])
    assert written_rows(heading) == rows, "\n".join(["the rows should be:", *rows])


@pytest.mark.parametrize(
    ("words", "gpu", "bfloat16"),
    [
        ("bfloat16 on GPUs that support it", True, True),
        ("float16 on others", True, False),
        ("float32 on the CPU", False, False),
    ],
)
def test_the_dtype_that_auto_stands_for_is_the_one_that_is_said(words, gpu, bfloat16, monkeypatch):
    import torch

    from tunediff.models.load import compute_dtype

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    section = Model(source="folder", id="phi-2", head="lm", quantization="none", dtype="auto")
    assert compute_dtype(section) == getattr(torch, words.split()[0])
    assert f" {words}" in Model.model_fields["dtype"].description


def test_the_document_has_no_section_that_params_yaml_has_not():
    assert set(re.findall(r"^##+ (.*)", DOCUMENT, flags=re.MULTILINE)) == {
        *TABLES,
        "Which stages a change runs again",
        "YAML pitfalls",
        "Rules between keys",
    }


def test_every_name_that_an_input_may_not_have_is_listed():
    [rule] = re.findall(r"No input may be named (.*?):", DOCUMENT, flags=re.DOTALL)
    assert set(re.findall(r"`(\w+)`", rule)) == RESERVED


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_section_names_the_stages_that_it_runs_again():
    rows = []
    without = changed(DEFAULT.model_copy(update={"also": {}}))
    for section in Params.model_fields:
        keys = [name for name in ALL_KEYS if name.startswith(f"{section}.")]
        stages = {name.partition(".")[2]: changed_by(name) for name in keys} or {section: without}
        words = [words_for(name, [key for key in stages if name in stages[key]], list(stages)) for name in NAMES]
        rows.append(f"| `{section}` | {', '.join(filter(None, words))} |")
    assert written_rows("Which stages a change runs again") == rows, "\n".join(["the rows should be:", *rows])


def words_for(stage, keys, all_keys):
    """A stage, and in parentheses the keys that run it again, or those that do not, where some do and some do not."""
    if not keys:
        return ""
    others = [key for key in all_keys if key not in keys]
    if not others:
        return f"`{stage}`"
    return f"`{stage}` ({', '.join(keys) if len(keys) <= len(others) else 'all but ' + ', '.join(others)})"
