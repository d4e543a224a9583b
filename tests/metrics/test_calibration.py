import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from tunediff.metrics.accuracy import score
from tunediff.metrics.calibration import (
    adaptive_ece,
    case_brier,
    case_nll,
    confidence_of,
    ece_difference_interval,
    ece_interval,
    gold_margins,
    label_codes,
    log_prob_array,
    reliability,
    selective_accuracy,
)
from tunediff.runtime.errors import TunediffError

LABELS = ["a", "b", "c"]


def answers(n, seed=0, certain=0.0):
    """Cases whose confidence is the chance of being right, or `certain` more than that."""
    generator = np.random.default_rng(seed)
    chance = generator.uniform(0.4, 0.8, size=n)
    return chance + certain, generator.random(n) < chance


cases = st.lists(st.tuples(st.sampled_from([0.34, 0.5, 0.6, 0.75, 0.99, 1.0]), st.booleans()), min_size=1, max_size=60)


def test_a_margin_is_the_gold_label_less_the_best_other_one():
    log_probs = np.array([[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [-5.0, -5.0, -0.1]])
    assert gold_margins(log_probs, np.array([0, 2, 1])) == pytest.approx([1.0, -2.0, -4.9])


def test_a_column_of_lists_becomes_an_array():
    column = pd.Series([np.log([0.5, 0.5]), [-0.1, -2.4]])
    assert log_prob_array(column).shape == (2, 2)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[-0.1, -2.4], [-0.1]], "not all as long"),
        ([None, [-0.1]], "not all as long"),
        ([[-0.1], [-0.1]], "one number per label"),
        ([[-0.1, -2.4], [0.0, -np.inf]], "of case 2: found .*expected finite"),
    ],
)
def test_a_column_that_holds_no_log_probabilities_is_refused(column, message):
    with pytest.raises(TunediffError, match=message):
        log_prob_array(column)


def test_an_unknown_gold_label_is_named():
    assert label_codes(LABELS, ["c", "a"]).tolist() == [2, 0]
    with pytest.raises(TunediffError, match="label of case 2: found 'd', expected one of a, b, c"):
        label_codes(LABELS, ["a", "d"])


@given(st.lists(st.sampled_from([*LABELS, "d", None]), min_size=1), st.booleans())
def test_categories_get_the_codes_and_errors_of_their_texts(names, predictions):
    column = pd.Series(names, dtype=pd.CategoricalDtype(["d", *LABELS[::-1]]))

    def found(given):
        try:
            return label_codes(LABELS, given, predictions).tolist()
        except TunediffError as error:
            return str(error).replace("nan", "None")

    assert found(column) == found(names)


def test_the_means_of_the_case_scores_are_those_of_the_scorer():
    log_probs = log_softmax(np.random.default_rng(3).normal(size=(200, 3)), axis=1)
    gold = np.random.default_rng(4).integers(3, size=200)
    names = [LABELS[code] for code in gold]
    metrics = score(LABELS, names, names, log_probs)
    assert case_nll(log_probs, gold).mean() == pytest.approx(metrics["nll"])
    assert case_brier(log_probs, gold).mean() == pytest.approx(metrics["brier"])
    assert confidence_of(log_probs) == pytest.approx(np.exp(log_probs).max(axis=1))


def test_the_calibration_error_by_hand():
    confidence = np.array([0.9, 0.6, 0.9, 0.6, 0.8, 0.7])
    right = np.array([True, False, False, True, True, True])
    # By two bins of three cases: 0.6 0.6 0.7 with two right, 0.8 0.9 0.9 with two right.
    assert adaptive_ece(confidence, right, bins=2) == pytest.approx((abs(2 - 1.9) + abs(2 - 2.6)) / 6)


@given(cases, st.integers(1, 20))
def test_the_calibration_error_agrees_with_scikit_learn_where_bins_do(rows, bins):
    confidence, right = (np.array(column) for column in zip(*rows, strict=True))
    table = reliability(confidence, right, 0.95, bins)
    assert table["cases"].sum() == len(rows)
    by_hand = sum(row.cases * abs(row.accuracy - row.confidence) for row in table.itertuples()) / len(rows)
    assert adaptive_ece(confidence, right, bins) == pytest.approx(by_hand, abs=1e-12)
    assert table["confidence"].is_monotonic_increasing
    assert ((table["low"] <= table["accuracy"] + 1e-12) & (table["accuracy"] <= table["high"] + 1e-12)).all()


