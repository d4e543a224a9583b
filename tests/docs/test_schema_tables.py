"""The tables of docs/formats.md, metrics.md and params.md are the schemas of the code.

`python -m tests.schema_tables` writes them.
"""

import pytest

from tests.imports import ROOT
from tests.schema_tables import PAGES, printed
from tunediff.compare.effects.health import COLUMNS as REVIEWED
from tunediff.compare.effects.slices import COLUMNS as SLICES
from tunediff.data.schemas import METRICS, TABLES, names
from tunediff.models.parameters import ParameterRow


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_a_page_are_those_of_the_code(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert text == printed(page, text), "run: python -m tests.schema_tables"


@pytest.mark.parametrize("schema", [*TABLES.values(), *METRICS.values()], ids=[*TABLES, *METRICS])
def test_a_name_stands_once_in_a_schema(schema):
    assert len(set(names(schema))) == len(names(schema))


def test_the_columns_that_the_code_lists_elsewhere_are_those_of_the_schema():
    assert names(TABLES["slices"]) == SLICES
    assert names(TABLES["labels_to_review"]) == REVIEWED
    assert names(TABLES["parameters"]) == ParameterRow._fields
