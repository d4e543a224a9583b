"""The files are valid by the schemas that Every Eval Ever publishes (commit 9bce413, MIT licence beside them)."""

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

from tests.report.exports.answered import options, questions, scored, written
from tests.whole_files import read_jsonl
from tunediff.report.exports.every_eval_ever import write_evaluation
from tunediff.runtime.files import read_json

SCHEMAS = Path(__file__).parent / "schemas"
EVALUATION, CASE = (
    jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
    for name in ("eval", "instance_level_eval")
)
ANSWERS = [
    scored("base", [True, False] * 3),
    written("tuned", ["right", "wrong", "invalid"] * 2),
    questions("tuned", [("a blue car", "wrong"), ("Rome", "right"), ("", "right")]),
    options("base", [1, 0, 2, 0]),
]


@pytest.mark.parametrize("answers", ANSWERS, ids=["scored", "written", "questions", "options"])
def test_the_evaluation_and_each_case_are_valid_by_the_published_schemas(tmp_path, answers):
    evaluation, samples = write_evaluation(tmp_path, answers)
    made, cases = read_json(evaluation), list(read_jsonl(samples))
    assert [error.message for error in EVALUATION.iter_errors(made)] == []
    assert [error.message for case in cases for error in CASE.iter_errors(case)] == []
    right = [case["evaluation"]["is_correct"] for case in cases]
    assert right == (answers.predictions["outcome"] == "right").tolist()
    detailed = made["detailed_evaluation_results"]
    assert detailed["total_rows"] == len(cases) == len(answers.cases)
    assert detailed["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
    assert tmp_path / detailed["file_path"] == samples
    assert {case["evaluation_id"] for case in cases} == {made["evaluation_id"]}


def test_figures_have_their_interval_and_scores_stand_beside_the_accuracy(tmp_path):
    [accuracy, f1] = read_json(write_evaluation(tmp_path, ANSWERS[2])[0])["evaluation_results"]
    assert accuracy["score_details"]["uncertainty"]["confidence_interval"]["lower"] == 0.2
    assert (f1["metric_config"]["metric_name"], f1["score_details"]["score"]) == ("token F1", 0.6)


def test_the_same_answers_have_the_same_names_and_others_have_not(tmp_path):
    names = {write_evaluation(tmp_path / str(at), answers)[0].name for at, answers in enumerate([*ANSWERS, ANSWERS[0]])}
    assert len(names) == 4


def test_a_data_set_of_the_hub_is_named_by_its_id(tmp_path):
    from dataclasses import replace

    answers = replace(ANSWERS[0], hub_dataset="stanfordnlp/snli", dataset="stanfordnlp/snli")
    made = read_json(write_evaluation(tmp_path, answers)[0])
    assert made["evaluation_results"][0]["source_data"]["hf_repo"] == "stanfordnlp/snli"
    assert not list(EVALUATION.iter_errors(made))
