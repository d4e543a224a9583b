"""A model that is asked again agrees with its own predictions, and each way to differ is told."""

import math

import pytest
from tunediff.engines.agreement import ask_again, spread

from tests.tiny import CASES, LABELS, PROMPT, TASK, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.engines.asking import predict_cases

EVALUATE = Evaluate(scoring_method="choices", batch_tokens=512)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, tokenizer):
    """A model and its prediction rows."""
    folder = tmp_path_factory.mktemp("model")
    loaded = load(folder / "base", write_model(folder / "weights", "llama", tokenizer))
    return loaded, predict_cases(loaded, CASES, TASK, PROMPT, EVALUATE, "test")


def again(evaluated, change=lambda frame: frame, cases=CASES, **evaluate):
    loaded, frame = evaluated
    settings = EVALUATE.model_copy(update=evaluate)
    return ask_again(loaded, cases, change(frame.copy()), TASK, PROMPT, settings, "test")


def changed(column, value, row=2):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.at[row, column] = value(frame.at[row, column]) if callable(value) else value
        return frame

    return change


def test_it_agrees_with_itself_also_in_other_batches_and_on_part_of_the_cases(evaluated):
    found = again(evaluated)
    assert (found.n, found.same, found.furthest, found.differing) == (8, 8, 0.0, [])
    found = again(evaluated, cases=CASES[3:6], batch_tokens=40)
    assert (found.n, found.same, found.differing) == (3, 3, [])
    assert found.furthest < 1e-5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("prediction", lambda label: LABELS[LABELS.index(label) - 1]),
        ("prediction", None),
        ("log_probs", lambda scores: [scores[0] + 0.002, *scores[1:]]),
        ("log_probs", lambda scores: [math.nan, *scores[1:]]),
        ("log_probs", lambda scores: scores[:2]),
        ("log_probs", None),
        ("prompt_hash", "0123456789abcdef"),
        ("case_id", "0123456789abcdef"),
    ],
)
def test_a_row_that_says_something_else_differs(evaluated, column, value):
    found = again(evaluated, changed(column, value))
    assert found.differing == [CASES[2].case_id]
    assert found.same == (7 if column in ("prediction", "case_id") else 8)


def test_what_rounding_explains_is_no_difference(evaluated):
    assert again(evaluated, changed("log_probs", lambda scores: [score + 5e-4 for score in scores])).differing == []


def test_a_tie_may_fall_either_way(evaluated, monkeypatch):
    loaded, frame = evaluated
    first, second = sorted(range(3), key=lambda i: -frame["log_probs"][2][i])[:2]

    def tied(frame):
        frame = changed("prediction", LABELS[second])(frame)
        return changed("log_probs", lambda scores: [scores[first] if i == second else score
                                                    for i, score in enumerate(scores)])(frame)  # fmt: skip

    monkeypatch.setattr("tunediff.engines.agreement.predict_cases", lambda *_: tied(frame.copy()).assign(
        prediction=frame["prediction"]))  # fmt: skip
    found = ask_again(loaded, CASES, tied(frame.copy()), TASK, PROMPT, EVALUATE, "test")
    assert (found.same, found.differing) == (7, [])


def test_a_sample_is_spread_over_all_cases():
    assert [case.case_id for case in spread(CASES, 4)] == [CASES[i].case_id for i in (0, 2, 4, 6)]
    assert spread(CASES, 100) == CASES
