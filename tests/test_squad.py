import doctest
import json

import pytest

from tests.shared_data import shared_data
from tunediff import squad as module
from tunediff.squad import exact_match, normalised, token_f1


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("data", "predictions", "part", "n", "exact", "f1"),
    [
        ("dev-v2.0", "predictions-v2.0-bert-single", None, 11873, 78.74168280973637, 81.77528052374723),
        ("dev-v2.0", "predictions-v2.0-bert-single", True, 5928, 74.10593792172739, 80.18183293833508),
        ("dev-v2.0", "predictions-v2.0-bert-single", False, 5945, 83.36417157275021, 83.36417157275021),
        ("dev-v1.1", "predictions-v1.1-r-net-plus", None, 10570, 82.46925260170293, 88.47785965423249),
    ],
)
def test_published_predictions_get_their_published_scores(data, predictions, part, n, exact, f1):
    articles = json.loads(shared_data(f"squad/{data}.json").read_text())["data"]
    answers = json.loads(shared_data(f"squad/{predictions}.json").read_text())
    questions = [question for article in articles for text in article["paragraphs"] for question in text["qas"]]
    scored = [
        ([answer["text"] for answer in question["answers"]], answers[question["id"]])
        for question in questions
        if part is None or bool(question["answers"]) == part
    ]
    assert len(scored) == n
    assert 100 * sum(exact_match(*pair) for pair in scored) / n == pytest.approx(exact, rel=1e-12)
    assert 100 * sum(token_f1(*pair) for pair in scored) / n == pytest.approx(f1, rel=1e-12)


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
