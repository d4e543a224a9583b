import doctest
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm, t
from statsmodels.stats.contingency_tables import mcnemar

from tunediff.stats import paired
from tunediff.stats.paired import (
    cases_needed,
    difference_interval,
    mcnemar_exact,
    mcnemar_midp,
    mean_difference_interval,
    minimum_detectable_difference,
    smallest_detectable,
)

Z = norm.ppf(0.975)


@st.composite
def tables(draw, largest=2000):
    n = draw(st.integers(1, largest))
    repaired = draw(st.integers(0, n))
    return repaired, draw(st.integers(0, n - repaired)), n


def test_the_documented_examples_hold():
    assert doctest.testmod(paired).attempted > 0
    assert doctest.testmod(paired).failed == 0


def test_exact_and_midp_mcnemar_give_the_golden_values():
    assert mcnemar_exact(49, 2) == pytest.approx(1.1786127629e-12, rel=1e-10)
    assert mcnemar_midp(49, 2) == pytest.approx(6.1240e-13, rel=1e-4)


def test_exact_and_midp_mcnemar_agree_with_a_published_trial():
    # Cavo et al. 2012, complete response 6 against 16: values that R's contingencytables 3.0.0 prints.
    assert mcnemar_exact(6, 16) == pytest.approx(0.052479, abs=5e-7)
    assert mcnemar_midp(6, 16) == pytest.approx(0.034690, abs=5e-7)


def test_midp_of_equal_counts_loses_half_the_probability_of_what_was_observed():
    # Fagerland et al. 2013: 1 - f/2 with f = C(10, 5) / 2^10.
    assert mcnemar_midp(5, 5) == pytest.approx(1 - 252 / 1024 / 2)


@given(st.integers(0, 400), st.integers(0, 400))
def test_exact_mcnemar_agrees_with_statsmodels(repaired, broken):
    if repaired + broken == 0:
        return
    theirs = mcnemar([[1, repaired], [broken, 1]], exact=True).pvalue
    assert mcnemar_exact(repaired, broken) == pytest.approx(theirs, rel=1e-9)


@given(st.integers(0, 500), st.integers(0, 500))
def test_midp_lies_below_the_exact_p_and_forgets_the_direction(repaired, broken):
    assert 0 <= mcnemar_midp(repaired, broken) <= mcnemar_exact(repaired, broken) <= 1
    assert mcnemar_midp(repaired, broken) == pytest.approx(mcnemar_midp(broken, repaired))


def test_no_discordant_pair_gives_p_of_one():
    assert mcnemar_exact(0, 0) == mcnemar_midp(0, 0) == 1.0


def test_negative_counts_are_refused():
    for test in (mcnemar_exact, mcnemar_midp):
        with pytest.raises(ValueError):
            test(-1, 3)


def test_the_difference_interval_gives_what_two_r_packages_give():
    # contingencytables 3.0.0 on Cavo et al. 2012; PropCIs 0.3-0: scoreci.mp(25, 28, 618, 0.90).
    assert difference_interval(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert difference_interval(28, 25, 618, 0.90) == pytest.approx((-0.0148, 0.0247), abs=5e-5)


def test_the_difference_interval_lies_beside_the_golden_wald_and_bootstrap_ones():
    low, high = difference_interval(49, 2, 100)
    assert (low, high) == pytest.approx((0.365, 0.575), abs=0.01)
    assert (low, high) == pytest.approx((0.36, 0.58), abs=0.01)
    outcomes = np.repeat([0, 1, -1], [49, 49, 2])
    drawn = np.random.default_rng(0).choice(outcomes, (20_000, 100)).mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.015)


def score_statistic(repaired, broken, n, difference):
    """Tango's statistic with the nuisance rate found by brute force on the multinomial likelihood."""
    rest = n - repaired - broken

    def loss(q):
        cells = [(repaired, q + difference), (broken, q), (rest, 1 - 2 * q - difference)]
        return -sum(count * np.log(max(rate, 1e-300)) for count, rate in cells if count)

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(loss, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-12}).x
    return (repaired - broken - n * difference) / sqrt(n * (2 * q + difference * (1 - difference)))


@given(tables(largest=300))
def test_the_ends_of_the_interval_are_where_the_score_test_turns(table):
    low, high = difference_interval(*table)
    if high < 0.999:
        assert score_statistic(*table, high) == pytest.approx(-Z, abs=1e-3)
    if low > -0.999:
        assert score_statistic(*table, low) == pytest.approx(Z, abs=1e-3)


@given(tables())
def test_the_interval_holds_its_estimate_and_mirrors_when_before_and_after_swap(table):
    repaired, broken, n = table
    low, high = difference_interval(repaired, broken, n)
    assert -1 <= low <= (repaired - broken) / n <= high <= 1
    assert low < high
    swapped = difference_interval(broken, repaired, n)
    assert swapped == pytest.approx((-high, -low), abs=1e-9)


@given(tables())
def test_the_interval_holds_zero_exactly_where_the_asymptotic_mcnemar_test_does_not_reject(table):
    repaired, broken, _ = table
    if repaired + broken == 0:
        return
    statistic = abs(repaired - broken) / sqrt(repaired + broken)
    low, high = difference_interval(*table)
    assert (low <= 0 <= high) == (statistic <= Z)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_no_flip_still_leaves_an_interval_of_the_closed_form(n):
    end = Z**2 / (n + Z**2)
    assert difference_interval(0, 0, n) == pytest.approx((-end, end), abs=1e-9)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_every_case_repaired_ends_at_one(n):
    low, high = difference_interval(n, 0, n)
    assert high == 1.0
    assert low == pytest.approx((n - Z**2) / (n + Z**2), abs=1e-9)


