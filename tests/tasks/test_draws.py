"""Rows of a table become splits: spellings, empty cells, other encodings."""

import pytest

from tunediff.config.data import Data
from tunediff.config.task import TaskSection
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import task_of
from tunediff.tasks.draws import read_splits

INPUTS = ["subject", "body"]
TASK = task_of(
    TaskSection(
        name="classification", inputs=INPUTS, labels=["bug", "question"], source_input="body", partial_input="subject"
    )
)
TABLE = """subject;body;team
Crash;It closes at once.;bug
 Crash ;It closes again.;Bug
;It closes each time.;bug
Help; ;question
Schlüssel;Wo ist er?;question
Late;No team yet.;
"""


def drawn(folder, table=TABLE, encoding="cp1252", **options):
    (folder / "t.csv").write_text(table, encoding=encoding)
    columns = {name: name for name in INPUTS} | {"label": "team"}
    values = {"files": {"t": "t.csv"}, "columns": columns, "unlabelled": [""], "test": {"source": "t"}}
    data = Data(**(values | {"labels": {"Bug": "bug"}, "encoding": encoding} | options))
    splits, _ = read_splits(TASK, data, folder)
    return splits["test"]


def test_rows_with_an_empty_text_are_dropped_and_counted(tmp_path):
    test = drawn(tmp_path, empty="drop")
    assert [case.inputs["subject"] for case in test.cases] == ["Crash", "Crash", "Schlüssel"]
    assert [case.label for case in test.cases] == ["bug", "bug", "question"]
    assert (test.empty, test.unlabelled) == ([2, 3], [5])
    assert test.arithmetic == "6 rows read - 1 without label - 2 with an empty input = 3"


def test_rows_where_another_text_says_something_are_kept(tmp_path):
    test = drawn(tmp_path, empty="keep")
    assert [tuple(case.inputs.values()) for case in test.cases][2:4] == [("", "It closes each time."), ("Help", "")]
    nothing = TABLE + " ; ;bug\n"
    with pytest.raises(TunediffError, match=r"row 8: subject, body: found no text in any, expected text in one"):
        drawn(tmp_path, nothing, empty="keep")


def test_they_stop_the_run_where_nothing_is_said_of_them(tmp_path):
    with pytest.raises(TunediffError) as caught:
        drawn(tmp_path)
    assert any("row 4: subject: found '', expected text that is not empty" in line for line in caught.value.args)


def test_a_spelling_that_nobody_names_is_refused_with_its_row(tmp_path):
    with pytest.raises(TunediffError, match=r"row 3: team: found 'Bug', expected one of bug, question"):
        drawn(tmp_path, labels=None, empty="drop")
