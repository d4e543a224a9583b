import doctest
import json

import numpy as np
import pandas as pd
import pytest

from tests.made_pairs import made_up_pair
from tunediff.compare import comparison as module
from tunediff.compare.comparison import compare_tables
from tunediff.compare.effects.power import power_sentence
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError

KEYS = {
    *("n", "both_right", "repaired", "broken", "both_wrong_same", "both_wrong_changed", "became_valid"),
    *("became_invalid", "accuracy_base", "accuracy_tuned", "accuracy_delta", "accuracy_delta_low"),
    *("accuracy_delta_high", "mcnemar_p", "mcnemar_midp", "churn", "negative_flip_rate", "negative_flip_rate_low"),
    *("negative_flip_rate_high", "minimum_detectable_delta", "signal_to_noise", "agreed_against_label"),
}


def diff(*tables, **options):
    return gather(compare_tables(*tables, **options))


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_a_made_up_pair_gives_the_golden_values_in_the_keys_of_the_pipeline():
    before, after = made_up_pair()
    found = diff(before, after.sample(frac=1, random_state=0))
    metrics = found.metrics
    assert set(metrics) == KEYS
    counts = {"both_right": 39, "repaired": 49, "broken": 2, "both_wrong_same": 10, "both_wrong_changed": 0}
    assert {key: metrics[key] for key in counts} == counts
    assert metrics["mcnemar_p"] == pytest.approx(1.1786127629e-12, rel=1e-10)
    assert metrics["mcnemar_midp"] == pytest.approx(6.1240e-13, rel=1e-4)
    assert (metrics["negative_flip_rate_low"], metrics["negative_flip_rate_high"]) == pytest.approx(
        (0.0024, 0.0704), abs=5e-5
    )
    assert found.tables["differences"]["metric"].tolist() == [
        *("accuracy", "balanced accuracy", "macro F1"),
        *("precision of yes", "recall of yes", "F1 of yes"),
    ]
    assert found.tables["differences"]["p_holm"][0] == pytest.approx(6 * 1.1786127629e-12)
    assert "detect a difference of 19.8 points" in power_sentence(100, 49, 2)
    json.dumps(metrics, allow_nan=False)


def test_cases_that_share_a_cluster_widen_the_interval_without_being_asked_twice():
    before, after = (pd.concat([table] * 4, ignore_index=True) for table in made_up_pair())
    for table in (before, after):
        table["premise"] = table["case_id"]
        table["case_id"] = [f"{i}" for i in range(400)]
    plain, clustered = diff(before, after), diff(before, after, fields=Fields(cluster="premise"))
    width = [found.metrics["accuracy_delta_high"] - found.metrics["accuracy_delta_low"] for found in (plain, clustered)]
    assert width[1] > 1.7 * width[0]
    assert clustered.cases["cluster"].tolist() == before["premise"].tolist()


def test_inputs_that_differ_under_one_id_are_refused():
    before, after = (table.assign(text="A dog.") for table in made_up_pair())
    after.loc[3, "text"] = "A cat."
    with pytest.raises(
        TunediffError, match=r"base and tuned: text: found different values for 1 of 100 cases \(case 3;"
    ):
        diff(before, after, fields=Fields(inputs=("text",)), names=("base", "tuned"))


def test_repeated_inputs_without_an_id_are_paired_by_occurrence():
    before = pd.DataFrame({"text": ["a", "b", "a"], "label": ["x", "y", "x"], "prediction": ["x", "x", "y"]})
    after = before.assign(prediction=["y", "y", "x"]).iloc[[0, 2, 1]]
    found = diff(before, after, fields=Fields(inputs=("text",)))
    assert found.cases["transition"].tolist() == ["broken", "repaired", "repaired"]
    with pytest.raises(TunediffError, match="different cases: found 1 only in before"):
        diff(before, after.iloc[:2], fields=Fields(inputs=("text",)))


def test_scores_become_log_probabilities_in_the_order_of_the_labels():
    before, after = made_up_pair()
    for table in (before, after):
        table["scores"] = [
            {"yes": 0.75, "no": 0.25} if p == "yes" else {"no": 0.75, "yes": 0.25} for p in table["prediction"]
        ]
    found = diff(before, after, fields=Fields(scores="scores"))
    assert found.comparison.task.labels == ("no", "yes")
    lines = list(found.records)
    assert np.exp(lines[0]["base_log_probs"]) == pytest.approx([0.25, 0.75])
    assert np.exp(lines[39]["tuned_log_probs"]) == pytest.approx([0.75, 0.25])
    assert "log_probs_base" not in diff(before.assign(scores=None), after).cases


def test_a_line_a_case_is_ready_for_json_and_says_what_the_pipelines_lines_say():
    before, after = (table.assign(text="<script>alert(1)</script>") for table in made_up_pair())
    after.loc[0, "prediction"] = None
    lines = list(diff(before, after, fields=Fields(inputs=("text",))).records)
    assert json.loads(json.dumps(lines[0], allow_nan=False)) == {
        "case_id": "case 0",
        "text": "<script>alert(1)</script>",
        "label": "yes",
        "base_prediction": "yes",
        "tuned_prediction": None,
        "transition": "broken",
    }
    assert len(lines) == 100


def test_answers_in_words_are_compared_by_accuracy_alone():
    before = pd.DataFrame({"case_id": range(30), "label": [f"answer {i}" for i in range(30)], "prediction": "answer 3"})
    found = diff(before, before)
    assert found.tables["differences"]["metric"].tolist() == ["accuracy"]
    assert found.metrics["mcnemar_p"] == 1.0
    why = (
        "there are no gold labels, or the files list no labels and there are too many to be classes (more than 100, "
        "or more than 10 with fewer than 10 cases each on average)"
    )
    [left_out] = [check for check in found.checks if check.code == "TD107"]
    assert left_out.sentence == f"Balanced accuracy and macro F1 are left out: {why}."
    # Scores name the labels, however many they are.
    scored = before.assign(scores=[{f"answer {i}": float(i == 3) for i in range(30)}] * 30)
    named = diff(scored, scored, Fields(scores="scores"))
    assert named.tables["differences"]["metric"].tolist() == ["accuracy", "balanced accuracy", "macro F1"]
    assert "TD107" not in [check.code for check in named.checks]


def test_a_single_case_is_enough_and_a_confidence_out_of_range_is_refused():
    one = pd.DataFrame({"case_id": [1], "label": ["a"], "prediction": ["a"]})
    found = diff(one, one)
    assert found.metrics["n"] == 1
    assert found.metrics["minimum_detectable_delta"] == 1.0
    for confidence in (0.4, 1.0, 95):
        with pytest.raises(TunediffError, match="confidence: found"):
            diff(one, one, confidence=confidence)
