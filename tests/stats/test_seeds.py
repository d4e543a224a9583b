import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t

from tunediff.stats.paired import difference_interval
from tunediff.stats.seeds import (
    chance_worse,
    multi_bootstrap,
    recipe_interval,
    seeds_needed,
    two_way,
)

CHANGES = st.tuples(st.integers(2, 5), st.integers(2, 12)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-1, 1))
)


def simulated(spread, seeds, cases=400, seed=0):
    """Gains around 10 points: a strength of each seed, a difficulty of each case, luck in each of both."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(size=cases)
    base = difficulty + 0.5 * generator.normal(size=cases) > 0.2
    strength, luck = spread * generator.normal(size=(seeds, 1)), 0.5 * generator.normal(size=(seeds, cases))
    return (difficulty + strength + luck > -0.2).astype(np.int64) - base


@given(CHANGES)
def test_the_variances_are_those_of_the_analysis_of_variance(change):
    """The mean squares of two crossed factors, written out."""
    (seeds, n), mean = change.shape, change.mean()
    by_seed = n * sum((row.mean() - mean) ** 2 for row in change) / (seeds - 1)
    by_case = seeds * sum((column.mean() - mean) ** 2 for column in change.T) / (n - 1)
    both = sum(
        (change[s, c] - change[s].mean() - change[:, c].mean() + mean) ** 2 for s in range(seeds) for c in range(n)
    ) / ((seeds - 1) * (n - 1))
    layout = two_way(change)
    assert layout.by_seed * seeds * n == pytest.approx(by_seed, abs=1e-9)
    assert layout.by_case * seeds * n == pytest.approx(by_case, abs=1e-9)
    assert layout.by_both * seeds * n == pytest.approx(both, abs=1e-9)
    assert min(layout.components.values()) >= 0


@given(CHANGES, st.integers(2, 3))
def test_copies_of_cases_that_are_named_as_clusters_add_nothing(change, times):
    alone = two_way(change)
    copied = two_way(np.repeat(change, times, axis=1), np.repeat(np.arange(change.shape[1]), times))
    for name in ("by_seed", "by_case", "by_both"):
        assert getattr(copied, name) == pytest.approx(getattr(alone, name), abs=1e-12)
    if len(change) > 2:
        assert recipe_interval(copied, 0.95) == pytest.approx(recipe_interval(alone, 0.95), abs=1e-9)


@given(CHANGES)
def test_the_order_of_seeds_and_cases_does_not_matter_and_the_sign_turns_the_interval(change):
    layout, turned = two_way(change), two_way(-change[::-1, ::-1])
    assert chance_worse(layout) + chance_worse(turned) == pytest.approx(1.0, abs=1e-9) or layout.gain == 0
    if len(change) > 2 and layout.flips:
        low, high = recipe_interval(layout, 0.95)
        assert recipe_interval(turned, 0.95) == pytest.approx((-high, -low), abs=1e-12)
        assert low <= layout.gain <= high


def test_seeds_that_all_answer_alike_leave_the_interval_of_the_cases():
    one = np.repeat([1, -1, 0], [60, 20, 320])
    layout = two_way(np.stack([one] * 3))
    assert (layout.by_seed, layout.by_both) == pytest.approx((0, 0), abs=1e-15)
    half = t.ppf(0.975, 399) * one.std(ddof=1) / 20
    assert recipe_interval(layout, 0.95) == pytest.approx((0.1 - half, 0.1 + half))
    assert chance_worse(layout) == pytest.approx(t.cdf(-0.1 / (one.std(ddof=1) / 20), 399), abs=1e-9)


def test_cases_that_all_flip_with_their_seed_leave_the_interval_of_the_seeds():
    """The mean of three numbers and nothing else."""
    gains = np.array([0.2, 0.3, 0.1])
    change = np.zeros((3, 100_000), dtype=np.int64)
    generator = np.random.default_rng(0)
    for row, gain in zip(change, gains, strict=True):
        row[generator.permutation(100_000)[: int(gain * 100_000)]] = 1
    half = t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert recipe_interval(two_way(change), 0.95) == pytest.approx((0.2 - half, 0.2 + half), abs=0.002)


def test_where_nothing_flips_the_interval_has_a_length():
    layout = two_way(np.zeros((3, 60), dtype=np.int64))
    assert recipe_interval(layout, 0.95) == difference_interval(0, 0, 60)
    assert chance_worse(layout) == pytest.approx(0.5)


def test_fewer_than_three_seeds_have_no_interval_and_one_no_layout():
    with pytest.raises(ValueError, match="found 2 seeds, expected at least 3"):
        recipe_interval(two_way(simulated(0.1, 2)), 0.95)
    with pytest.raises(ValueError, match="found 1 seeds and 400 clusters"):
        two_way(simulated(0.1, 1))


def test_as_many_seeds_as_are_needed_make_the_interval_about_as_narrow_as_was_wanted():
    layout = two_way(simulated(0.3, 8, seed=3))
    low, high = recipe_interval(layout, 0.95)
    wanted = (high - low) / 2
    # The interval of the eight is what the eight are needed for.
    assert seeds_needed(layout, wanted * 1.0001, 0.95) == 8
    fewer = seeds_needed(layout, 1.5 * wanted, 0.95)
    more = seeds_needed(layout, 0.8 * wanted, 0.95)
    assert fewer < 8 < more
    assert seeds_needed(layout, 0.001, 0.95) is None


def test_the_interval_covers_the_true_gain_where_the_one_of_a_checkpoint_does_not():
    held = alone = 0
    for draw in range(100):
        change = simulated(0.3, 5, seed=draw)
        layout = two_way(change)
        low, high = recipe_interval(layout, 0.95)
        truth = 0.13957  # in closed form
        held += low <= truth <= high
        flips = change[0]
        low, high = difference_interval(int((flips > 0).sum()), int((flips < 0).sum()), 400)
        alone += low <= truth <= high
    assert 88 <= held <= 100
    assert alone < 80


def test_the_multi_bootstrap_is_near_where_there_are_many_seeds():
    change = simulated(0.2, 40, seed=9)
    found, ours = multi_bootstrap(change, 0.95), recipe_interval(two_way(change), 0.95)
    assert found == pytest.approx(ours, abs=0.01)
    clusters = np.repeat(np.arange(100), 4)
    low, high = multi_bootstrap(change, 0.95, clusters)
    assert low < change.mean() < high
