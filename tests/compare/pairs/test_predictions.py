import doctest

import numpy as np
import pandas as pd
import pytest

from tunediff.compare.pairs import predictions as module
from tunediff.compare.pairs.predictions import Fields, as_text, from_rows, from_table, in_tables
from tunediff.data.cases import make_cases
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.problems import Problems


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 1, 2], ["0", "1", "2"]),
        ([0, None, 2], ["0", None, "2"]),  # which pandas stores as floats
        ([0.5, 1.0], ["0.5", "1"]),
        ([True, False], ["true", "false"]),
        (["a", None, ""], ["a", None, None]),
        (
            ["1.0", "007", "1.10", "1e5", "1e+05", " a ", "True", "TRUE"],
            ["1", "007", "1.10", "1e5", "100000", "a"] + ["true"] * 2,
        ),
        ([1e19, 2, None], ["10000000000000000000", "2", None]),
        (pd.Series([2**53 + 1, None], dtype=object), ["9007199254740993", None]),
        (np.array([0.1, 2.0], dtype=np.float32), ["0.1", "2"]),
        ([b"yes", "no"], ["yes", "no"]),
        (["0", 0, 0.0, True, None], ["0", "0", "0", "true", None]),
        (pd.Categorical(["b", "a", None]), ["b", "a", None]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        ([np.int64(3), np.float32(2)], ["3", "2"]),
    ],
)
def test_a_label_is_the_same_text_whatever_it_is_stored_as(values, texts):
    problems = Problems("file")
    found = as_text(pd.Series(values), "label", problems)
    assert not problems
    assert found.astype(object).where(found.notna(), None).tolist() == texts


def test_a_list_is_no_label():
    table = pd.DataFrame({"case_id": [1, 2], "label": ["a", ["a", "b"]], "prediction": ["a", "a"]}, index=[4, 5])
    with pytest.raises(TunediffError, match=r"^f.jsonl, row 5: label: found \['a', 'b'\], expected text or a number"):
        from_table(table, Fields(), "f.jsonl")


def test_an_empty_or_missing_prediction_is_invalid_and_case_counts_but_blanks_do_not():
    table = pd.DataFrame({"case_id": range(5), "label": "yes", "prediction": ["yes", "Yes", "", None, " yes"]})
    frame = from_table(table, Fields(), "f").frame
    assert frame["outcome"].tolist() == ["right", "wrong", "invalid", "invalid", "right"]
    assert frame["prediction"].isna().tolist() == [False, False, True, True, False]
    assert frame["case_id"].tolist() == ["0", "1", "2", "3", "4"]


def test_without_an_id_cases_are_known_by_the_hash_of_their_inputs():
    table = pd.DataFrame({"text": ["one", "two", "é\u2028"], "label": "a", "prediction": "a"})
    found = from_table(table, Fields(inputs=("text",)), "f")
    cases = make_cases([({"text": text}, "a", []) for text in table["text"]])
    assert found.frame["case_id"].tolist() == [case.case_id for case in cases]
    assert found.hashed
    assert found.frame["text"].tolist() == table["text"].tolist()


def test_outcomes_of_this_projects_own_files_are_taken_as_they_are():
    own = pd.DataFrame(
        {
            "case_id": ["a"],
            "label": ["yes"],
            "prediction": ["Yes, it is."],
            "outcome": ["right"],
            "log_probs": [[-0.1, -2.4]],
            "scorer": ["generation"],
            "prompt_hash": ["p"],
        }
    )
    found = from_table(own, Fields(), "f", labels=["yes", "no"])
    assert found.frame["outcome"].tolist() == ["right"]
    assert found.scores.tolist() == [[-0.1, -2.4]]
    assert from_table(own, Fields(), "f").scores is None
    foreign = from_table(own.drop(columns="scorer"), Fields(), "f")
    assert foreign.frame["outcome"].tolist() == ["wrong"]


@pytest.mark.parametrize(
    ("fields", "columns", "message"),
    [
        (Fields(), {"label": ["a"], "prediction": ["a"]}, r"no column case_id among .*--id-field.*--input-fields"),
        (
            Fields(label="gold"),
            {"case_id": [1], "prediction": ["a"]},
            r"found no column 'gold' among \['case_id', 'prediction'\]",
        ),
        (Fields(cluster="p"), {"case_id": [1], "label": ["a"], "prediction": ["a"]}, "found no column 'p' among"),
        (Fields(), {"case_id": [1, 2], "label": ["a", None], "prediction": ["a", "a"]}, "row 1: label: found nothing"),
        (
            Fields(),
            {"case_id": [1, None], "label": ["a", "a"], "prediction": ["a", "a"]},
            r"row 1: case_id: found noth",
        ),
        (Fields(), {"case_id": [], "label": [], "prediction": []}, "found no case"),
        (
            Fields(inputs=("transition",)),
            {"case_id": [1], "label": ["a"], "prediction": ["a"], "transition": ["x"]},
            "input field transition: expected a name other than",
        ),
    ],
)
def test_what_is_missing_is_named(fields, columns, message):
    with pytest.raises(TunediffError, match=message):
        from_table(pd.DataFrame(columns), fields, "file.csv")


def test_rows_may_leave_fields_out_and_unwanted_columns_are_named_but_not_kept():
    rows = [(1, {"id": 1, "answer": "a", "long": "x" * 1000}), (3, {"id": 2})]
    table = from_rows(iter(rows), ("id", "answer", "absent"), "rows.jsonl")
    assert table.columns.tolist() == ["id", "answer", "long"]
    assert table["long"].isna().all()
    assert table["answer"].tolist()[0] == "a"
    assert table["answer"].tolist()[1] is None
    assert table.index.tolist() == [1, 3]


def test_many_rows_come_as_several_tables_with_the_columns_of_the_first(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    rows = [(1, {"id": 1}), (2, {"id": 2, "answer": "a"}), (3, {"other": 0}), (4, {"id": 4}), (5, {"id": 5})]
    tables = list(in_tables(rows, ("id", "answer"), "rows.jsonl"))
    assert [table.columns.tolist() for table in tables] == [["id", "answer"]] * 3
    assert [table.index.tolist() for table in tables] == [[1, 2], [3, 4], [5]]
    assert tables[2]["id"].tolist() == [5]
    assert tables[2]["answer"].isna().all()
