import json
import math
import sys

import pytest

from tests.report.exports.answered import options, questions, scored, written
from tunediff.commands import main
from tunediff.report.exports.harness_samples import write_samples
from tunediff.runtime.errors import TunediffError

COUNTED = ("n", "both_right", "repaired", "broken", "both_wrong_same", "both_wrong_changed")


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Metrics of `tunediff diff` of the samples of two models."""

    def compared(base, tuned):
        monkeypatch.chdir(tmp_path)
        files = [str(path) for one in (base, tuned) for path in write_samples(tmp_path, one)]
        monkeypatch.setattr(sys, "argv", ["tunediff", "diff", *files, "--out", "found"])
        main.main()
        return json.loads((tmp_path / "found/metrics.json").read_text())

    return compared


def test_scored_labels_are_read_back_with_the_same_transitions_and_probabilities(compared):
    before, after = [True, True, False, False, False, True], [True, False, True, True, False, False]
    metrics = compared(scored("base", before), scored("tuned", after))
    assert [metrics[key] for key in COUNTED] == [6, 1, 2, 2, 1, 0]
    assert (metrics["scores_base"], metrics["scores_tuned"]) == ("log-probabilities", "log-probabilities")


def test_written_labels_are_read_back_with_those_that_are_invalid(compared):
    before = ["invalid", "invalid", "wrong", "right", "right", "right"]
    after = ["right", "invalid", "right", "right", "wrong", "invalid"]
    metrics = compared(written("base", before), written("tuned", after))
    assert [metrics[key] for key in COUNTED[:4]] == [6, 1, 2, 2]
    assert (metrics["became_valid"], metrics["became_invalid"]) == (1, 1)


def test_options_of_the_cases_own_are_read_back_also_where_two_are_the_same(compared):
    metrics = compared(options("base", [1, 0, 2, 0]), options("tuned", [1, 1, 0, 0]))
    assert [metrics[key] for key in COUNTED[:4]] == [4, 1, 1, 0]


def test_answers_to_questions_are_read_back_also_where_there_is_none(compared):
    before = questions("base", [("the car", "right"), ("", "wrong"), ("Rome", "wrong")])
    after = questions("tuned", [("a blue car", "wrong"), ("Rome", "right"), ("", "right")])
    metrics = compared(before, after)
    assert [metrics[key] for key in COUNTED[:4]] == [3, 0, 2, 1]
    assert (metrics["became_valid"], metrics["became_invalid"]) == (0, 0)


def test_a_sample_has_the_fields_of_the_harness(tmp_path):
    [path] = write_samples(tmp_path, scored("base", [True] * 6))
    first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    assert path == tmp_path / "base/samples_test.jsonl"
    assert first["target"] == "yes"
    assert first["arguments"]["gen_args_1"]["arg_1"] == " maybe"
    assert first["arguments"]["gen_args_1"]["arg_0"].endswith("\nA sign says")
    assert [[(float(value), greedy)] for [[value, greedy]] in first["resps"]] == [
        [(pytest.approx(math.log(share)), "False")] for share in (0.9, 0.05, 0.05)
    ]
    assert first["doc"]["label"] == "entailment"


def test_an_answer_that_is_empty_and_wrong_is_refused_and_nothing_is_written(tmp_path):
    answers = written("base", ["right"] * 6)
    answers.predictions.loc[2, ["prediction", "outcome"]] = ["", "wrong"]
    with pytest.raises(TunediffError, match="an empty answer that is wrong"):
        write_samples(tmp_path, answers)
    assert not list(tmp_path.rglob("*.jsonl"))
