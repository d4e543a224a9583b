import doctest
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.official_squad import official_best, official_v1
from tests.shared_data import shared_data
from tunediff.metrics import squad as module
from tunediff.metrics.squad import (
    at_threshold,
    best_threshold,
    case_scores,
    exact_match,
    normalised,
    squad_scores,
    squad_v2_scores,
    token_f1,
    tuned_threshold,
)
from tunediff.runtime.errors import TunediffError


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def published(data, predictions):
    """Reference answers and published predictions of a data set."""
    articles = json.loads(shared_data(f"squad/{data}.json").read_text())["data"]
    answers = json.loads(shared_data(f"squad/{predictions}.json").read_text())
    questions = [question for article in articles for text in article["paragraphs"] for question in text["qas"]]
    return [[one["text"] for one in q["answers"]] for q in questions], [answers[q["id"]] for q in questions]


def test_the_published_predictions_of_version_2_get_their_published_scores():
    scores = squad_v2_scores(*published("dev-v2.0", "predictions-v2.0-bert-single"))
    assert scores == pytest.approx(
        {
            "exact": 78.74168280973637,
            "f1": 81.77528052374723,
            "total": 11873,
            "HasAns_exact": 74.10593792172739,
            "HasAns_f1": 80.18183293833508,
            "HasAns_total": 5928,
            "NoAns_exact": 83.36417157275021,
            "NoAns_f1": 83.36417157275021,
            "NoAns_total": 5945,
        },
        rel=1e-12,
    )


def test_the_published_predictions_of_version_1_get_their_published_scores():
    scores = squad_scores(*published("dev-v1.1", "predictions-v1.1-r-net-plus"))
    assert scores == pytest.approx({"exact_match": 82.46925260170293, "f1": 88.47785965423249}, rel=1e-12)


@pytest.mark.parametrize(
    ("answers", "prediction", "exact", "f1"),
    [
        (["Denver Broncos", "Broncos"], "the broncos!", 1, 1.0),
        (["in the park"], "park", 0, pytest.approx(2 / 3)),
        (["a b b"], "b b b", 0, pytest.approx(0.8)),  # "a" is an article; of three b two are shared
        (["Paris"], "", 0, 0.0),
        ([], "", 1, 1.0),
        ([], "the", 1, 1.0),  # nothing once normalised
        ([], "Paris", 0, 0.0),
        (["the", "Paris"], "", 0, 0.0),  # an answer that is nothing once normalised is none
    ],
)
def test_single_questions_follow_the_official_rules(answers, prediction, exact, f1):
    assert exact_match(answers, prediction) == exact
    assert token_f1(answers, prediction) == f1


def test_articles_go_as_words_only():
    assert normalised("An  ape, the theatre; A.B.") == "ape theatre ab"


TEXT = st.lists(st.sampled_from(["the", "a", "Paris", "paris.", "Rome", "!"]), max_size=4).map(" ".join)


@given(st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), TEXT), min_size=1, max_size=8))
def test_version_1_scores_empty_texts_as_its_script_does(pairs):
    answers, predictions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert squad_scores(answers, predictions) == pytest.approx(official_v1(answers, predictions))


def test_a_question_without_an_answer_is_none_of_version_1():
    with pytest.raises(TunediffError, match="question 2: found no answer"):
        squad_scores([["Paris"], []], ["Paris", ""])


def test_an_invalid_answer_is_wrong_even_where_there_is_no_answer():
    exact, f1 = case_scores([[], ["Paris"], []], [None, None, ""])
    assert (exact.tolist(), f1.tolist()) == ([0, 0, 1], [0, 0, 1])


def test_without_probabilities_there_is_no_best_as_in_the_script_without_their_file():
    assert not any(key.startswith("best") for key in squad_v2_scores([["Paris"], []], ["Paris", ""]))


def test_parts_that_are_empty_are_left_out():
    assert list(squad_v2_scores([["Paris"]], ["Paris"])) == [
        *("exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total")
    ]
    assert "HasAns_exact" not in squad_v2_scores([[]], [""])
    with pytest.raises(TunediffError, match="no question"):
        squad_v2_scores([], [])


# Few values, so that probabilities are equal and thresholds tie.
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
QUESTIONS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), PROBABILITY), min_size=1, max_size=30
)


@given(QUESTIONS)
def test_the_best_threshold_is_that_of_the_official_scan(questions):
    answerable, raw, silent, no_answer = (list(column) for column in zip(*questions, strict=True))
    scores = [score if has and not quiet else float(quiet and not has) for has, score, quiet, _ in questions]
    found = best_threshold(np.array(scores), np.array(answerable), np.array(silent), np.array(no_answer))
    texts = ["" if quiet else "text" for quiet in silent]
    assert found == official_best(scores, answerable, texts, no_answer)
    assert len(raw) == len(scores)


@given(QUESTIONS)
def test_no_threshold_scores_higher_than_the_tuned_one(questions):
    answerable = np.array([has for has, *_ in questions])
    scores = np.array([score for _, score, *_ in questions])
    no_answer = np.array([probability for *_, probability in questions])
    reached = at_threshold(scores, answerable, no_answer, tuned_threshold(scores, answerable, no_answer)).mean()
    for threshold in [0.0, *no_answer]:
        # As apply_no_ans_threshold of the official script does it.
        applied = [
            float(not has) if probability > threshold else score
            for has, score, probability in zip(answerable, scores, no_answer, strict=True)
        ]
        assert reached >= np.mean(applied) - 1e-12


def test_the_best_scores_stand_in_the_dictionary_with_their_thresholds():
    answers, predictions = [["Paris"], ["Rome"], [], []], ["Paris", "a Rome", "Oslo", "Bonn"]
    scores = squad_v2_scores(answers, predictions, no_answer=[0.1, 0.6, 0.5, 0.9])
    assert (scores["exact"], scores["best_exact"], scores["best_exact_thresh"]) == (50, 75, 0.1)
    assert (scores["best_f1"], scores["best_f1_thresh"]) == (75, 0.1)
