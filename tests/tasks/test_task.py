import numpy as np
import pandas as pd
import pytest
import yaml

from tests import questions, small_tasks
from tests.imports import ROOT
from tests.whole_files import write_predictions
from tunediff.data.cases import Case, read_predictions
from tunediff.data.schemas import FURTHER_LABELS, names
from tunediff.data.schemas import LABELS as LABEL_METRICS
from tunediff.data.schemas import QUESTIONS as QUESTION_METRICS
from tunediff.inputs.ask import Ask
from tunediff.metrics import accuracy
from tunediff.metrics.answer_scores import score_answers
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import TASKS, task_of
from tunediff.tasks.classification import Classification
from tunediff.tasks.experiment import read_experiment, settings_of

PAIR, QUESTIONS = task_of(small_tasks.PAIR), task_of(small_tasks.QUESTIONS)
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
    assert PAIR.metrics(LABELS, None) == expected


def test_answers_are_scored_as_they_come_back_from_a_prediction_file(tmp_path):
    write_predictions(tmp_path / "base.parquet", ANSWERED, {})
    frame, _ = read_predictions(tmp_path / "base.parquet")
    found = QUESTIONS.metrics(frame, None)
    assert found == score_answers([["Paris", "in Paris"], ["Rome"], []], ["Paris", None, ""], [SURE, SURE, SURE[::-1]])
    assert (found["exact"], found["invalid"]) == (pytest.approx(200 / 3), 1)
    assert "best_exact" in found
    assert "validated_exact" in QUESTIONS.metrics(frame, frame)


@pytest.mark.parametrize("log_probs", [[None] * 3, [[0.0]] * 3])
def test_a_model_without_two_probabilities_has_no_threshold(log_probs):
    assert "best_exact" not in QUESTIONS.metrics(ANSWERED.assign(log_probs=log_probs), None)


def test_only_a_span_head_with_unanswerable_questions_has_a_threshold():
    assert QUESTIONS.tunes_threshold(Ask(answer="span", names=["answerable", "unanswerable"]))
    assert not QUESTIONS.tunes_threshold(Ask(answer="span"))
    assert not QUESTIONS.tunes_threshold(Ask(answer="text", stop=["\n"]))
    assert not PAIR.tunes_threshold(Ask(answer="labels", names=["yes", "no"]))


def test_the_summary_of_answers_has_the_figures_and_their_arithmetic():
    metrics = QUESTIONS.metrics(ANSWERED, ANSWERED)
    text = QUESTIONS.summary("base", ANSWERED.assign(truncated=[True, False, False]), metrics)
    lines = text.splitlines()
    assert lines[0] == "base: 2 of 3 right = exact match 66.7 % (20.8 to 93.9 %), F1 66.7 %, invalid 1"
    assert lines[1] == "  with an answer: exact match 50.0 %, F1 50.0 %, 2 questions"
    assert lines[2] == "  without an answer: exact match 100.0 %, F1 100.0 %, 1 questions"
    assert "best on these questions: exact match 66.7 % (above 0.200)" in lines[3]
    assert "best on the validation split" in lines[4]
    assert "ROUGE-L 0.500" in lines[5]
    assert lines[6] == "  1 prompts were truncated to fit the context"


def test_the_summary_of_labels_names_each_label_and_a_degenerate_predictor():
    frame = LABELS.assign(prediction=["yes"] * 3, outcome=["right", "wrong", "wrong"])
    lines = PAIR.summary("tuned", frame, PAIR.metrics(frame, None)).splitlines()
    assert lines[0].startswith("tuned: 1 of 3 right = 33.3% (")
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["yes", "no"]
    assert "Degenerate predictor: it answers 'yes' for 100.0 % of 3 cases" in lines[3]


@pytest.mark.parametrize(
    ("task", "frame", "schema"),
    [(PAIR, LABELS, LABEL_METRICS | FURTHER_LABELS), (QUESTIONS, ANSWERED, QUESTION_METRICS)],
    ids=["labels", "answers"],
)
def test_every_metric_stands_in_the_schema(task, frame, schema):
    assert set(task.metrics(frame, frame)) <= set(names(schema))


# Raw answers become predictions

CASES = [Case("a", {"premise": "p", "hypothesis": "h"}, "yes"), Case("b", {"premise": "p", "hypothesis": "i"}, "no")]
CHOICES = {"yes": " yes", "no": " no"}


