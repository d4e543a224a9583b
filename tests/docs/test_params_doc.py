"""docs/params.md says what the code says: its sections, the stages that a key runs again, names that are reserved.

Its tables of keys are compared in test_schema_tables.py. A test that fails shows the rows as they should be.
"""

import re

import pytest

from tests.imports import ROOT
from tests.keys import ALL_KEYS, DEFAULT, changed, changed_by
from tests.pipeline import NAMES
from tests.schema_tables import SECTIONS
from tunediff.config.model import Model
from tunediff.config.params import Params
from tunediff.config.task import RESERVED

DOCUMENT = (ROOT / "docs" / "params.md").read_text(encoding="utf-8")


def written_rows(heading):
    """Rows of the table under a heading, header left out."""
    [text] = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if line.startswith("| `")]


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
        *SECTIONS,
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
