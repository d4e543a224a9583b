import hashlib
from operator import attrgetter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.whole_files import write_predictions
from tunediff.data import cases
from tunediff.data.cases import (
    PREDICTION_COLUMNS,
    Answer,
    Case,
    environment_of,
    make_cases,
    outcome,
    read_cases,
    read_predictions,
    write_cases,
)
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hashing import content_hash

INPUTS, LABELS = ["premise", "hypothesis"], ["yes", "no"]
TEXT = st.text(max_size=30)  # never a lone surrogate, which no UTF-8 file can hold
EXAMPLES = st.lists(
    st.tuples(
        st.fixed_dictionaries({"premise": TEXT, "hypothesis": TEXT}),
        st.sampled_from(LABELS),
        st.lists(TEXT, max_size=2),
    ),
    max_size=10,
)


def example(premise="p", hypothesis="h", label="yes", tags=()):
    return {"premise": premise, "hypothesis": hypothesis}, label, tags


def error_of(call, *args):
    with pytest.raises(TunediffError) as caught:
        call(*args)
    [line] = caught.value.args
    return line


def test_a_case_id_is_the_start_of_the_sha256_of_the_inputs_as_json():
    [case] = make_cases([example("Ein Tier.", "é")])
    assert case.case_id == hashlib.sha256(b'{"hypothesis":"\\u00e9","premise":"Ein Tier."}').hexdigest()[:16]


def test_a_case_keeps_its_id_when_its_label_or_tags_are_corrected():
    first, second = make_cases([example()]), make_cases([example(label="no", tags=("negation",))])
    assert first[0].case_id == second[0].case_id


def test_the_order_of_the_input_fields_does_not_change_the_id():
    [case] = make_cases([({"hypothesis": "h", "premise": "p"}, "yes", ())])
    assert case.case_id == make_cases([example()])[0].case_id


def test_swapped_inputs_are_another_case():
    first, second = make_cases([example("a", "b"), example("b", "a")])
    assert first.case_id != second.case_id


@given(rows=EXAMPLES)
def test_ids_are_unique_also_where_inputs_repeat(rows):
    cases = make_cases([*rows, *rows])
    assert len({case.case_id for case in cases}) == len(cases)


@given(rows=EXAMPLES)
def test_an_id_depends_on_no_other_row_that_has_other_inputs(rows):
    alone = [make_cases([row])[0].case_id for row in rows]
    together = [case.case_id for case in make_cases(rows)]
    inputs = [row[0] for row in rows]
    once = [i for i, row in enumerate(inputs) if inputs.count(row) == 1]
    assert [alone[i] for i in once] == [together[i] for i in once]
    assert set(alone) <= set(together)


@given(rows=EXAMPLES, data=st.data())
def test_the_cases_are_the_same_for_any_order_of_the_rows_repeated_inputs_with_other_labels_included(rows, data):
    rows = [*rows, *((inputs, "no", tags) for inputs, _, tags in rows)]
    shuffled = data.draw(st.permutations(rows))
    key = attrgetter("case_id")
    assert sorted(make_cases(shuffled), key=key) == sorted(make_cases(rows), key=key)


def test_a_question_that_stands_twice_with_other_answers_has_the_same_ids_in_any_order():
    inputs = {"question": "Where?", "context": "In Rome, in June."}
    rows = [(inputs, "answerable", (), (Answer(text, None),)) for text in ("Rome", "June", "in Rome")]
    ids = {case.answers: case.case_id for case in make_cases(rows)}
    assert len(set(ids.values())) == 3
    assert {case.answers: case.case_id for case in make_cases(rows[::-1])} == ids


@given(value=st.dictionaries(TEXT, TEXT | st.integers() | st.none()))
def test_a_content_hash_is_16_hexadecimal_digits(value):
    assert len(content_hash(value)) == 16
    assert int(content_hash(value), 16) >= 0
    assert content_hash(value) == content_hash(dict(reversed(value.items())))


