"""Gold answers: that they stand where they say, what is refused, how they are marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.question_task import ALL_ANSWERABLE, QUESTIONS, case_of, error_of, row, section
from tests.shared_data import shared_data
from tunediff.data.cases import Answer
from tunediff.data.sources.squad_json import read_squad
from tunediff.tasks.gold_answers import marked_answer, starts


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


@pytest.mark.slow
def test_every_published_start_of_squad_is_where_its_answer_stands():
    rows = read_squad(shared_data("squad/dev-v2.0.json"))
    cases = QUESTIONS.cases(rows, section())
    assert sum(case.label == "unanswerable" for case in cases) == 5945
    for case in cases:
        for text, start in case.answers:
            assert case.inputs["context"].startswith(text, start)
    assert starts(rows, cases, section())["as given"] == sum(len(case.answers) for case in cases)


def test_an_answer_keeps_its_place_where_characters_before_it_are_written_out():
    answer = marked_answer("ab\u202ecd answer", "answer", 6)
    assert "ab⟨U+202E⟩cd answer"[answer["start"] :] == "answer"
    assert marked_answer("a text", "answer", 2)["start"] is None
    assert marked_answer("a text", "answer", None)["start"] is None
