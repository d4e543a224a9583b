import re

import numpy as np
import pandas as pd
import pytest
from tunediff.metrics.eval_summary import summary
from tunediff.metrics.scores import has_threshold, score

from tests.imports import ROOT
from tests.small_tasks import PAIR, QUESTIONS
from tunediff.config.model import Model
from tunediff.data.cases import read_predictions, write_predictions
from tunediff.metrics import accuracy
from tunediff.metrics.answer_scores import score_answers

SURE = np.log([0.8, 0.2]).tolist()


def rows(**columns):
    n = len(columns["prediction"])
    common = {"case_id": [str(i) for i in range(n)], "text": "", "finish_reason": "none", "scorer": "head"}
    return pd.DataFrame(common | {"prompt_hash": "", "n_tokens": 9, "truncated": False} | columns)


ANSWERED = rows(
    label=["answerable", "answerable", "unanswerable"],
    prediction=["Paris", None, ""],
    outcome=["right", "invalid", "right"],
    log_probs=[SURE, SURE, SURE[::-1]],
    answers=[["Paris", "in Paris"], ["Rome"], []],
    f1=[1.0, 0.0, 1.0],
)
LABELS = rows(
    label=["yes", "no", "no"],
    prediction=["yes", "no", None],
    outcome=["right", "right", "invalid"],
    log_probs=[SURE] * 3,
)


def test_a_task_with_labels_is_scored_as_one():
    expected = accuracy.score(PAIR.labels, LABELS["label"], LABELS["prediction"], LABELS["log_probs"])
    assert score(PAIR, LABELS) == expected


def test_answers_are_scored_as_they_come_back_from_a_prediction_file(tmp_path):
    write_predictions(tmp_path / "base.parquet", ANSWERED, {})
    frame, _ = read_predictions(tmp_path / "base.parquet")
    found = score(QUESTIONS, frame)
    assert found == score_answers([["Paris", "in Paris"], ["Rome"], []], ["Paris", None, ""], [SURE, SURE, SURE[::-1]])
    assert (found["exact"], found["invalid"]) == (pytest.approx(200 / 3), 1)
    assert "best_exact" in found
    assert "validated_exact" in score(QUESTIONS, frame, frame)


@pytest.mark.parametrize("log_probs", [[None] * 3, [[0.0]] * 3])
def test_a_model_without_two_probabilities_has_no_threshold(log_probs):
    assert "best_exact" not in score(QUESTIONS, ANSWERED.assign(log_probs=log_probs))


def test_only_a_span_head_with_unanswerable_questions_has_a_threshold():
    def model(head):
        return Model(source="folder", id="x", head=head, quantization="none")

    assert has_threshold(QUESTIONS, model("span"))
    assert not has_threshold(QUESTIONS, model("lm"))
    assert not has_threshold(QUESTIONS.model_copy(update={"labels": ["answerable"]}), model("span"))
    assert not has_threshold(PAIR, model("classification"))


def test_the_summary_of_answers_has_the_figures_and_their_arithmetic():
    metrics = score(QUESTIONS, ANSWERED, ANSWERED)
    text = summary("base", QUESTIONS, ANSWERED.assign(truncated=[True, False, False]), metrics)
    lines = text.splitlines()
    assert lines[0] == "base: 2 of 3 right = exact match 66.7 % (20.8 to 93.9 %), F1 66.7 %, invalid 1"
    assert lines[1] == "  with an answer: exact match 50.0 %, F1 50.0 %, 2 questions"
    assert lines[2] == "  without an answer: exact match 100.0 %, F1 100.0 %, 1 questions"
    assert "best for these questions: exact match 66.7 % (above 0.200)" in lines[3]
    assert "best on the validation split" in lines[4]
    assert "ROUGE-L 0.500" in lines[5]
    assert lines[6] == "  1 prompts were cut to fit the context"


def test_the_summary_of_labels_names_each_label_and_a_degenerate_predictor():
    frame = LABELS.assign(prediction=["yes"] * 3, outcome=["right", "wrong", "wrong"])
    lines = summary("tuned", PAIR, frame, score(PAIR, frame)).splitlines()
    assert lines[0].startswith("tuned: 1 of 3 right = 33.3% (")
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["yes", "no"]
    assert "Degenerate predictor: it answers 'yes' for 100.0 % of 3 cases" in lines[3]


@pytest.mark.parametrize(("task", "frame"), [(PAIR, LABELS), (QUESTIONS, ANSWERED)], ids=["labels", "answers"])
def test_every_metric_stands_in_the_document(task, frame):
    document = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", document))
    named |= {f"{key}_thresh" for key in named} | {f"bleu_precision_{order}" for order in (2, 3)}
    assert set(score(task, frame, frame)) <= named