@given(rows=EXAMPLES.filter(bool))
def test_any_case_is_read_back_as_it_was_written(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("cases") / "test.jsonl"
    cases = make_cases(rows)
    write_cases(path, cases)
    assert read_cases(path, INPUTS, LABELS) == cases


def write_lines(path, *lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_case_without_one_of_its_fields_is_named(tmp_path):
    good = '{"case_id": "0", "premise": "p", "hypothesis": "h", "label": "yes"}'
    path = write_lines(tmp_path / "test.jsonl", good, '{"case_id": "1", "premise": "p", "label": "yes"}')
    assert error_of(read_cases, path, INPUTS, LABELS) == f"{path}, row 2: hypothesis: found None, expected text"


def test_a_case_is_named_by_its_line_also_after_an_empty_one(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", "", '{"case_id": "1", "premise": "p", "label": "yes"}')
    assert error_of(read_cases, path, INPUTS, LABELS) == f"{path}, row 2: hypothesis: found None, expected text"


def test_a_case_with_an_unknown_label_is_named(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", '{"case_id": "0", "premise": "p", "hypothesis": "h", "label": "si"}')
    assert error_of(read_cases, path, INPUTS, LABELS) == f"{path}, row 1: label: found 'si', expected one of yes, no"


def test_a_file_without_a_case_is_refused(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", "")
    assert error_of(read_cases, path, INPUTS, LABELS) == f"{path}: has no case, expected at least one"


def predictions():
    return pd.DataFrame(
        {
            "case_id": ["0f", "1e"],
            "label": LABELS,
            "prediction": ["yes", None],
            "outcome": ["right", "invalid"],
            "log_probs": [[-0.1, -2.3], [-0.7, np.log(0.5)]],
            "text": ["yes", "perhaps\u2028 <b>"],
            "finish_reason": ["stop", "length"],
            "scorer": ["generation"] * 2,
            "prompt_hash": ["aa", "bb"],
            "n_tokens": [12, 13],
            "truncated": [False, True],
        }
    )


def test_predictions_are_read_back_with_what_made_them(tmp_path):
    path, about = tmp_path / "base.parquet", {"labels": LABELS, "model": "base", "n": 2}
    # Another order of the columns, and one more, as frames have them along the way.
    write_predictions(path, predictions().assign(margin=1.0)[["margin", *reversed(PREDICTION_COLUMNS)]], about)
    frame, read_about = read_predictions(path)
    assert read_about == about
    assert list(frame) == list(PREDICTION_COLUMNS)
    assert frame["prediction"].tolist() == ["yes", None]
    assert [list(row) for row in frame["log_probs"]] == predictions()["log_probs"].tolist()
    for name in ("case_id", "text", "n_tokens", "truncated", "outcome"):
        assert frame[name].tolist() == predictions()[name].tolist()


def test_predictions_lie_in_row_groups_that_can_be_read_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "ROWS", 3)
    write_predictions(tmp_path / "base.parquet", pd.concat([predictions()] * 4), {})
    file = pq.ParquetFile(tmp_path / "base.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 3, 2]


def test_answers_to_other_ways_to_ask_are_read_back_where_there_are_any(tmp_path):
    path = tmp_path / "base.parquet"
    asked = {"generated": [None, "no"], "generated_text": ["hm", "no"], "premise_free_log_probs": [[-0.5, -1.0]] * 2}
    write_predictions(path, predictions().assign(**asked), {})
    frame, _ = read_predictions(path)
    assert list(frame) == [*PREDICTION_COLUMNS, *asked]
    assert frame["generated"].tolist() == [None, "no"]
    assert [list(row) for row in frame["premise_free_log_probs"]] == asked["premise_free_log_probs"]


def test_a_prediction_is_right_wrong_or_invalid():
    assert [outcome(answer, "yes") for answer in ("yes", "no", None)] == ["right", "wrong", "invalid"]


def test_the_same_predictions_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_predictions(tmp_path / name, predictions(), {"model": "base", "labels": LABELS})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_prediction_file_that_is_missing_damaged_or_lacks_a_column_is_named(tmp_path):
    assert error_of(read_predictions, tmp_path / "none.parquet").endswith("none.parquet: there is no such file")
    (tmp_path / "text.parquet").write_text("case_id,label\n")
    assert "text.parquet: is not a readable Parquet file" in error_of(read_predictions, tmp_path / "text.parquet")
    predictions().drop(columns=["log_probs", "text"]).to_parquet(tmp_path / "less.parquet")
    assert "less.parquet: has no column log_probs, text, expected" in error_of(
        read_predictions, tmp_path / "less.parquet"
    )


def test_the_answers_of_a_question_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "test.jsonl"
    inputs = {"question": "Where?", "context": "It is in the park."}
    case = Case("c1", inputs, "answerable", (), (Answer("in the park", 6), Answer("the park", None)))
    write_cases(path, [case])
    assert read_cases(path, ["question", "context"], ["answerable"]) == [case]


def test_an_answer_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"case_id": "c1", "question": "q", "label": "answerable", "answers": ["park"]}\n')
    with pytest.raises(TunediffError, match=r"row 1: answers: found 'park', expected"):
        read_cases(path, ["question"], ["answerable"])


def test_what_a_prediction_file_was_computed_with_is_read_back(tmp_path):
    where = {"torch": "2.13.0", "device": "NVIDIA H200"}
    write_predictions(tmp_path / "base.parquet", predictions(), {"labels": LABELS, "environment": where})
    assert environment_of(read_predictions(tmp_path / "base.parquet")[1]) == where


@given(about=st.recursive(st.none() | st.integers() | TEXT, lambda one: st.lists(one) | st.dictionaries(TEXT, one)))
def test_an_environment_is_short_printable_text_whatever_a_file_of_others_says(about):
    for said in (about, {"environment": about}, {"environment": {"\x1b[31m": "\u202e" * 1000, "device": about}}):
        found = environment_of(said)
        assert len(found) <= 20
        assert all(text.isprintable() and len(text) <= 100 for pair in found.items() for text in pair)


def test_a_case_may_have_null_for_no_tags_and_no_answers(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"case_id": "c1", "question": "q", "label": "yes", "tags": null, "answers": null}\n')
    (case,) = read_cases(path, ["question"], ["yes"])
    assert (case.tags, case.answers) == ((), ())
    path.write_text('{"case_id": "c1", "question": "q", "label": "yes", "tags": 3}\n')
    with pytest.raises(TunediffError, match="row 1: tags: found 3, expected a list"):
        read_cases(path, ["question"], ["yes"])
