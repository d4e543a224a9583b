import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from tunediff.stats import multiple as module
from tunediff.stats.multiple import benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_holm_gives_the_values_worked_by_hand():
    # Smallest times 4, next times 3, never below the one before: 0.04, 0.06, 0.06, 0.06.
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(values):
    assert benjamini_hochberg(values) == pytest.approx(false_discovery_control(values).tolist())


@given(p_values)
def test_holm_is_never_below_benjamini_hochberg_nor_above_bonferroni(values):
    for p, lenient, strict in zip(values, benjamini_hochberg(values), holm(values), strict=True):
        assert p <= lenient + 1e-12
        assert lenient <= strict + 1e-12
        assert strict <= min(1.0, p * len(values)) + 1e-12


def test_no_test_needs_no_adjustment():
    assert holm([]) == benjamini_hochberg([]) == []


def test_what_is_no_p_value_is_refused():
    with pytest.raises(ValueError, match=r"expected numbers in 0\.\.1"):
        holm([0.2, 1.2])
    with pytest.raises(ValueError, match=r"expected numbers in 0\.\.1"):
        benjamini_hochberg([float("nan")])
