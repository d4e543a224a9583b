"""The test set of a board: signal, noise, cases that tell nothing, labels to review."""

import numpy as np
import pytest

from tests.board_answers import BASE, RUNS, answers, right
from tunediff.compare.board import Answered, make_board
from tunediff.compare.board_health import health_of
from tunediff.compare.recipes import find_recipes
from tunediff.stats.paired import standard_error


def board(*runs):
    return make_board([BASE, *runs], "base", 0.95)


def test_between_seeds_the_noise_is_how_they_differ_and_the_spread_is_between_recipes():
    # Three seeds of one recipe gain 8, 27 and 18 points; one run of another gains 5.
    health = health_of(board(*RUNS), find_recipes(RUNS))
    assert health.noise_of == "seeds"
    assert health.noise == pytest.approx(np.std([0.08, 0.27, 0.18], ddof=1))
    assert health.spread == pytest.approx(np.std([0.53 / 3, 0.05], ddof=1))
    assert health.signal_to_noise == pytest.approx(health.spread / health.noise)


def test_one_recipe_is_held_against_the_base():
    seeds = RUNS[:3]
    health = health_of(board(*seeds), find_recipes(seeds))
    assert health.spread == pytest.approx(0.53 / 3 / np.sqrt(2))
    assert health.noise_of == "seeds"


def test_without_seeds_the_noise_is_that_of_the_cases_and_the_base_counts_where_it_is_one_of_two():
    health = health_of(board(Answered("a", answers(right(20, 0)))), [])
    assert health.noise_of == "cases"
    # Of two runs the ratio is the difference over its standard error.
    assert health.signal_to_noise == pytest.approx(0.2 / (np.sqrt(0.2 * 0.8 / 100)))
    same = health_of(board(Answered("a", answers(right(9, 0))), Answered("b", answers(right(9, 0)))), [])
    assert (same.spread, same.noise, same.signal_to_noise) == (0.0, 0.0, None)


def test_cases_that_all_have_right_or_none_tell_nothing_and_those_that_all_answer_alike_are_to_be_reviewed():
    health = health_of(board(Answered("a", answers(right(20, 3))), Answered("b", answers(right(10, 0)))), [])
    assert (health.always_right, health.always_wrong) == (47, 30)
    # All say "yes", and so does the label; these outcomes are somebody else's.
    assert len(health.suspected) == 30


def test_the_noise_of_many_runs_is_the_mean_of_all_pairs():
    generator = np.random.default_rng(3)
    flags, texts = generator.random((4, 60)) < 0.7, np.repeat(np.arange(20), 3)
    for columns, clusters in (({}, None), ({"cluster": texts.astype(str)}, texts)):
        given = [Answered(f"r{at}", answers(row, **columns)) for at, row in enumerate(flags)]
        pairs = [standard_error(flags[a].astype(int) - flags[b], clusters) ** 2 for a in range(4) for b in range(a)]
        found = health_of(make_board(given, None, 0.95), [])
        assert found.noise == pytest.approx(np.sqrt(np.mean(pairs) / 2))
