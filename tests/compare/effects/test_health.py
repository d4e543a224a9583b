"""What a test set can tell of two models, and which labels both contradict."""

import numpy as np
import pandas as pd
import pytest

from tunediff.compare.comparison import compare_tables
from tunediff.compare.effects.health import review_lines, signal_to_noise, suspected_labels
from tunediff.compare.evidence import gather


def answers(predictions, **columns):
    labels = ["yes", "yes", "no", "no", "no"]
    outcomes = [
        "invalid" if one is None else "right" if one == label else "wrong"
        for one, label in zip(predictions, labels, strict=True)
    ]
    frame = pd.DataFrame({"case_id": list("abcde"), "label": labels, "outcome": outcomes})
    return frame.assign(prediction=pd.Series(predictions, dtype=object), **columns)


def test_a_label_is_suspected_where_all_models_give_one_answer_against_it():
    first = answers(["no", "no", "yes", None, "maybe"], confidence=[0.6, 0.9, 0.8, 0.9, 0.9])
    second = answers(["no", "no", "no", None, "yes"], confidence=[0.7, 0.95, 0.6, 0.9, 0.9])
    unscored = answers(["no", "no", "yes", None, "maybe"])
    found = list(review_lines(suspected_labels([first, second, unscored])))
    assert found == [
        {"case_id": "b", "label": "yes", "answer": "no", "confidence": 0.9},
        {"case_id": "a", "label": "yes", "answer": "no", "confidence": 0.6},
    ]
    alone = list(review_lines(suspected_labels([unscored])))
    assert [line["case_id"] for line in alone] == ["a", "b", "c", "e"]
    assert "confidence" not in alone[0]


def test_the_confidence_of_a_model_that_has_none_of_a_case_does_not_count():
    first, second = (answers(["no", "no", "no", "no", "no"], confidence=values) for values in ([np.nan] * 5, [0.9] * 5))
    assert suspected_labels([first, second])["confidence"].tolist() == [0.9, 0.9]


def test_the_signal_is_the_difference_over_its_standard_error_with_what_flips_without_training():
    change = np.repeat([1, -1, 0], [49, 2, 49])
    assert signal_to_noise(change, None) == pytest.approx(0.47 / 0.05377, rel=1e-3)
    noisy = signal_to_noise(change, None, {"noise_floor_flips": 30, "noise_floor_changed": 50})
    assert noisy == pytest.approx(0.47 / np.hypot(0.05377, np.sqrt(30) / 100), rel=1e-3)
    copies = np.repeat(np.arange(100), 3)
    assert signal_to_noise(np.repeat(change, 3), copies) == pytest.approx(signal_to_noise(change, None))
    assert signal_to_noise(np.zeros(5, dtype=int), None) is None


def test_both_stand_in_the_metrics_of_two_files():
    before = answers(["no", "no", "yes", None, "no"]).drop(columns="outcome")
    after = answers(["yes", "no", "yes", None, "no"]).drop(columns="outcome")
    metrics = gather(compare_tables(before, after)).metrics
    assert metrics["agreed_against_label"] == 2
    assert metrics["signal_to_noise"] == pytest.approx(0.2 / (np.sqrt(0.2 * 0.8 / 5)), rel=1e-6)
