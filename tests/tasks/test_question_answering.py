"""Questions as cases: labels, answers that stand where they say, what is refused; free answers as texts."""

import doctest
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import small_tasks
from tests.shared_data import shared_data
from tunediff.config.data import Data
from tunediff.data.cases import Answer, read_cases, write_cases
from tunediff.data.sources import Row
from tunediff.data.sources.squad_json import read_squad
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import question_answering, task_of
from tunediff.tasks.question_answering import parse_answer, starts

CONTEXT = "The dog is in the park. The park is green."
QUESTIONS = task_of(small_tasks.QUESTIONS)
ALL_ANSWERABLE = replace(QUESTIONS, labels=["answerable"])


def section(**changes):
    return Data(
        source="files",
        path="data/raw",
        files={"train": "train.jsonl"},
        columns={"question": "question", "context": "context", "answers": "answers"},
        **{split: {"source": "train"} for split in ("train", "validation", "test")},
        **changes,
    )


def row(texts, given, **changes):
    values = {"question": "Where is the dog?", "context": CONTEXT, "answers": {"text": texts, "answer_start": given}}
    return Row(values | changes, "data/raw/train.jsonl", 12)


def case_of(*arguments, **changes):
    [case] = QUESTIONS.cases([row(*arguments, **changes)], section())
    return case


def error_of(bad, task=QUESTIONS):
    with pytest.raises(TunediffError) as caught:
        task.cases([bad], section())
    [line] = caught.value.args
    assert line.startswith("data/raw/train.jsonl, row 12: ")
    return line.removeprefix("data/raw/train.jsonl, row 12: ")


def test_the_documented_examples_hold():
    assert doctest.testmod(question_answering) == (0, 2)


def test_a_question_with_answers_is_answerable_and_one_without_is_not():
    case = case_of(["in the park"], [11], tags=["where"])
    assert case.inputs == {"question": "Where is the dog?", "context": CONTEXT}
    assert (case.label, case.answers, case.tags) == ("answerable", (Answer("in the park", 11),), ("where",))
    empty = case_of([], [])
    assert (empty.label, empty.answers) == ("unanswerable", ())


def test_a_repeated_answer_stands_once_and_the_order_stays():
    case = case_of(["the park", "park", "the park", "the park"], [14, 18, 14, 24])
    assert case.answers == (Answer("the park", 14), Answer("park", 18))


@pytest.mark.parametrize("given", [None, 0, -9, 12, 10_000])
def test_a_start_that_is_missing_or_wrong_becomes_the_first_occurrence(given):
    assert case_of(["in the park"], [given]).answers == (Answer("in the park", 11),)


def test_a_start_that_is_right_stays_even_where_the_answer_stands_earlier_too():
    assert case_of(["park"], [28]).answers == (Answer("park", 28),)


def test_an_answer_that_the_context_does_not_hold_has_no_start():
    assert case_of(["in the yard"], [11]).answers == (Answer("in the yard", None),)


def test_starts_may_be_left_out_altogether():
    bare = {"answers": {"text": ["green"]}}
    assert case_of([], [], **bare).answers == (Answer("green", 36),)


def test_how_starts_came_about_is_counted():
    rows = [row(["green", "park", "yard"], [36, None, 3]), row([], []), row(["The dog", "The dog"], [0, 0])]
    cases = QUESTIONS.cases(rows, section())
    assert starts(rows, cases, section()) == {
        "as given": 2,
        "found in the context": 1,
        "nowhere in the context": 1,
    }


@given(
    context=st.text("ab ", min_size=1, max_size=30).filter(str.strip),
    text=st.text("ab", min_size=1, max_size=3),
    given_start=st.integers(-40, 40) | st.none(),
)
def test_a_start_is_always_where_the_answer_stands(context, text, given_start):
    [answer] = case_of([text], [given_start], context=context).answers
    assert (answer.start is None) == (text not in context)
    if answer.start is not None:
        assert context[answer.start : answer.start + len(text)] == text
        assert answer.start in (given_start, context.find(text))


def test_a_question_without_an_answer_is_refused_where_every_question_has_one():
    line = error_of(row([], []), ALL_ANSWERABLE)
    assert line == (
        "answers: found no answer, but task.labels is ['answerable']; expected an answer, or task.labels "
        "[answerable, unanswerable]"
    )


def test_a_row_that_is_marked_as_unlabelled_is_no_case():
    rows = [row(["green"], [36]), row([], [], answers=None), row([], [])]
    first, gap, last = QUESTIONS.cases(rows, section(unlabelled=[None]))
    assert (first.label, gap, last.label) == ("answerable", None, "unanswerable")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (None, "answers: found None, expected"),
        ("green", "answers: found 'green', expected"),
        ([{"text": "green", "answer_start": 36}], "expected {"),
        ({"text": "green", "answer_start": 36}, "expected {"),
        ({"text": ["green"], "answer_start": []}, "answers: found 1 texts and 0 starts, expected as many of each"),
        ({"text": ["green"], "answer_start": ["36"]}, "answers: answer_start: found '36', expected a whole number"),
        ({"text": ["green"], "answer_start": [True]}, "answers: answer_start: found True, expected a whole number"),
        ({"text": [" "], "answer_start": [3]}, "answers: found ' ', expected text that is not empty"),
        ({"text": ["a\ud800"], "answer_start": [3]}, "answers: found the character"),
    ],
)
def test_answers_in_another_layout_are_refused(answers, expected):
    assert expected in error_of(row([], [], answers=answers))


@pytest.mark.parametrize("column", ["question", "context", "answers"])
def test_a_missing_column_is_named(column):
    bad = row(["green"], [36])
    del bad[column]
    assert error_of(bad).startswith(f"has no column '{column}'; its columns: ")


def test_an_empty_question_is_refused():
    assert error_of(row(["green"], [36], question=" ")) == "question: found ' ', expected text that is not empty"


def test_cases_with_answers_go_through_a_file_unchanged(tmp_path):
    cases = [case_of(["the park", "yard"], [14, None]), case_of([], [], question="Why?")]
    write_cases(tmp_path / "test.jsonl", cases)
    assert read_cases(tmp_path / "test.jsonl", QUESTIONS.inputs, QUESTIONS.labels) == cases


BOTH = ["answerable", "unanswerable"]


@pytest.mark.parametrize(
    ("text", "labels", "answer"),
    [
        ("  in the park \nQuestion: Who?", BOTH, "in the park"),
        ("\n\n Paris.", BOTH, "Paris."),
        ("unanswerable", BOTH, ""),
        (' "UNANSWERABLE." \nmore', BOTH, ""),
        ("unanswerable", ["answerable"], "unanswerable"),
        ("unanswerable questions", BOTH, "unanswerable questions"),
        ("", BOTH, None),
        (" \n ", ["answerable"], None),
    ],
)
def test_a_free_answer_is_its_first_line_or_says_that_there_is_none(text, labels, answer):
    assert parse_answer(text, labels) == answer


def test_every_published_start_of_squad_is_where_its_answer_stands():
    rows = read_squad(shared_data("squad/dev-v2.0.json"))
    cases = QUESTIONS.cases(rows, section())
    assert sum(case.label == "unanswerable" for case in cases) == 5945
    for case in cases:
        for text, start in case.answers:
            assert case.inputs["context"].startswith(text, start)
    assert starts(rows, cases, section())["as given"] == sum(len(case.answers) for case in cases)
