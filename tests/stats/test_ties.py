import doctest
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.stats import ties
from tunediff.stats.discordance import pair_tests
from tunediff.stats.multiple import holm
from tunediff.stats.ties import MOST_GROUPS, letters, rank_intervals, tie_groups


def symmetric(flags, n):
    separated = np.zeros((n, n), dtype=bool)
    for (a, b), flag in zip(itertools.combinations(range(n), 2), flags, strict=True):
        separated[a, b] = separated[b, a] = flag
    return separated


GRAPHS = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.booleans(), min_size=n * (n - 1) // 2, max_size=n * (n - 1) // 2).map(
        lambda flags: symmetric(flags, n)
    )
)


def test_the_documented_example_holds():
    assert doctest.testmod(ties).failed == 0
    assert letters(3) == ["a", "b", "c"]
    assert len(set(letters(1000))) == 1000


@given(GRAPHS)
def test_groups_are_all_largest_sets_of_runs_that_are_not_told_apart(separated):
    n = len(separated)

    def tied(runs):
        return not any(separated[a, b] for a, b in itertools.combinations(runs, 2))

    sets = [set(runs) for size in range(1, n + 1) for runs in itertools.combinations(range(n), size) if tied(runs)]
    largest = sorted(sorted(one) for one in sets if not any(one < other for other in sets))
    assert tie_groups(separated) == largest


@given(GRAPHS)
def test_runs_share_a_group_exactly_where_they_are_not_told_apart(separated):
    groups = tie_groups(separated)
    for a, b in itertools.combinations(range(len(separated)), 2):
        assert any(a in group and b in group for group in groups) == (not separated[a, b])


def test_ranks_go_from_those_that_are_clearly_better_to_those_that_are_clearly_worse():
    separated = np.zeros((4, 4), dtype=bool)
    separated[0, 2] = separated[2, 0] = separated[0, 3] = separated[3, 0] = True
    low, high = rank_intervals(separated, np.array([0.9, 0.8, 0.7, 0.6]))
    assert low.tolist() == [1, 1, 2, 2]
    assert high.tolist() == [2, 4, 4, 4]


def test_a_graph_with_very_many_groups_is_refused():
    # Pairs that differ, everything else tied: 2^14 groups.
    separated = np.kron(np.eye(14), np.array([[0, 1], [1, 0]])).astype(bool)
    with pytest.raises(ValueError, match=f"more than {MOST_GROUPS:,} groups"):
        tie_groups(separated)


def test_over_equal_runs_the_chance_of_any_separation_is_at_most_five_percent():
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        difficulty = generator.beta(2, 1, 300)
        right = generator.random((8, 300)) < difficulty
        p = pair_tests(right)[np.triu_indices(8, 1)]
        found += min(holm(p.tolist())) < 0.05
    assert found <= 0.05 * 200


def test_equal_runs_whose_cases_share_texts_are_told_apart_only_where_that_is_forgotten():
    generator = np.random.default_rng(2)
    clusters, found, forgetful = np.repeat(np.arange(80), 5), 0, 0
    for _ in range(60):
        right = np.repeat(generator.random((4, 80)) < 0.7, 5, axis=1)
        pairs = np.triu_indices(4, 1)
        found += min(holm(pair_tests(right, clusters)[pairs].tolist())) < 0.05
        forgetful += min(holm(pair_tests(right)[pairs].tolist())) < 0.05
    assert found <= 3 < forgetful
