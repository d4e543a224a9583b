"""Questions as cases: labels, what is refused; free answers as texts."""

import doctest

import pytest

from tests.question_task import CONTEXT, QUESTIONS, case_of, error_of, row, section
from tunediff.data.cases import Answer, read_cases, write_cases
from tunediff.tasks import question_answering
from tunediff.tasks.question_answering import parse_answer


def test_the_documented_examples_hold():
    assert doctest.testmod(question_answering) == (0, 2)


def test_a_question_with_answers_is_answerable_and_one_without_is_not():
    case = case_of(["in the park"], [11], tags=["where"])
    assert case.inputs == {"question": "Where is the dog?", "context": CONTEXT}
    assert (case.label, case.answers, case.tags) == ("answerable", (Answer("in the park", 11),), ("where",))
    empty = case_of([], [])
    assert (empty.label, empty.answers) == ("unanswerable", ())


def test_a_row_that_is_marked_as_unlabelled_is_no_case():
    rows = [row(["green"], [36]), row([], [], answers=None), row([], [])]
    first, gap, last = QUESTIONS.cases(rows, section(unlabelled=[None]))
    assert (first.label, gap, last.label) == ("answerable", None, "unanswerable")


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
