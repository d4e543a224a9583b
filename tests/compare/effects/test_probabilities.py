import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from scipy.stats import ttest_1samp

from tunediff.compare.effects import probabilities
from tunediff.metrics.accuracy import score
from tunediff.runtime.errors import TunediffError

LABELS = ["a", "b", "c"]


def calibration(aligned, labels, confidence=0.95, clusters=None):
    scores = {who: np.stack(aligned[f"log_probs_{who}"]) for who in ("base", "tuned")}
    return probabilities.calibration(aligned["label"], scores, labels, confidence, clusters)


def pair(n=300, seed=0):
    """The tuned model's scores are the base model's, three times as sure."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(3, size=n)
    logits = generator.normal(size=(n, 3)) + np.eye(3)[gold]
    columns = {"base": log_softmax(logits, axis=1), "tuned": log_softmax(3 * logits, axis=1)}
    return pd.DataFrame(
        {"label": [LABELS[code] for code in gold], **{f"log_probs_{who}": list(rows) for who, rows in columns.items()}}
    )


def test_a_model_that_only_grew_more_certain_is_told_by_its_scores():
    metrics = calibration(pair(), LABELS).metrics
    assert metrics["nll_delta_low"] > 0
    assert metrics["ece_tuned_low"] > metrics["ece_base_high"]
    json.dumps(metrics, allow_nan=False)


def test_the_scores_are_those_of_the_scorer_and_the_interval_that_of_the_paired_t_test():
    aligned = pair()
    metrics = calibration(aligned, LABELS, confidence=0.9).metrics
    per_case = {}
    for who in ("base", "tuned"):
        scored = score(LABELS, aligned["label"], aligned["label"], aligned[f"log_probs_{who}"])
        assert (metrics[f"nll_{who}"], metrics[f"brier_{who}"]) == pytest.approx((scored["nll"], scored["brier"]))
        rows = zip(aligned["label"], aligned[f"log_probs_{who}"], strict=True)
        per_case[who] = np.array([-row[LABELS.index(label)] for label, row in rows])
    difference = per_case["tuned"] - per_case["base"]
    interval = ttest_1samp(difference, 0).confidence_interval(0.9)
    assert metrics["nll_delta"] == pytest.approx(metrics["nll_tuned"] - metrics["nll_base"])
    assert (metrics["nll_delta_low"], metrics["nll_delta_high"]) == pytest.approx((interval.low, interval.high))


def test_two_runs_that_agree_differ_by_nothing():
    aligned = pair()
    aligned["log_probs_tuned"] = aligned["log_probs_base"]
    metrics = calibration(aligned, LABELS).metrics
    assert [metrics[f"brier_delta{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]


def test_a_single_case_has_no_interval_of_the_difference():
    metrics = calibration(pair(1), LABELS).metrics
    assert "nll_delta" in metrics
    assert "nll_delta_low" not in metrics
    json.dumps(metrics, allow_nan=False)


def test_the_tables_hold_both_models():
    aligned = pair()
    _, bins, curve = calibration(aligned, LABELS)
    assert bins.groupby("model", sort=False)["cases"].sum().to_dict() == {"base": 300, "tuned": 300}
    assert list(bins) == ["model", "bin", "cases", "confidence", "accuracy", "low", "high"]
    assert list(curve) == ["model", "coverage", "cases", "threshold", "accuracy"]
    # Three times as sure of the same answers: the same order of the cases but for ties between labels.
    ends = curve.groupby("model")["accuracy"].last()
    assert ends["base"] == ends["tuned"]


def test_a_label_that_the_task_lacks_is_named():
    with pytest.raises(TunediffError, match="found 'a', expected one of x, y"):
        calibration(pair(2, seed=1).assign(label="a"), ["x", "y"])
