import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from tunediff.stats import intervals
from tunediff.stats.intervals import clopper_pearson, wilson


@st.composite
def proportions(draw):
    n = draw(st.integers(1, 5000))
    return draw(st.integers(0, n)), n


def test_the_documented_examples_hold():
    assert doctest.testmod(intervals).attempted > 0
    assert doctest.testmod(intervals).failed == 0


@pytest.mark.parametrize(("successes", "low", "high"), [(41, 0.319, 0.508), (88, 0.802, 0.930)])
def test_wilson_gives_the_golden_intervals(successes, low, high):
    assert wilson(successes, 100) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high", "precision"),
    [(2, 100, 0.0024, 0.0704, 5e-5), (2, 41, 0.0060, 0.1653, 5e-5), (49, 59, 0.710, 0.916, 5e-4)],
)
def test_the_exact_interval_gives_the_golden_values(successes, n, low, high, precision):
    assert clopper_pearson(successes, n) == pytest.approx((low, high), abs=precision)


@given(proportions(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_both_intervals_agree_with_statsmodels(proportion, confidence):
    successes, n = proportion
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "beta")):
        theirs = proportion_confint(successes, n, alpha=1 - confidence, method=method)
        assert ours(successes, n, confidence) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_no_case_at_all_leaves_everything_possible(interval):
    assert interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize(("successes", "n"), [(5, 4), (-1, 4), (1, 0)])
def test_impossible_counts_are_refused(interval, successes, n):
    with pytest.raises(ValueError):
        interval(successes, n)
