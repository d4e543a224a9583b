"""Verdicts: golden values, what identical and equal models may not do, and what cases share."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.compare.verdict import (
    Evaluated,
    Gain,
    Promises,
    judge,
    judged_line,
    overall,
    verdict_metrics,
)
from tunediff.stats import intervals
from tunediff.stats.intervals import cases_for_rate, clopper_pearson
from tunediff.stats.paired import cases_for_margin, difference_interval

LEVEL = 0.05
MARGIN = Promises(non_inferiority_margin=0.05)


def change(repaired, broken, n):
    return np.repeat([1, -1, 0], [repaired, broken, n - repaired - broken])


def judged(wanted, flips, clusters=None, slices=None, confidence=0.95, gain=None, **more):
    return judge(wanted, flips, clusters, slices or {}, confidence, gain, **more)


@pytest.mark.parametrize(
    ("counts", "low", "high", "verdict"),
    [
        ((60, 80, 1319), -0.0330, 0.0024, "pass"),
        ((60, 100, 1319), -0.0494, -0.0117, "pass"),
        ((30, 42, 300), -0.0962, 0.0157, "inconclusive"),
        ((3, 4, 24), -0.272, 0.191, "inconclusive"),
    ],
)
def test_non_inferiority_gives_the_golden_verdicts(counts, low, high, verdict):
    [one] = judged(MARGIN, change(*counts))
    assert (one.low, one.high) == pytest.approx((low, high), abs=6e-4 if counts[2] == 24 else 6e-5)
    assert one.verdict == overall([one]) == verdict
    assert ("significantly worse" in judged_line(one, 0.95)) == (counts == (60, 100, 1319))


def test_a_loss_beyond_the_margin_fails_and_one_about_as_large_as_the_margin_is_inconclusive():
    [far], [near] = judged(MARGIN, change(60, 300, 1319)), judged(MARGIN, change(40, 55, 300))
    assert (far.verdict, near.verdict) == ("fail", "inconclusive")
    # The margin itself is measured: no number of cases tells the two apart.
    assert near.needed is None
    assert "no number of cases" in judged_line(near, 0.95)


def test_without_a_flip_the_cases_needed_are_those_of_the_closed_form():
    assert [cases_for_margin(0, 0, 10, margin) for margin in (0.05, 0.02, 0.01)] == [73, 189, 381]
    assert doctest.testmod(intervals).failed == 0


@given(st.integers(2, 400), st.data())
def test_as_many_cases_as_are_needed_tell_and_one_less_does_not(n, data):
    repaired = data.draw(st.integers(0, n))
    broken = data.draw(st.integers(0, n - repaired))
    margin = data.draw(st.sampled_from([0.01, 0.05, 0.2]))
    needed = cases_for_margin(repaired, broken, n, margin)
    if needed is not None and needed % n == 0:  # whole counts again
        times = needed // n
        low, high = difference_interval(repaired * times, broken * times, needed)
        assert low > -margin or high < -margin
    # What has told with these cases needs no more of them.
    low, high = difference_interval(repaired, broken, n)
    if low > -margin or high < -margin:
        assert needed is not None
        assert needed <= n
    else:
        assert needed is None or needed > n


@given(st.integers(1, 400), st.data())
def test_the_cases_for_a_rate_tell_by_the_exact_interval(n, data):
    count = data.draw(st.integers(0, n))
    limit = data.draw(st.sampled_from([0.01, 0.05, 0.3]))
    needed, (low, high) = cases_for_rate(count, n, limit), clopper_pearson(count, n)
    told = high <= limit or low > limit
    assert told == (needed is not None and needed <= n)


@pytest.mark.parametrize(
    ("broken", "n", "limit", "verdict"),
    [(2, 100, 0.08, "pass"), (2, 100, 0.07, "inconclusive"), (2, 100, 0.002, "fail"), (0, 100, 0.0, "inconclusive")],
)
def test_negative_flips_are_held_against_both_ends_of_the_exact_interval(broken, n, limit, verdict):
    [one] = judged(Promises(max_negative_flip_rate=limit), change(5, broken, n))
    assert one.verdict == verdict
    assert (one.needed is not None) == (verdict == "inconclusive" and limit > 0)
    assert (one.low, one.high) == pytest.approx(clopper_pearson(broken, n))


@pytest.mark.slow
def test_a_thousand_identical_pairs_never_fail_and_pairs_that_are_equal_fail_no_more_than_the_level():
    """Equal: both models are right equally often, and each case flips either way by chance, as batches make it."""
    generator = np.random.default_rng(18)
    wanted = Promises(max_negative_flip_rate=0.05, non_inferiority_margin=0.0)
    identical = failed = 0
    for _ in range(1000):
        n = int(generator.integers(50, 2000))
        identical += overall(judged(wanted, np.zeros(n, dtype=int))) == "fail"
        flips = generator.choice([1, -1, 0], n, p=[0.05, 0.05, 0.9])  # as many breaks as are allowed
        failed += overall(judged(wanted, flips)) == "fail"
    assert identical == 0
    # Up to the level, and what 1,000 draws of it may be off by.
    assert 0 < failed <= 1000 * LEVEL


@pytest.mark.slow
def test_equal_pairs_fail_no_more_than_the_level_where_many_slices_are_looked_at():
    generator = np.random.default_rng(4)
    failed = 0
    for _ in range(1000):
        flips = generator.choice([1, -1, 0], 600, p=[0.1, 0.1, 0.8])
        slices = {f"tag: {part}": np.arange(600) % 10 == part for part in range(10)}
        failed += overall(judged(Promises(non_inferiority_margin=0.0), flips, slices=slices)) == "fail"
    assert failed <= 1000 * LEVEL


@pytest.mark.slow
def test_equal_pairs_fail_no_more_than_the_level_where_cases_share_texts():
    generator = np.random.default_rng(5)
    clusters = np.repeat(np.arange(60), 5)
    wanted, failed, forgetful = Promises(0.1, 0.0), 0, 0
    for _ in range(100):
        flips = np.repeat(generator.choice([1, -1, 0], 60, p=[0.1, 0.1, 0.8]), 5)
        failed += overall(judged(wanted, flips, clusters)) == "fail"
        forgetful += overall(judged(wanted, flips)) == "fail"
    assert failed <= 100 * LEVEL < forgetful


def test_cases_that_share_texts_need_more_of_them():
    flips = np.repeat(change(12, 14, 200), 5)
    [alone], [shared] = judged(MARGIN, flips), judged(MARGIN, flips, np.repeat(np.arange(200), 5))
    assert (alone.verdict, shared.verdict) == ("pass", "inconclusive")
    assert shared.needed is not None
    assert shared.needed > len(flips)
    # The interval is about that of the 200 texts.
    low, high = difference_interval(12, 14, 200)
    assert (shared.low, shared.high) == pytest.approx((low, high), abs=0.01)


def test_a_slice_that_lost_fails_a_whole_that_gained():
    flips = np.concatenate([change(80, 2, 500), change(1, 40, 100)])
    slices = {"negation: yes": np.arange(600) >= 500}
    whole, part = judged(MARGIN, flips, slices=slices)
    assert (whole.verdict, part.verdict, overall([whole, part])) == ("pass", "fail", "fail")
    assert "of the 100 cases of negation: yes: -39.0 points" in judged_line(part, 0.95)


def test_the_gain_over_the_baseline_is_held_against_its_own_interval():
    for gain, verdict in ((Gain(0.2, 0.1, 0.3), "pass"), (Gain(0.05, 0.0, 0.09), "fail"), (Gain(0.1, 0, 0.2), None)):
        [one] = judged(Promises(min_gain_over_baseline=0.1), change(1, 0, 10), gain=gain)
        assert one.verdict == (verdict or "inconclusive")


def test_the_metrics_say_the_verdict_and_how_many_cases_would_tell():
    found = judged(Promises(0.02, 0.05), change(30, 42, 300))
    assert verdict_metrics(found) == {"verdict": "fail"}
    [one] = judged(MARGIN, change(30, 42, 300))
    assert verdict_metrics([one]) == {"verdict": "inconclusive", "verdict_cases_needed": one.needed}
    assert f"about {one.needed:,} cases would be conclusive, {one.needed - 300:,} more" in judged_line(one, 0.95)
    assert verdict_metrics([]) == {}


def test_what_is_forgotten_on_other_test_sets_is_held_against_the_exact_interval_of_each():
    others = {"sums": Evaluated(change(0, 4, 200), None), "copies": Evaluated(change(3, 0, 200), None)}
    sums, copies = judged(Promises(max_forgotten_rate=0.02), change(5, 50, 100), others=others)
    assert (sums.scope, sums.estimate, sums.verdict) == ("sums", 0.02, "inconclusive")
    assert (sums.low, sums.high) == pytest.approx(clopper_pearson(4, 200))
    assert (copies.scope, copies.verdict) == ("copies", "pass")
    assert judged_line(copies, 0.95).startswith("forgotten of the 200 cases of copies: 0.00% (95 % interval")


def test_a_promise_that_stops_early_is_decided_at_the_first_look_that_tells():
    flips = np.concatenate([change(0, 0, 50), change(8, 0, 8), change(0, 60, 400)])
    [one] = judged(Promises(non_inferiority_margin=0.0), flips, early=True)
    assert (one.verdict, one.read, one.cases) == ("pass", 58, 458)
    assert one.low > 0
    line = judged_line(one, 0.95)
    assert line.startswith("non-inferiority after 58 of all 458 cases: +13.8 points (95 % interval valid at every")
    [all_of_them] = judged(Promises(non_inferiority_margin=0.0), flips)
    assert all_of_them.verdict == "fail"
    # Breaks, against a rate: each of the first cases breaks.
    [few] = judged(Promises(max_negative_flip_rate=0.1), change(0, 5, 200)[::-1], early=True)
    [many] = judged(Promises(max_negative_flip_rate=0.1), change(0, 40, 200), early=True)
    assert (few.verdict, many.verdict) == ("pass", "fail")
    assert few.read < 200 > many.read


def test_a_promise_that_no_look_decides_says_how_many_cases_would():
    [one] = judged(Promises(non_inferiority_margin=0.02), np.tile([1, 0, 0, 0, -1, 0, 0, 0, 0, 0], 30), early=True)
    assert (one.verdict, one.read) == ("inconclusive", 300)
    assert one.needed > 300
    assert "cases would be conclusive" in judged_line(one, 0.95)


def test_equal_pairs_that_are_looked_at_after_every_case_fail_no_more_than_the_level():
    generator = np.random.default_rng(6)
    wanted, failed = Promises(max_negative_flip_rate=0.05, non_inferiority_margin=0.0), 0
    for _ in range(60):
        flips = generator.choice([1, -1, 0], 300, p=[0.05, 0.05, 0.9])
        failed += overall(judged(wanted, flips, slices={"even": np.arange(300) % 2 == 0}, early=True)) == "fail"
    assert failed <= 60 * LEVEL
