"""A model that is asked again agrees with its own predictions, and each way to differ is told."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tiny import CASE_SET, CASES, LABELS, engine_of, load, write_model
from tunediff.commands.agreement import ask_again, spread
from tunediff.config.evaluate import Evaluate
from tunediff.engines.asking import ask_cases

EVALUATE = Evaluate(scoring_method="choices")


def graded(engine, cases, title):
    """Predictions as the task grades them: the likeliest label."""
    frame = ask_cases(engine, cases, CASE_SET, EVALUATE, title)
    return frame.assign(prediction=[LABELS[int(np.argmax(row))] for row in frame["log_probs"]])


def project(ask=graded):
    return SimpleNamespace(case_set=CASE_SET, ask=ask)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tokenizer):
    """A model and its prediction rows."""
    folder = tmp_path_factory.mktemp("model")
    loaded = load(folder / "base", write_model(folder / "weights", "llama", tokenizer))
    return loaded, graded(engine_of(loaded, 512), CASES, "test")


def again(measured, change=lambda frame: frame, cases=CASES, batch_tokens=512):
    loaded, frame = measured
    return ask_again(project(), engine_of(loaded, batch_tokens), cases, change(frame.copy()), "test")


def changed(column, value, row=2):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.at[row, column] = value(frame.at[row, column]) if callable(value) else value
        return frame

    return change


def test_it_agrees_with_itself_also_in_other_batches_and_on_part_of_the_cases(measured):
    found = again(measured)
    assert (found.n, found.same, found.furthest, found.differing) == (8, 8, 0.0, [])
    found = again(measured, cases=CASES[3:6], batch_tokens=40)
    assert (found.n, found.same, found.differing) == (3, 3, [])
    assert found.furthest < 1e-5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("prediction", lambda label: LABELS[LABELS.index(label) - 1]),
        ("prediction", None),
        ("log_probs", lambda scores: [scores[0] + 0.002, *scores[1:]]),
        ("log_probs", lambda scores: [math.nan, *scores[1:]]),
        ("log_probs", lambda scores: [*scores[:2], math.nan]),
        ("log_probs", lambda scores: scores[:2]),
        ("log_probs", None),
        ("prompt_hash", "0123456789abcdef"),
        ("case_id", "0123456789abcdef"),
    ],
)
def test_a_row_that_says_something_else_differs(measured, column, value):
    found = again(measured, changed(column, value))
    assert found.differing == [CASES[2].case_id]
    assert found.same == (7 if column in ("prediction", "case_id") else 8)


def test_what_rounding_explains_is_no_difference(measured):
    assert again(measured, changed("log_probs", lambda scores: [score + 5e-4 for score in scores])).differing == []


def test_a_choice_that_neither_can_be_is_no_difference(measured):
    loaded, frame = measured
    held = changed("log_probs", lambda scores: [-math.inf, *scores[1:]])(frame.copy())
    found = ask_again(project(lambda *_: held), engine_of(loaded), CASES, held, "test")
    assert (found.furthest, found.differing) == (0.0, [])


def test_a_tie_may_fall_either_way(measured):
    loaded, frame = measured
    first, second = sorted(range(3), key=lambda i: -frame["log_probs"][2][i])[:2]

    def tied(frame):
        frame = changed("prediction", LABELS[second])(frame)
        return changed("log_probs", lambda scores: [scores[first] if i == second else score
                                                    for i, score in enumerate(scores)])(frame)  # fmt: skip

    held = tied(frame.copy())
    now = held.assign(prediction=frame["prediction"])
    found = ask_again(project(lambda *_: now), engine_of(loaded), CASES, held, "test")
    assert (found.same, found.differing) == (7, [])


def test_a_sample_is_spread_over_all_cases():
    assert [case.case_id for case in spread(CASES, 4)] == [CASES[i].case_id for i in (0, 2, 4, 6)]
    assert spread(CASES, 100) == CASES
