import numpy as np
import pytest

from tests.board_answers import BASE, answers, right, runs
from tunediff.compare.board import Answered, Retained, make_board
from tunediff.compare.verdict import Gain
from tunediff.runtime.errors import TunediffError
from tunediff.stats.paired import mcnemar_exact


def test_the_golden_pair_comes_out_as_it_does_alone():
    """Both right 39, repaired 49, broken 2, both wrong 10."""
    base, tuned = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    base[:41] = tuned[:39] = tuned[41:90] = True
    board = make_board([Answered("base", answers(base)), Answered("tuned", answers(tuned))], "base", 0.95)
    [pair] = board.pairs
    assert (pair.a, pair.b, pair.repaired, pair.broken) == ("tuned", "base", 2, 49)
    assert pair.p == pair.p_adjusted == pytest.approx(1.1786127629e-12, rel=1e-9)
    best, _ = board.rows
    assert (best.accuracy_low, best.accuracy_high) == pytest.approx((0.802, 0.930), abs=6e-4)
    assert (best.to_base.repaired, best.to_base.broken, best.to_base.gain) == (49, 2, pytest.approx(0.47))
    assert (best.to_base.low, best.to_base.high) == pytest.approx((0.361, 0.572), abs=6e-4)


def test_thirteen_against_thirteen_is_a_tie_with_p_one():
    board = make_board(runs(other=(13, 13)), "base", 0.95)
    assert (board.pairs[0].p, board.pairs[0].separated) == (1.0, False)
    assert list(board.groups.values()) == [["base", "other"]]


def test_pairs_are_adjusted_over_all_of_them():
    board = make_board(runs(a=(6, 0), b=(8, 0), c=(1, 0)), "base", 0.95)
    p = {frozenset((pair.a, pair.b)): pair for pair in board.pairs}
    assert p[frozenset(("base", "b"))].p == mcnemar_exact(8, 0)
    # The smallest of six.
    assert p[frozenset(("base", "b"))].p_adjusted == pytest.approx(6 * mcnemar_exact(8, 0))
    # Significant alone, not among six.
    assert p[frozenset(("base", "a"))].p < 0.05 <= p[frozenset(("base", "a"))].p_adjusted


def test_a_run_between_two_that_differ_is_in_both_groups():
    board = make_board(runs(middle=(6, 0), top=(12, 0)), "base", 0.95)
    rows = {row.name: row for row in board.rows}
    assert list(board.groups.values()) == [["top", "middle"], ["middle", "base"]]
    assert [rows[name].groups for name in ("top", "middle", "base")] == [("a",), ("a", "b"), ("b",)]
    assert [(rows[name].rank_low, rows[name].rank_high) for name in ("top", "middle", "base")] == [
        (1, 2),
        (1, 3),
        (2, 3),
    ]


def test_the_order_of_runs_and_of_their_rows_does_not_matter():
    given = runs(a=(20, 3), b=(12, 0), c=(30, 1))
    shuffled = [Answered(run.name, run.frame.sample(frac=1, random_state=at)) for at, run in enumerate(reversed(given))]
    one, other = make_board(given, "base", 0.95), make_board(shuffled, "base", 0.95)
    assert one.rows == other.rows
    assert one.pairs == other.pairs
    assert one.groups == other.groups


def test_the_frontier_holds_runs_that_beat_the_base_and_that_none_beats_in_everything():
    def run(name, repaired, forgotten, seconds):
        retained = {"sums": Retained(100, forgotten, 0, Gain(0, 0, 0))}
        return Answered(name, answers(right(repaired, 0)), retained=retained, seconds=seconds)

    given = [
        BASE,
        run("best", 40, 10, 100.0),
        run("cheap", 30, 10, 10.0),
        run("careful", 30, 2, 100.0),
        run("beaten", 25, 10, 50.0),
        run("no better", 1, 0, 1.0),
    ]
    board = make_board(given, "base", 0.95)
    assert {row.name for row in board.rows if row.on_frontier} == {"best", "cheap", "careful"}


def test_parameters_that_all_runs_share_are_left_out_and_other_prompts_are_named():
    parameters = {"train.seed": 1, "train.learning_rate": 0.1, "adapt.r": 8}
    given = [
        BASE,
        Answered("a", answers(right(9, 0)), parameters=parameters),
        Answered("b", answers(right(5, 0)), parameters=parameters | {"train.learning_rate": 0.2}),
    ]
    rows = {row.name: row for row in make_board(given, "base", 0.95).rows}
    assert rows["a"].parameters == {"train.learning_rate": 0.1}
    assert rows["base"].parameters == {}
    asked = [
        Answered("x", answers(right(9, 0)).assign(prompt_hash="p")),
        Answered("y", answers(right(5, 0)).assign(prompt_hash=["q", *["p"] * 99])),
    ]
    assert make_board(asked, None, 0.95).notes == ["y answered 1 of 100 cases with different prompts than x."]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([BASE], "found 1 run, expected at least two"),
        ([BASE, BASE], "found the run base twice"),
        ([BASE, Answered("f1", answers(right(1, 0)), "exact match")], "measured by accuracy"),
        ([BASE, Answered("less", answers(right(1, 0, n=99)))], "different cases"),
        (
            [BASE, Answered("odd", answers(right(1, 0)).assign(label="no"))],
            "label: found different values for 100 of 100",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(given, message):
    with pytest.raises(TunediffError, match=message):
        make_board(given, None, 0.95)
