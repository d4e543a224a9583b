import numpy as np
import pytest

from tests.board_answers import RUNS, answers, right, seed
from tunediff.compare.board import Answered
from tunediff.compare.recipes import case_kinds, case_lines, find_recipes, recipe_figures


def test_runs_that_differ_in_their_seed_alone_are_one_recipe():
    [recipe] = find_recipes([Answered("base", answers(right(0, 0))), *RUNS])
    assert recipe.runs == ["seed0-0.1", "seed1-0.1", "seed2-0.1"]
    assert recipe.seeds == [0, 1, 2]
    assert recipe.change.sum(axis=1).tolist() == [8, 27, 18]
    assert find_recipes(RUNS[:1] + RUNS[3:]) == []


def test_a_case_that_all_seeds_flip_is_stable_and_one_that_some_flip_a_lottery():
    [recipe] = find_recipes(RUNS)
    kinds = case_kinds(recipe)
    # The first two are broken by all seeds, the third by one; ten are repaired by all, twenty more by some.
    assert kinds[:4] == ["stable_break", "stable_break", "lottery", "unchanged"]
    assert [kinds.count(kind) for kind in ("stable_repair", "stable_break", "lottery", "unchanged")] == [10, 2, 21, 67]
    lines = case_lines(recipe)
    assert len(lines) == 33
    assert lines[2] == {
        "case_id": "c2", "recipe": recipe.name, "kind": "lottery", "repaired": 0, "broken": 1, "seeds": 3
    }  # fmt: skip


def test_three_seeds_have_an_interval_and_two_have_none():
    [three], [two] = find_recipes(RUNS), find_recipes(RUNS[:2])
    figures = recipe_figures(three, 0.95, None, 0.05)
    assert figures["gains"] == pytest.approx([0.08, 0.27, 0.18])
    assert figures["gain"] == pytest.approx(0.53 / 3)
    # Three numbers that lie far apart: the interval is wider than that of the cases of any of them.
    assert figures["gain_low"] < 0 < figures["gain_high"]
    assert 0 < figures["chance_worse"] < 0.5
    assert figures["seeds_needed"] is None or figures["seeds_needed"] > 3
    figures = recipe_figures(two, 0.95, None, 0.05)
    assert figures["gain"] == pytest.approx(0.13)
    assert figures["gain_low"] is figures["chance_worse"] is figures["seeds_needed"] is None


def test_each_seed_is_held_against_its_own_base():
    bases = [right(0, 0), right(5, 0), right(0, 5)]
    recipe = find_recipes([seed(at, right(20, 0), base=base) for at, base in enumerate(bases)])[0]
    assert recipe.change.sum(axis=1).tolist() == [20, 15, 25]
    assert np.abs(recipe.change).max() == 1