def test_no_case_leaves_every_difference_possible_and_too_many_flips_are_refused():
    assert difference_interval(0, 0, 0) == (-1.0, 1.0)
    for counts in ((3, 2, 4), (-1, 0, 4)):
        with pytest.raises(ValueError, match="do not fit"):
            difference_interval(*counts)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    rng = np.random.default_rng(1)
    for rates in ((0.1, 0.05, 0.85), (0.02, 0.02, 0.96), (0.5, 0.02, 0.48)):
        drawn = rng.multinomial(100, rates, 2000)
        ends = {tuple(row): difference_interval(*row[:2].tolist(), 100) for row in drawn}
        covered = np.mean([ends[tuple(row)][0] <= rates[0] - rates[1] <= ends[tuple(row)][1] for row in drawn])
        assert 0.925 < covered < 0.985


DETECTABLE = {
    100: (None, 8.8, 12.4, 15.2, 19.6),
    300: (3.6, 5.1, 7.2, 8.8, 11.4),
    500: (2.8, 4.0, 5.6, 6.8, 8.8),
    872: (2.1, 3.0, 4.2, 5.2, 6.7),
    1000: (2.0, 2.8, 4.0, 4.8, 6.3),
    9824: (0.6, 0.9, 1.3, 1.5, 2.0),
    11873: (0.6, 0.8, 1.15, 1.4, 1.8),
}


@pytest.mark.parametrize("n", DETECTABLE)
def test_the_minimum_detectable_difference_gives_the_whole_golden_table(n):
    for discordant, points in zip((0.05, 0.10, 0.20, 0.30, 0.50), DETECTABLE[n], strict=True):
        found = minimum_detectable_difference(n, discordant)
        if points is None:
            assert found is None, "more than every flip would have left one way"
        else:
            assert 100 * found == pytest.approx(points, abs=0.05 + 1e-9)


def test_the_standard_error_and_the_wald_interval_are_the_golden_ones():
    # Of the mean of 100 changes; the t interval divides by n - 1 and takes Student's quantile.
    change = np.repeat([1.0, -1.0, 0.0], [49, 2, 49])
    low, high = mean_difference_interval(np.zeros(100), change, 0.95, None)
    error = (high - low) / 2 / t.ppf(0.975, 99) * sqrt(99 / 100)
    assert error == pytest.approx(0.0538, abs=5e-5)
    assert (0.47 - Z * error, 0.47 + Z * error) == pytest.approx((0.365, 0.575), abs=5e-4)


@pytest.mark.parametrize(("flips", "chi_square"), [(13, 0.844), (18, 0.868)])
def test_as_many_repaired_as_broken_give_one_where_peers_print_less(flips, chi_square):
    assert mcnemar_exact(flips, flips) == 1.0
    table = [[1, flips], [flips, 1]]
    assert mcnemar(table, exact=False, correction=True).pvalue == pytest.approx(chi_square, abs=1e-3)


@pytest.mark.parametrize(("points", "cases"), [(1, 7847), (2, 1960), (3, 870), (5, 312)])
def test_the_cases_needed_at_ten_percent_discordance_give_the_golden_counts(points, cases):
    assert cases_needed(points / 100, 0.10) == cases


@given(st.integers(1, 20_000), st.floats(0.01, 1), st.sampled_from([0.5, 0.8, 0.9]))
def test_detectable_difference_and_cases_needed_are_each_others_inverse(n, discordant, power):
    difference = minimum_detectable_difference(n, discordant, power=power)
    if difference is None:
        return
    assert difference <= discordant
    assert abs(cases_needed(difference, discordant, power=power) - n) <= 1


def test_too_few_cases_detect_nothing():
    assert minimum_detectable_difference(1, 0.5) is None
    assert minimum_detectable_difference(3, 0.9) is None


@given(st.integers(1, 20_000), st.floats(0, 1))
def test_the_smallest_detectable_difference_is_always_a_share_and_reachable(n, discordant):
    smallest = smallest_detectable(n, discordant)
    assert 0 < smallest <= 1
    found = minimum_detectable_difference(n, discordant) if discordant else None
    if found is not None:
        assert smallest == found
    elif smallest < 1:
        # With every flip one way, this is the difference that so many cases just show.
        assert minimum_detectable_difference(n, smallest) == pytest.approx(smallest, rel=1e-6) or (
            minimum_detectable_difference(n, smallest * (1 + 1e-9)) == pytest.approx(smallest, rel=1e-6)
        )


def test_where_too_few_cases_flip_the_smallest_detectable_difference_goes_one_way():
    # STATISTICS: 100 cases with 5 % discordant reach nothing. 8 of 100 all one way are shown with 80 % power.
    assert smallest_detectable(100, 0.05) == smallest_detectable(100, 0.0) == pytest.approx(0.0767, abs=5e-5)
    assert smallest_detectable(100, 0.10) == pytest.approx(0.088, abs=5e-4)
    assert smallest_detectable(3, 0.5) == smallest_detectable(1, 0.0) == 1.0


@pytest.mark.parametrize("difference", [0.0, 0.11, -0.11])
def test_a_difference_that_the_flips_cannot_make_is_refused(difference):
    with pytest.raises(ValueError, match=r"at most 0\.1"):
        cases_needed(difference, 0.1)


def test_cases_needed_forget_the_direction():
    assert cases_needed(-0.02, 0.1) == 1960
