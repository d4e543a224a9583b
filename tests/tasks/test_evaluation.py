"""Answers are graded some at a time: predictions and metrics are those of all at once."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests import questions
from tests.small_tasks import PAIR
from tests.whole_files import write_answers
from tunediff.config.grade import Grade
from tunediff.config.task import TaskSection
from tunediff.data.cases import Answer, make_cases, read_predictions, write_cases
from tunediff.inputs.ask import Ask
from tunediff.runtime import parquet
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import evaluation, task_of
from tunediff.tasks.evaluation import EvalSettings, GradedSet, evaluate

N = 7
ROWS = [(f"p{n}", f"h{n}", "yes" if n % 3 else "no") for n in range(N)]
PAIRS = make_cases([({"premise": one, "hypothesis": two}, label, ()) for one, two, label in ROWS])
OPTIONS = make_cases([({"question": f"q{n}"}, "AB"[n % 2], (), (), ("one", f"the other {n}")) for n in range(N)])
TEXTS = make_cases([({"question": f"q{n}"}, "answer", (), (Answer(f"so many as {n}", None),)) for n in range(N)])
NUMBERS = [[-0.1 - n, -0.2 - n / 3] for n in range(N)]
LOG_PROBS = [list(np.array(row) - np.logaddexp(*row)) for row in NUMBERS]


def section(name, labels, **keys):
    inputs = {"inputs": ["question"], "source_input": "question", "partial_input": "question"}
    return TaskSection(name=name, labels=labels, **inputs, **keys)


CHOICES = section("multiple_choice", ["A", "B"], option_score="byte")
GRADES = [Grade(by="exact"), Grade(by="token_f1"), Grade(by="bleu")]
WRITTEN = section("generation", ["answer"], grade=GRADES)
PATTERN = section("generation", ["answer"], grade=[Grade(by="exact", pattern=r"as (\d)")])

KINDS = {
    "choices": (PAIR, PAIRS, Ask(answer="choices", names=["yes", "no"], choices={"yes": " yes", "no": " no"}), {}),
    "parsed": (
        PAIR,
        PAIRS,
        Ask(answer="text", names=["yes", "no"], choices={"yes": " yes", "no": " no"}),
        {"text": ["yes", "?"] * 3 + ["no"]},
    ),
    "options": (
        CHOICES,
        OPTIONS,
        Ask(answer="options", names=["A", "B"]),
        {"sum_log_probs": NUMBERS, "token_log_probs": [[x / 2 for x in row] for row in NUMBERS]},
    ),
    "spans": (
        questions.QUESTIONS,
        questions.CASES,
        Ask(answer="span", names=questions.LABELS),
        {"text": "in the park"},
    ),
    "written": (WRITTEN, TEXTS, Ask(answer="text"), {"text": ["so many", "as 3", ""] * 2 + ["so many as 6"]}),
    "pattern": (PATTERN, TEXTS, Ask(answer="text"), {"text": ["so many", "as 3", ""] * 2 + ["so many as 6"]}),
}


def project(folder, kind, metrics=()):
    task, cases, ask, columns = KINDS[kind]
    for name in ("sets/test", "validation"):
        write_cases(folder / f"{name}.jsonl", cases)
    common = {"finish_reason": "stop", "scorer": "choices", "prompt_hash": "h", "n_tokens": 3, "truncated": False}
    answers = pd.DataFrame({"case_id": [case.case_id for case in cases], "text": "yes", "log_probs": LOG_PROBS})
    for name in ("test", "validation"):
        write_answers(folder / f"answers/{name}.parquet", answers.assign(**common).assign(**columns), {})
    return EvalSettings(sets={"test": GradedSet(task=task, ask=ask)}, metrics=list(metrics))


def graded(folder, settings):
    read = folder / "answers", folder / "sets", folder / "validation.jsonl"
    metrics, lines = evaluate("base", settings, *read, folder / "predictions")
    frame, about = read_predictions(folder / "predictions/test.parquet")
    return json.dumps(metrics), lines, about, frame


@pytest.mark.parametrize("kind", list(KINDS))
def test_predictions_and_metrics_of_some_at_a_time_are_those_of_all_at_once(kind, tmp_path, monkeypatch):
    settings = project(tmp_path, kind)
    *whole, frame = graded(tmp_path, settings)
    monkeypatch.setattr(parquet, "ROWS", 3)
    *some, other = graded(tmp_path, settings)
    assert some == whole
    pd.testing.assert_frame_equal(other, frame)
    assert task_of(KINDS[kind][0]).graded_alone == (kind != "pattern")


def test_a_module_of_evaluate_is_given_every_text(tmp_path, monkeypatch):
    text = SimpleNamespace(dtype="string")
    features = {"predictions": text, "references": text}
    monkeypatch.setattr(evaluation, "named_scores", lambda names, inputs_for: dict(inputs_for(features)))
    settings = project(tmp_path, "written", ["lengths"])
    monkeypatch.setattr(parquet, "ROWS", 3)
    metrics = json.loads(graded(tmp_path, settings)[0])
    assert metrics["predictions"] == KINDS["written"][3]["text"]
    assert metrics["references"] == [f"so many as {n}" for n in range(N)]


@pytest.mark.parametrize("left_out", [1, 4])
def test_too_few_answers_are_refused_and_nothing_is_written(left_out, tmp_path, monkeypatch):
    settings = project(tmp_path, "choices")
    write_cases(tmp_path / "sets/test.jsonl", PAIRS + make_cases([({"premise": "x", "hypothesis": "y"}, "no", ())]))
    monkeypatch.setattr(parquet, "ROWS", 3)
    with pytest.raises(TunediffError, match="found 7 answers to other cases than the 8 of the test set"):
        graded(tmp_path, settings)
    write_cases(tmp_path / "sets/test.jsonl", PAIRS[:-left_out])
    with pytest.raises(TunediffError, match="answers to other cases than the"):
        graded(tmp_path, settings)
    assert not (tmp_path / "predictions").exists()
