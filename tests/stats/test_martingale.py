"""Stopping early: golden values, the fair coin in closed form, and how rarely equal models are ever told apart."""

import doctest
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tunediff.stats import martingale
from tunediff.stats.martingale import (
    always_valid_interval,
    cases_to_decide,
    first_decision,
    log_winnings,
    sequential_units,
)
from tunediff.stats.paired import mcnemar_exact

ENOUGH = np.log(20)


def flips(repaired, broken, same=0):
    return np.repeat([1, -1, 0], [repaired, broken, same])


def winnings(repaired, broken, same=0, mean=0.0):
    return float(np.exp(log_winnings(sequential_units(flips(repaired, broken, same)), mean)[0]))


def coin(n, k):
    return 2**n / ((n + 1) * comb(n, k))


def ever(rejects, most):
    """The chance that a fair coin is rejected after any of its first tosses, by all paths."""
    chances, crossed = {0: 1.0}, {}
    for n in range(1, most + 1):
        after: dict[int, float] = {}
        for heads, chance in chances.items():
            for more in (0, 1):
                after[heads + more] = after.get(heads + more, 0.0) + chance / 2
        stopped = {heads for heads in after if rejects(n, heads)}
        crossed[n] = crossed.get(n - 1, 0.0) + sum(after.pop(heads) for heads in stopped)
        chances = after
    return crossed


def test_the_documented_example_holds():
    assert doctest.testmod(martingale).failed == 0


def test_the_winnings_against_a_fair_coin_give_the_golden_values():
    assert winnings(51, 49) == pytest.approx(0.12689, abs=5e-6)
    assert winnings(49, 2) == pytest.approx(3.3964e10, rel=5e-5)


@pytest.mark.parametrize(
    ("broken", "looking", "once"), [(0, 8, 6), (1, 11, 8), (2, 14, 10), (3, 16, 12), (4, 18, 13), (5, 20, 15)]
)
def test_the_fewest_repairs_are_the_golden_ones_with_looking_and_without(broken, looking, once):
    assert next(one for one in range(1, 40) if winnings(one, broken) >= 20) == looking
    assert next(one for one in range(1, 40) if one > broken and mcnemar_exact(one, broken) < 0.05) == once


def test_looking_after_every_pair_rejects_equal_models_as_rarely_as_the_golden_value_says():
    assert ever(lambda n, k: coin(n, k) >= 20, 100)[100] == pytest.approx(0.0276, abs=5e-5)
    peeking = ever(lambda n, k: 2 * binom.cdf(min(k, n - k), n, 0.5) < 0.05, 300)
    assert (peeking[100], peeking[300]) == (pytest.approx(0.227, abs=5e-4), pytest.approx(0.316, abs=5e-4))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 50))
def test_cases_that_do_not_flip_change_nothing_against_a_mean_of_zero(repaired, broken, same):
    if repaired + broken + same:
        expected = coin(repaired + broken, repaired)
        assert winnings(repaired, broken, same) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.02, 0.98))
def test_against_a_rate_the_winnings_are_those_of_all_rates_with_equal_weight(yes, no, rate):
    if not yes + no:
        return
    units = sequential_units(np.repeat([1, 0], [yes, no]), least=0)
    expected = 1 / ((yes + no + 1) * comb(yes + no, yes) * rate**yes * (1 - rate) ** no)
    assert float(np.exp(log_winnings(units, rate)[0])) == pytest.approx(expected, rel=1e-6)


def test_a_decision_is_the_first_look_that_tells_and_stands_whatever_follows():
    units = sequential_units(np.concatenate([flips(3, 0, 5), flips(6, 0), flips(0, 40)]))
    assert first_decision(units, 0.0, ENOUGH, ENOUGH) == 8 + 5
    assert first_decision(sequential_units(np.tile([1, -1], 13)), 0.0, ENOUGH, ENOUGH) is None


@pytest.mark.parametrize("counts", [(60, 80, 1179), (0, 0, 50), (8, 0, 0), (300, 20, 700)])
def test_the_interval_leaves_out_exactly_the_means_that_are_refuted(counts):
    units = sequential_units(flips(*counts))
    low, high = always_valid_interval(units, 0.95)
    assert -1 <= low <= units.mean <= high <= 1
    for end, step in ((low, -1e-6), (high, 1e-6)):
        if -1 < end < 1:
            assert log_winnings(units, end)[0] <= ENOUGH + 1e-4
            assert log_winnings(units, end + step)[0] > ENOUGH - 1e-4


def test_as_many_cases_as_are_needed_decide_at_these_rates():
    needed = cases_to_decide(sequential_units(flips(6, 2, 92)), 0.0, ENOUGH)
    assert needed is not None
    share = needed / 100
    assert winnings(round(6 * share), round(2 * share)) == pytest.approx(20, rel=0.5)
    assert cases_to_decide(sequential_units(flips(5, 5)), 0.0, ENOUGH) is None


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_a_loss_of_just_the_margin_is_seldom_told_from_it_however_often_one_looks(margin):
    generator = np.random.default_rng(8)
    told = 0
    for _ in range(200):
        change = generator.choice([1, -1, 0], 400, p=[0.1, 0.1 + margin, 0.8 - margin])
        told += first_decision(sequential_units(change), -margin, ENOUGH, ENOUGH) is not None
    assert told <= 10


def test_copies_of_cases_that_share_a_text_decide_nothing_by_themselves():
    change, copies = flips(5, 0, 5), np.repeat(np.arange(10), 4)
    alone, copied = sequential_units(change), sequential_units(np.repeat(change, 4), copies)
    assert log_winnings(copied, -0.02)[0] == pytest.approx(log_winnings(alone, -0.02)[0])
    assert first_decision(sequential_units(np.repeat(change, 4)), 0.0, ENOUGH, ENOUGH) == 8
    assert first_decision(copied, 0.0, ENOUGH, ENOUGH) is None
    assert copied.seen.tolist() == list(range(4, 41, 4))
