import pytest

from tests.compare.pairs.formats.reading import read, told
from tests.foreign_logs import instance
from tunediff.runtime.errors import TunediffError


def test_the_usual_metric_says_what_is_right_and_rows_of_one_instance_are_merged(tmp_path):
    rows = [instance("id1", f1_score=0.5, exact_match=1.0), instance("id2", exact_match=0.0), instance("id1", tokens=7)]
    found = read(tmp_path, "per_instance_stats.json", rows)
    assert told(found, "case_id", "label", "prediction", "outcome") == [
        ["id1", None, None, "right"],
        ["id2", None, None, "wrong"],
    ]
    assert found.origin.startswith("instances of HELM, metric exact_match, without answers")
    with pytest.raises(TunediffError, match=r"f1_score: found 0.5, expected 0 or 1"):
        read(tmp_path, "per_instance_stats.json", rows, metric="f1_score")


def test_no_usual_metric_has_to_be_named(tmp_path):
    with pytest.raises(TunediffError, match=r"metric: found 'f1_score, tokens', expected one of them as --metric"):
        read(tmp_path, "per_instance_stats.json", [instance("id1", f1_score=1.0, tokens=7)])


def test_displayed_predictions_have_the_answers(tmp_path):
    rows = [
        {"instance_id": "id1", "train_trial_index": 0, "predicted_text": " Paris", "stats": {"exact_match": 1.0}},
        {"instance_id": "id2", "train_trial_index": 0, "predicted_text": " B", "mapped_output": "no", "stats": {}},
    ]
    found = read(tmp_path, "display_predictions.json", rows)
    assert told(found, "prediction", "outcome") == [[" Paris", "right"], [None, "invalid"]]
    assert [code for code, _ in found.checks] == ["TD405"]


def test_perturbations_are_cases_in_the_cluster_of_their_instance_and_trials_are_repeats(tmp_path):
    typos = {"name": "typos", "robustness": True}
    rows = [instance("id1", exact_match=1.0), instance("id1", 0, typos, exact_match=0.0)]
    found = read(tmp_path, "per_instance_stats.json", rows)
    assert found.frame["case_id"].tolist() == ["id1", "id1, name typos, robustness True"]
    assert found.frame["cluster"].tolist() == ["id1", "id1"]
    found = read(tmp_path, "per_instance_stats.json", [instance("id1", n, exact_match=1.0) for n in range(3)])
    assert found.frame["case_id"].tolist() == ["id1 #1", "id1 #2", "id1 #3"]
    assert [code for code, _ in found.checks] == ["TD404"]


def test_what_is_no_instance_is_refused(tmp_path):
    with pytest.raises(TunediffError, match=r"row 2: found .*, expected an instance of HELM"):
        read(tmp_path, "per_instance_stats.json", [instance("a", exact_match=1.0), {"instance_id": "b", "stats": 3}])
