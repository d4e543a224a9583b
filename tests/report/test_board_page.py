import json

import pytest

from tests.board_answers import BASE, RUNS, answers, right, runs
from tests.report.made import HOSTILE
from tunediff.compare.board import Answered, Retained, make_board
from tunediff.compare.board_health import health_of
from tunediff.compare.recipes import case_lines, find_recipes, recipe_figures
from tunediff.compare.verdict import Gain
from tunediff.report.board_page import (
    board_json,
    board_lines,
    board_pages,
    board_table,
    recipe_headline,
    recipe_sentences,
)
from tunediff.report.board_pictures import tradeoff_picture

RECIPE = {
    "name": "seed0", "runs": ["seed0", "seed1", "seed2"], "seeds": [0, 1, 2], "gains": [0.1, 0.2, 0.3], "gain": 0.2,
    "gain_low": -0.05, "gain_high": 0.45, "multi_bootstrap_low": 0.1, "multi_bootstrap_high": 0.3,
    "variance_seed": 0.009, "variance_case": 0.1, "variance_seed_case": 0.0, "chance_worse": 0.03, "seeds_needed": None,
    "stable_repair": 10, "stable_break": 0, "lottery": 20, "unchanged": 70,
}  # fmt: skip


def plain(text):
    return str(text).replace("\N{NO-BREAK SPACE}", " ")


def full():
    """Runs of which everything is known."""
    retained = {"sums": Retained(200, 10, 4, Gain(-0.03, -0.06, 0.0))}
    known = {"retained": retained, "seconds": 12.5, "over_baseline": Gain(0.1, 0.0, 0.2)}
    tuned = [
        Answered(name, answers(right(*counts)), parameters={"train.seed": at, "adapt.r": 8}, **known)
        for at, (name, counts) in enumerate({"a": (30, 2), "b": (28, 2)}.items())
    ]
    return make_board([BASE, *tuned], "base", 0.95)


def test_the_table_has_twelve_columns_where_everything_is_known_and_fewer_where_not():
    assert [column[0] for column in board_table(full())] == [
        *("run", "accuracy", "95\N{NO-BREAK SPACE}% interval", "rank", "group", "to base", "p (base)"),
        *("to best", "p (best)", "over baseline", "forgotten", "seconds"),
    ]
    headings = [column[0] for column in board_table(make_board(runs(a=(5, 0)), None, 0.95))]
    assert not {"to base", "over baseline", "forgotten", "seconds"} & set(headings)


def test_the_best_run_is_told_with_what_it_was_chosen_from_and_a_tie_as_luck():
    said = plain("\n".join(board_lines(full(), [], health_of(full(), []))))
    assert "3 runs on the same 100 cases: 2 of 3 pairs differ significantly" in said
    assert "a is the most accurate of 3 runs, selected on these same cases: +2.0 points ahead of the next, b" in said
    assert "This lead may be due to chance." in said
    assert "Its gain over the base is +28.0 points" in said
    assert "a: train.seed 0\n" in said
    assert (
        "times the noise. All runs got 48 cases right and all got 20 wrong; only the other 32 distinguish the runs."
    ) in said
    assert "a on sums: −3.0 points (−6.0 to 0.0 points); 10 forgotten, 4 gained of 200 cases." in said


def test_a_recipe_is_told_with_its_interval_and_what_it_varies_by():
    said = plain(" ".join(recipe_sentences(RECIPE, 0.95)))
    assert "+20.0 points on average (95 % interval over seeds and cases −5.0 to +45.0 points" in said
    assert "75 % by seeds, 25 % by cases, 0 % by randomness within cases" in said
    assert "worse than the base with probability 3.0 %" in said
    assert "no number of seeds suffices" in said
    assert ("Repaired by every seed: 10 cases; broken by every seed: 0; seed-dependent, flipped by some seeds but "
        "not by others: 20.") in said  # fmt: skip
    few = RECIPE | {"gain_low": None, "seeds": [0, 1], "runs": ["seed0", "seed1"]}
    assert "with fewer than three seeds, this describes these checkpoints and not the recipe" in plain(
        recipe_sentences(few, 0.95)[0]
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_runs_stay_text_on_both_pages(name):
    board = make_board([BASE, Answered(name, answers(right(9, 0)))], "base", 0.95)
    pages = board_pages(board, [], health_of(board, []))
    assert "<script" not in pages.html
    assert "<img" not in pages.html + pages.markdown
    rows = [line for line in pages.markdown.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 4


def test_the_object_is_plain_json_also_with_dates_and_numbers_that_are_none_among_the_parameters():
    odd = Answered("odd", answers(right(9, 0)), parameters={"a.b": float("nan"), "c": [1, 2]})
    other = Answered("other", answers(right(8, 0)), parameters={"a.b": 2, "c": [1]})
    board = make_board([odd, other], None, 0.95)
    found = json.loads(json.dumps(board_json(board, [RECIPE], health_of(board, [])), allow_nan=False))
    assert found["test_set"]["always_right"] == 58
    assert found["runs"][0]["parameters"] == {"a.b": "nan", "c": "[1, 2]"}
    assert found["recipes"][0]["gain"] == 0.2


def test_what_runs_cost_is_drawn_where_it_is_known_of_two():
    assert tradeoff_picture(make_board(runs(a=(5, 0), b=(4, 0)), "base", 0.95)) is None
    drawn = str(tradeoff_picture(full()))
    assert "seconds of training" in drawn
    assert "forgotten" in drawn


def test_a_page_of_one_recipe_is_about_the_recipe_and_shows_by_case_what_seeds_flip():
    board = make_board([BASE, *RUNS[:3]], "base", 0.95)
    recipes = find_recipes(RUNS[:3])
    figures = [recipe_figures(recipe, 0.95, None, 0.05) for recipe in recipes]
    pages = board_pages(board, figures, health_of(board, recipes), case_lines(recipes[0]))
    for page in map(plain, (pages.html, pages.markdown)):
        assert "The gain of this recipe" in page
        assert "No gain of this recipe was shown: +17.7 points of accuracy on average over 3 seeds" in page
    assert "| broken by every seed | c0 | 0 of 3 | 3 of 3 |" in pages.markdown
    assert "| a lottery | c2 | 0 of 3 | 1 of 3 |" in pages.markdown
    assert "a lottery" in pages.html
    several = board_pages(make_board([BASE, *RUNS], "base", 0.95), figures, health_of(board, recipes))
    assert "Which runs differ" in several.html


def test_a_recipe_is_said_to_raise_or_lower_what_its_interval_leaves_no_doubt_of():
    better, worse = RECIPE | {"gain_low": 0.1}, RECIPE | {"gain": -0.2, "gain_low": -0.3, "gain_high": -0.1}
    assert plain(recipe_headline(better, "accuracy", 0.95)).startswith("This recipe raises accuracy by +20.0 points")
    assert plain(recipe_headline(worse, "accuracy", 0.95)).startswith("This recipe lowers accuracy by −20.0 points")
    assert "not of the recipe" in recipe_headline(RECIPE | {"gain_low": None}, "accuracy", 0.95)
