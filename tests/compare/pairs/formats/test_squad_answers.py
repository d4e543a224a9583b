import json
import math

import pytest

from tests.compare.pairs.formats.reading import read, told
from tunediff.compare.comparison import compare_files
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.formats.squad_answers import squad_answers
from tunediff.runtime.errors import TunediffError

ANSWERS = {"q1": "Paris", "q2": "Rome", "q3": ""}


@pytest.fixture
def data(tmp_path):
    questions = [
        {"id": id_, "question": "?", "answers": [{"text": text, "answer_start": 0} for text in texts]}
        for id_, texts in (("q1", ["Paris"]), ("q2", ["Bonn"]), ("q3", []))
    ]
    path = tmp_path / "dev.json"
    paragraphs = [{"context": "Paris and Bonn.", "qas": questions}]
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return path


def listed(*odds):
    """The list that `evaluate` 0.4 takes."""
    return [
        {"id": id_, "prediction_text": text, "no_answer_probability": p}
        for (id_, text), p in zip(ANSWERS.items(), odds, strict=True)
    ]


def nbest():
    """n-best answers as run_qa of transformers writes them."""
    return {
        id_: [
            {"offsets": [0, 5], "text": text, "probability": 0.9, "start_logit": 3.0, "end_logit": 2.0},
            {"offsets": [6, 9], "text": "and", "probability": 0.1, "start_logit": 1.0, "end_logit": 1.0},
        ]
        for id_, text in ANSWERS.items()
    }


@pytest.mark.parametrize("content", [ANSWERS, listed(0.0, 0.0, 0.0), nbest()], ids=["object", "list", "nbest"])
def test_the_three_forms_say_the_same(tmp_path, data, content):
    found = read(tmp_path, "answers.json", content, data=data)
    assert told(found, "case_id", "prediction", "outcome") == [
        ["q1", "Paris", "right"],
        ["q2", "Rome", "wrong"],
        ["q3", "", "right"],
    ]
    assert squad_answers(tmp_path / "answers.json") == ANSWERS


@pytest.mark.parametrize("content", [ANSWERS, listed(0, 0, 0), nbest()], ids=["object", "list", "nbest"])
def test_without_their_data_set_they_are_known_and_refused(tmp_path, content):
    with pytest.raises(TunediffError, match="looks like a file of SQuAD predictions; expected its data set as --data"):
        read(tmp_path, "answers.json", content)


def test_probabilities_of_no_answer_become_those_of_both_labels(tmp_path, data):
    found = read(tmp_path, "answers.json", listed(0.25, 0.0, 1.0), data=data)
    assert [[math.exp(one) for one in row] for row in found.scores] == [
        pytest.approx([0.75, 0.25]),
        pytest.approx([1, 0]),
        pytest.approx([0, 1]),
    ]
    assert found.origin == "a list of answers of SQuAD, exact match; with probabilities of no answer"
    same = read(tmp_path, "answers.json", listed(0.0, 0.0, 0.0), data=data)
    assert same.scores is None
    assert same.origin.endswith("the probability of no answer is 0 throughout and ignored")


def test_odds_of_no_answer_come_from_a_file_of_their_own_and_thresholds_are_compared(tmp_path, data):
    odds = tmp_path / "null_odds.json"
    odds.write_text(json.dumps({"q1": -5.0, "q2": 2.5, "q3": 4.0, "other": 1.0}))
    found = read(tmp_path, "answers.json", ANSWERS, data=data, no_answer=odds)
    assert found.origin == "answers of SQuAD, exact match; with log-odds of no answer"
    # p / (1 - p) is exp(2.5).
    assert math.exp(found.scores[1][1]) / math.exp(found.scores[1][0]) == pytest.approx(math.exp(2.5))
    evidence = gather(compare_files([found], [found]))
    assert evidence.metrics["best_exact_base"] == pytest.approx(2 / 3)
    odds.write_text(json.dumps({"q1": 0.1, "q2": 0.1}))
    with pytest.raises(TunediffError, match="found no probability for 1 of the 3 questions"):
        read(tmp_path, "answers.json", ANSWERS, data=data, no_answer=odds)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listed(0, 0, 0) * 2, r"id: found 3 more than once \(q1, q2, q3\)"),
        ([{"id": "q1"}], "found no object of texts"),
        (nbest() | {"q1": []}, "found no object of texts"),
        (nbest() | {"q1": [{"text": 3}]}, "found no object of texts"),
        ({"q1": "x"}, "no answer to 2 of the 3 questions"),
    ],
)
def test_what_is_no_list_of_answers_is_refused(tmp_path, data, content, message):
    with pytest.raises(TunediffError, match=message):
        read(tmp_path, "answers.json", content, data=data)
