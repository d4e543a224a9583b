import doctest
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tunediff.stats import discordance as module
from tunediff.stats.discordance import discordance, pair_tests, sign_test
from tunediff.stats.paired import mcnemar_exact
from tunediff.stats.permutation import sign_flip

RUNS = st.tuples(st.integers(1, 6), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@given(RUNS)
def test_pairs_are_counted_and_tested_as_one_by_one(right):
    counts, p = discordance(right), pair_tests(right)
    for a, b in itertools.product(range(len(right)), repeat=2):
        repaired = sum(not x and y for x, y in zip(right[a], right[b], strict=True))
        broken = sum(x and not y for x, y in zip(right[a], right[b], strict=True))
        assert (counts[a, b], counts[b, a]) == (repaired, broken)
        assert p[a, b] == pytest.approx(mcnemar_exact(repaired, broken), rel=1e-9)


@pytest.mark.parametrize(("repaired", "broken"), [(49, 2), (13, 13), (18, 18), (6, 0), (5, 0), (0, 0)])
def test_pairs_give_the_golden_values_with_clusters_of_one_case_too(repaired, broken):
    right = np.zeros((2, repaired + broken + 1), dtype=bool)
    right[1, :repaired] = right[0, repaired : repaired + broken] = True
    golden = {(49, 2): 1.1786127629e-12, (13, 13): 1.0, (18, 18): 1.0, (0, 0): 1.0, (6, 0): 0.03125, (5, 0): 0.0625}
    for clusters in (None, range(right.shape[1])):
        assert pair_tests(right, clusters)[0, 1] == pytest.approx(golden[repaired, broken], rel=1e-9)
    # Pairs of copies, each copy in the cluster of its case, show what the cases show.
    twice = pair_tests(np.repeat(right, 2, axis=1), np.repeat(np.arange(right.shape[1]), 2))
    assert twice[0, 1] == pytest.approx(golden[repaired, broken], rel=1e-9)


@given(st.lists(st.integers(-4, 4), max_size=11))
def test_the_sign_test_counts_every_choice_of_signs(net):
    sizes = [abs(one) for one in net]
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, sizes, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(net))
    ]
    expected = np.mean([one >= abs(sum(net)) for one in sums])
    assert sign_test(np.array(net, dtype=int)) == pytest.approx(expected, rel=1e-9)


def test_the_sign_test_is_what_the_permutation_test_draws():
    generator = np.random.default_rng(3)
    clusters = np.repeat(np.arange(100), 4)
    change = generator.choice([1, -1, 0], 400, p=[0.14, 0.08, 0.78])
    exact = sign_test(np.bincount(clusters, weights=change).astype(int))
    assert sign_flip(change, clusters) == pytest.approx(exact, abs=0.015)


def test_a_difference_of_hundreds_of_flips_keeps_its_small_p():
    net = np.repeat([1, 2, -1], [900, 300, 60])
    assert 0 < sign_test(net) < 1e-200
