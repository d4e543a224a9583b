import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import bootstrap as scipy_bootstrap

from tunediff.stats import bootstrap as module
from tunediff.stats.bootstrap import (
    bootstrap_interval,
    cluster_codes,
    draws,
    expanded_percentiles,
    mean_interval,
    merged,
    units,
)


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_the_made_up_pair_gives_the_golden_percentile_interval():
    change = np.repeat([0, 1, -1], [49, 49, 2])
    assert mean_interval(change) == pytest.approx((0.36, 0.58), abs=0.011)


def test_drawing_kinds_is_the_bootstrap_that_scipy_does_case_by_case():
    scores = np.random.default_rng(3).choice([0.0, 0.25, 0.5, 1.0], 400, p=[0.3, 0.2, 0.2, 0.3])
    theirs = scipy_bootstrap((scores,), np.mean, n_resamples=5000, method="percentile", random_state=0)
    assert mean_interval(scores) == pytest.approx(tuple(theirs.confidence_interval), abs=0.004)


def test_cases_of_a_cluster_are_drawn_together():
    # Ten copies of each of 40 cases say no more than the 40 do.
    once = np.random.default_rng(0).integers(0, 2, 40)
    low, high = mean_interval(np.repeat(once, 10), np.repeat(np.arange(40), 10))
    alone = mean_interval(once)
    assert (low, high) == pytest.approx(alone, abs=0.02)
    apart_low, apart_high = mean_interval(np.repeat(once, 10))
    assert high - low > 2.5 * (apart_high - apart_low)


def test_a_case_without_a_cluster_stands_for_itself():
    assert cluster_codes(["a", None, "b", "a", None], 5).tolist() == [0, 2, 1, 0, 3]
    values = [1.0, 0.0, 1.0, 0.0, 1.0]
    assert mean_interval(values, [None] * 5) == mean_interval(values)


@pytest.mark.slow
def test_the_interval_covers_the_mean_of_few_clusters_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(5), 0
    for _ in range(400):
        clusters = np.repeat(np.arange(12), 5)
        values = rng.normal(0, 1, 12)[clusters] + rng.normal(0, 0.3, 60)
        low, high = mean_interval(values, clusters)
        covered += low <= 0 <= high
    assert 0.92 < covered / 400 < 0.985


def test_a_stratified_draw_never_loses_a_class_and_has_no_spread_between_classes():
    # Recall of a class with one case: a plain draw has replicates without it.
    strata = [units([[1.0, 1.0]]), units([[0.0, 1.0]] * 9)]

    def share(sums):
        assert (sums[:, 1] == 10).all()
        return sums[:, 0] / sums[:, 1]

    assert bootstrap_interval(strata, share) == (0.1, 0.1)


@pytest.mark.slow
def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(1).normal(size=500)
    assert mean_interval(values) == mean_interval(values)


def test_many_kinds_are_drawn_in_parts_with_fewer_replicates():
    values = np.random.default_rng(1).normal(size=12_000)
    low, high = mean_interval(values)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(12_000), rel=0.1)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_the_interval_lies_within_the_values(values):
    low, high = mean_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "no case"),
        (lambda: mean_interval([1.0]), "a single unit"),
        (lambda: mean_interval([1.0, 2.0], ["a", "a"]), "a single unit"),
        (lambda: mean_interval([1.0, 2.0], ["a"]), "clusters of 1 cases, expected 2"),
    ],
)
def test_too_little_to_draw_from_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_drawing_units_one_by_one_is_the_same_bootstrap():
    scores = np.random.default_rng(82).normal(0, 1, 80)
    drawn = np.concatenate(list(draws(80, replicates=4000)))
    assert drawn.shape == (4000, 80)
    assert (drawn.sum(axis=1) == 80).all()
    found = expanded_percentiles(drawn @ scores / 80, 80)
    assert found == pytest.approx(mean_interval(scores), abs=0.02)


def test_many_units_are_drawn_some_replicates_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 250)
    assert [len(some) for some in draws(100, replicates=5)] == [2, 2, 1]


def test_units_made_some_at_a_time_are_those_made_at_once():
    table = np.random.default_rng(0).integers(3, size=(50, 2)).astype(float)
    whole, some = units(table), merged(csr_array(table[start : start + 7]) for start in range(0, 50, 7))
    found = zip(some.totals.toarray().tolist(), some.counts.tolist(), strict=True)
    assert sorted(found) == list(zip(whole.totals.tolist(), whole.counts.tolist(), strict=True))