def test_reliability_agrees_with_scikit_learn():
    from sklearn.calibration import calibration_curve

    confidence, right = answers(1000)
    table = reliability(confidence, right, 0.95)
    accuracy, mean = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    assert table["cases"].tolist() == [100] * 10
    assert table["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert table["confidence"].to_numpy() == pytest.approx(mean)


@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_the_cases_makes_no_difference(rows, random):
    shuffled = rows[:]
    random.shuffle(shuffled)
    (confidence, right), (other, other_right) = (
        tuple(np.array(column) for column in zip(*table, strict=True)) for table in (rows, shuffled)
    )
    assert adaptive_ece(confidence, right) == pytest.approx(adaptive_ece(other, other_right), abs=1e-12)
    pd.testing.assert_frame_equal(selective_accuracy(confidence, right), selective_accuracy(other, other_right))


def test_one_confidence_for_all_cases_is_one_bin():
    right = np.arange(100) < 60
    assert adaptive_ece(np.full(100, 0.6), right) == pytest.approx(0)
    assert reliability(np.full(100, 0.9), right, 0.95)["cases"].tolist() == [100]
    assert adaptive_ece(np.full(100, 0.9), right) == pytest.approx(0.3)
    low, high = ece_interval(np.full(100, 0.9), right, 0.95)
    assert low < 0.3 < high


@given(cases)
def test_the_interval_holds_the_estimate_and_stays_in_its_range(rows):
    confidence, right = (np.array(column) for column in zip(*rows, strict=True))
    low, high = ece_interval(confidence, right, 0.95, replicates=200)
    assert 0 <= low <= adaptive_ece(confidence, right) <= high <= 1


def test_the_interval_covers_the_true_error_of_an_overconfident_model():
    inside = []
    for seed in range(100):
        confidence, right = answers(800, seed, certain=0.15)
        low, high = ece_interval(confidence, right, 0.95, replicates=200)
        inside.append(low <= 0.15 <= high)
    assert np.mean(inside) > 0.88


def test_the_interval_of_a_model_in_balance_reaches_down_to_nothing():
    # The plain estimate is biased upward: its percentiles alone would promise an error that is not there.
    confidence, right = answers(100)
    assert adaptive_ece(confidence, right) > 0.03
    assert ece_interval(confidence, right, 0.95)[0] < 0.01


def test_the_paired_interval_of_two_calibration_errors_covers_their_true_difference():
    inside = []
    for seed in range(60):
        _, right = answers(800, seed, certain=0.15)
        pair = [answers(800, seed, certain=certain) for certain in (0.05, 0.15)]
        assert all(np.array_equal(right, model[1]) for model in pair)
        low, high = ece_difference_interval(*pair, 0.95, replicates=200)
        assert low <= adaptive_ece(*pair[1]) - adaptive_ece(*pair[0]) <= high
        inside.append(low <= 0.10 <= high)
    assert np.mean(inside) > 0.88


def test_a_model_and_its_copy_have_the_same_calibration_error():
    model = answers(200)
    assert ece_difference_interval(model, model, 0.95) == (0, 0)


def test_selective_accuracy_by_hand():
    confidence = np.array([0.9, 0.5, 0.7, 0.7])
    right = np.array([True, False, True, False])
    table = selective_accuracy(confidence, right, points=4)
    assert table["cases"].tolist() == [1, 3, 4]
    assert table["coverage"].tolist() == [0.25, 0.75, 1.0]
    assert table["threshold"].tolist() == [0.9, 0.7, 0.5]
    assert table["accuracy"].to_numpy() == pytest.approx([1, 2 / 3, 1 / 2])


@given(cases, st.integers(1, 100))
def test_the_curve_ends_at_all_cases_and_their_accuracy(rows, points):
    confidence, right = (np.array(column) for column in zip(*rows, strict=True))
    table = selective_accuracy(confidence, right, points)
    assert len(table) <= points
    assert table["coverage"].is_monotonic_increasing
    assert (table["coverage"].iloc[-1], table["accuracy"].iloc[-1]) == (1.0, pytest.approx(right.mean()))