def raw(cases, **columns):
    """Raw answers to cases, as an engine gives them."""
    given = {
        "text": "",
        "finish_reason": "none",
        "log_probs": None,
        "scorer": "choices",
        "prompt_hash": "",
        "n_tokens": 3,
    }
    ids = [case.case_id for case in cases]
    return pd.DataFrame({"case_id": ids, **given, "n_tokens": 3, "truncated": False, **columns}, index=range(len(ids)))


def test_the_likeliest_choice_is_the_prediction_and_the_first_of_equals():
    answers = raw(CASES, log_probs=[[-0.7, -0.7], [-3.0, -0.1]], premise_free_log_probs=[[-1.0, -0.5]] * 2)
    frame = PAIR.grade(CASES, answers, Ask(answer="choices", names=["yes", "no"], choices=CHOICES))
    assert frame["prediction"].tolist() == ["yes", "no"]
    assert frame["outcome"].tolist() == ["right", "right"]
    assert frame["label"].tolist() == ["yes", "no"]
    assert frame["premise_free_log_probs"].tolist() == [[-1.0, -0.5]] * 2
    assert not {"generated", "again_prediction", "seed_prediction"} & set(frame)


def test_free_text_is_parsed_wherever_it_was_asked_for():
    answers = raw(
        CASES,
        text=[" Yes.", "perhaps"],
        log_probs=[[-0.1, -3.0]] * 2,
        generated_text=[" Yes.", "perhaps"],
        again_text=["no", "no, it is not"],
    )
    frame = PAIR.grade(CASES, answers, Ask(answer="text", names=["yes", "no"], choices=CHOICES))
    assert frame["prediction"].tolist() == ["yes", None]
    assert frame["outcome"].tolist() == ["right", "invalid"]
    assert frame["generated"].tolist() == ["yes", None]
    assert frame["again_prediction"].tolist() == ["no", "no"]


def test_another_head_is_read_like_the_first_one():
    answers = raw(CASES, log_probs=[[-0.1, -3.0]] * 2, seed_log_probs=[[-3.0, -0.1]] * 2, text=["yes", "yes"])
    frame = PAIR.grade(CASES, answers, Ask(answer="labels", names=["yes", "no"]))
    assert frame["prediction"].tolist() == ["yes", "yes"]
    assert frame["seed_prediction"].tolist() == ["no", "no"]


def test_the_likeliest_span_is_the_answer_unless_it_is_likelier_that_there_is_none():
    log_probs = [SURE, SURE[::-1], SURE[::-1]]
    answers = raw(questions.CASES[:3], text=["in the park", "A woman", "bench"], log_probs=log_probs)
    frame = QUESTIONS.grade(questions.CASES[:3], answers, Ask(answer="span", names=["answerable", "unanswerable"]))
    assert frame["prediction"].tolist() == ["in the park", "", ""]
    assert frame["outcome"].tolist() == ["right", "wrong", "right"]
    assert frame["f1"].tolist() == [1.0, 0.0, 1.0]
    assert frame["answers"].tolist() == [["in the park", "the park"], ["A woman"], []]


def test_written_answers_are_their_first_line():
    answers = raw(questions.CASES[:3], text=["in the park\nQuestion", " ", "Unanswerable."], finish_reason="stop")
    frame = QUESTIONS.grade(questions.CASES[:3], answers, Ask(answer="text", stop=["\n"]))
    assert frame["prediction"].tolist() == ["in the park", None, ""]
    assert frame["outcome"].tolist() == ["right", "invalid", "right"]
    assert frame["log_probs"].tolist() == [None] * 3


@pytest.mark.parametrize("cases", [CASES[:1], CASES[::-1]], ids=["too few", "another order"])
def test_answers_to_other_cases_are_refused(cases):
    ask = Ask(answer="choices", names=["yes", "no"], choices=CHOICES)
    with pytest.raises(TunediffError, match=r"found \d answers to other cases than the 2 of the test set"):
        PAIR.grade(CASES, raw(cases, log_probs=[[-0.1, -3.0]] * len(cases)), ask)


def test_a_kind_of_task_from_outside_the_package_is_a_class_and_a_name(tmp_path, monkeypatch):
    class Shouted(Classification):
        def grade(self, cases, answers, ask):
            return super().grade(cases, answers.assign(text=answers["text"].str.lower()), ask)

    monkeypatch.setitem(TASKS, "shouted", Shouted)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["task"]["name"] = "shouted"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    experiment = read_experiment(tmp_path / "params.yaml")
    assert type(experiment.task) is Shouted
    assert settings_of(experiment)["eval_base"]["sets"]["test"]["task"]["name"] == "shouted"
