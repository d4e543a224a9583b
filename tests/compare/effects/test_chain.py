import pandas as pd
import pytest

from tunediff.compare.effects.chain import changed_cases, step_flips
from tunediff.runtime.errors import TunediffError


def predictions(answers):
    """One gold label, yes, for every case; None is an answer that could not be parsed."""
    outcomes = ["invalid" if one is None else "right" if one == "yes" else "wrong" for one in answers]
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(len(answers))], "label": "yes", "outcome": outcomes})
    return frame.assign(prediction=pd.Series(answers, dtype=object), prompt_hash="p", scorer="choices")


BEFORE = predictions(["yes"] * 6 + ["no", "no", "maybe", None])
AFTER = predictions(["yes"] * 4 + ["no", None] + ["yes", "maybe", "maybe", None])


def test_flips_cross_the_line_of_right_and_changed_counts_every_other_answer():
    found = step_flips(BEFORE, AFTER, ("tuned", "merged"), 0.95)
    assert (found["before"], found["after"], found["n"]) == ("tuned", "merged", 10)
    assert (found["flips"], found["repaired"], found["broken"], found["changed"]) == (3, 1, 2, 4)


def test_the_intervals_are_clopper_and_pearsons():
    found = step_flips(BEFORE, AFTER, ("tuned", "merged"), 0.95)
    # R: binom.test(3, 10), binom.test(1, 10), binom.test(2, 10)
    for name, low, high in (("flips", 0.06673951, 0.6524529), ("repaired", 0.002528579, 0.4450161)):
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((low, high), abs=1e-6)
    assert (found["broken_low"], found["broken_high"]) == pytest.approx((0.02521073, 0.5560955), abs=1e-6)


def test_the_same_answers_leave_nothing_to_name():
    found = step_flips(BEFORE, BEFORE.iloc[::-1], ("tuned", "merged"), 0.95)
    assert (found["flips"], found["changed"], found["flips_low"]) == (0, 0, 0)
    assert found["flips_high"] == pytest.approx(0.3084971, abs=1e-6)  # 1 - 0.025 ** (1 / 10)
    assert changed_cases(BEFORE, BEFORE, ("tuned", "merged")) == []


def test_the_changed_cases_are_named_with_both_answers():
    assert changed_cases(BEFORE, AFTER, ("tuned", "merged")) == [
        {"case_id": "c4", "label": "yes", "tuned_prediction": "yes", "merged_prediction": "no"},
        {"case_id": "c5", "label": "yes", "tuned_prediction": "yes", "merged_prediction": None},
        {"case_id": "c6", "label": "yes", "tuned_prediction": "no", "merged_prediction": "yes"},
        {"case_id": "c7", "label": "yes", "tuned_prediction": "no", "merged_prediction": "maybe"},
    ]


def test_models_that_answered_other_cases_are_refused():
    with pytest.raises(TunediffError, match="tuned and merged: different cases"):
        step_flips(BEFORE, AFTER.iloc[1:], ("tuned", "merged"), 0.95)
