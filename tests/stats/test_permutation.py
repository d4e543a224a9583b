import doctest
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from tunediff.stats import permutation as module
from tunediff.stats.bootstrap import units
from tunediff.stats.paired import mcnemar_exact
from tunediff.stats.permutation import sign_flip, swap_test, swap_test_of


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_few_cases_are_counted_through_exactly(change):
    observed = abs(sum(change))
    signs = product([1, -1], repeat=len(change))
    expected = np.mean([abs(sum(s * d for s, d in zip(row, change, strict=True))) >= observed for row in signs])
    assert sign_flip(change) == pytest.approx(expected)


@pytest.mark.parametrize(("repaired", "broken"), [(9, 3), (30, 14), (20, 20), (60, 45)])
def test_of_zeros_and_ones_it_is_the_exact_mcnemar_test(repaired, broken):
    change = np.repeat([1, -1, 0], [repaired, broken, 50])
    assert sign_flip(change) == pytest.approx(mcnemar_exact(repaired, broken), abs=0.015)


def test_it_agrees_with_scipy_on_scores():
    change = np.random.default_rng(0).normal(0.15, 0.5, 60)
    theirs = permutation_test((change,), np.mean, permutation_type="samples", n_resamples=20_000, random_state=0)
    assert sign_flip(change) == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_made_up_pair_is_as_small_as_so_many_draws_can_show():
    assert sign_flip(np.repeat([1, -1], [49, 2])) == pytest.approx(1 / 10_001)


def test_cases_of_a_cluster_change_sign_together():
    # Ten copies of six cases: 1 of 2^5 pairs of sign patterns is as uneven, not 1 of 2^59.
    assert sign_flip(np.ones(60), np.repeat(np.arange(6), 10)) == pytest.approx(2 / 64)
    assert sign_flip(np.ones(60)) < 0.001


def test_no_difference_gives_one():
    assert sign_flip([0.0, 0.0, 0.0]) == 1.0


@pytest.mark.slow
def test_it_rejects_true_equality_as_often_as_it_says():
    rng = np.random.default_rng(4)
    small = [sign_flip(rng.normal(size=25)) < 0.05 for _ in range(600)]
    assert 0.03 < np.mean(small) < 0.075


def test_a_corpus_metric_is_computed_again_after_every_swap():
    # The larger of two sums is no mean of cases: counted by hand over the 8 swaps of three cases.
    before, after = np.array([1.0, 2.0, 0.0]), np.array([3.0, 2.5, 1.0])
    table = np.stack([before, after, after, before], axis=1)

    def squares(sums):
        return sums[:, 1] ** 2 - sums[:, 0] ** 2

    observed, as_large = 6.5**2 - 3.0**2, 0
    for swaps in product([False, True], repeat=3):
        one, two = np.where(swaps, after, before).sum(), np.where(swaps, before, after).sum()
        as_large += abs(two**2 - one**2) >= observed - 1e-9
    assert swap_test(units(table), squares) == as_large / 8


@pytest.mark.parametrize("n", [7, 60])
def test_a_statistic_of_the_swaps_is_tested_as_one_of_sums(n):
    change = np.random.default_rng(81).normal(0.2, 1, n)

    def mean(swapped):
        return np.where(swapped, -change, change).mean(axis=1)

    assert swap_test_of(mean, n, 10_000) == pytest.approx(sign_flip(change), abs=0.0 if n == 7 else 0.02)
