import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from tunediff.compare.effects.label_bias import calibrated, label_preference, likeliest

LABELS = ["entailment", "neutral", "contradiction"]


def made_up(n=400, n_labels=3, scale=1.0, seed=0):
    return log_softmax(np.random.default_rng(seed).normal(scale=scale, size=(n, n_labels)), axis=1)


def test_the_example_of_the_module():
    log_probs = np.log([[0.7, 0.3], [0.9, 0.1]])
    assert likeliest(calibrated(log_probs), ["yes", "no"]).tolist() == ["no", "yes"]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_without_its_preference_a_model_gives_every_label_the_same_probability_on_average(scale):
    log_probs = made_up(scale=scale) + np.array([3.0, -30.0, 0.5])
    mean = np.exp(calibrated(log_probs)).mean(axis=0)
    assert mean == pytest.approx([1 / 3] * 3, abs=1e-6)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(2, 4)), elements=st.floats(-20, 20)),
    st.lists(st.floats(-30, 30), min_size=4, max_size=4),
)
def test_a_constant_a_label_is_all_that_is_taken(logits, shift):
    shift = np.array(shift[: logits.shape[1]])
    log_probs, shifted = log_softmax(logits, axis=1), log_softmax(logits + shift, axis=1)
    labels = [f"label {i}" for i in range(logits.shape[1])]
    assert calibrated(shifted) == pytest.approx(calibrated(log_probs), abs=1e-6)
    same = likeliest(calibrated(shifted), labels) == likeliest(calibrated(log_probs), labels)
    # Where two labels come out level to within rounding, either may win.
    runner_up, best = np.sort(calibrated(log_probs), axis=1)[:, -2:].T
    assert same[best - runner_up > 1e-6].all()


def test_the_preference_that_was_put_in_is_found():
    logits = np.concatenate([made_up(seed=1), np.roll(made_up(seed=1), 1, axis=1), np.roll(made_up(seed=1), 2, axis=1)])
    assert label_preference(logits + np.array([2.0, -1.0, -1.0])) == pytest.approx([2.0, -1.0, -1.0], abs=1e-6)


def test_a_model_that_says_the_same_of_every_case_is_left_with_the_first_label():
    for probabilities in ([0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [1 / 3] * 3):
        same = np.log([probabilities] * 5)
        assert likeliest(calibrated(same), LABELS).tolist() == ["entailment"] * 5


def test_a_single_case_can_be_calibrated():
    assert calibrated(np.log([[0.9, 0.1]])) == pytest.approx(np.log([[0.5, 0.5]]))
