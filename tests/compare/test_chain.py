import numpy as np
import pandas as pd
import pytest

from tests.board_answers import answers, right
from tunediff.compare.board import Answered
from tunediff.compare.chain import changed_cases, make_chain
from tunediff.runtime.errors import TunediffError
from tunediff.stats.paired import difference_interval, mcnemar_exact


def predictions(answers):
    """One gold label, yes, for every case; None is an answer that could not be parsed."""
    outcomes = ["invalid" if one is None else "right" if one == "yes" else "wrong" for one in answers]
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(len(answers))], "label": "yes", "outcome": outcomes})
    return frame.assign(prediction=pd.Series(answers, dtype=object), prompt_hash="p", scorer="choices")


BEFORE = predictions(["yes"] * 6 + ["no", "no", "maybe", None])
AFTER = predictions(["yes"] * 4 + ["no", None] + ["yes", "maybe", "maybe", None])


def chain_of(**frames):
    return make_chain([Answered(name, frame) for name, frame in frames.items()], 0.95)


def test_flips_cross_the_line_of_right_and_changed_counts_every_other_answer():
    [found] = chain_of(tuned=BEFORE, merged=AFTER).steps
    assert (found["before"], found["after"], found["n"]) == ("tuned", "merged", 10)
    assert (found["flips"], found["repaired"], found["broken"], found["changed"]) == (3, 1, 2, 4)
    assert found["difference"] == pytest.approx(-0.1)


def test_the_intervals_of_counts_are_clopper_and_pearsons():
    [found] = chain_of(tuned=BEFORE, merged=AFTER).steps
    # R: binom.test(3, 10), binom.test(1, 10), binom.test(2, 10)
    for name, low, high in (("flips", 0.06673951, 0.6524529), ("repaired", 0.002528579, 0.4450161)):
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((low, high), abs=1e-6)
    assert (found["broken_low"], found["broken_high"]) == pytest.approx((0.02521073, 0.5560955), abs=1e-6)


def test_the_golden_pair_is_a_chain_of_one_step():
    """Both right 39, repaired 49, broken 2, both wrong 10."""
    base, tuned = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    base[:41] = tuned[:39] = tuned[41:90] = True
    chain = chain_of(base=answers(base), tuned=answers(tuned))
    [step] = chain.steps
    assert step["p"] == step["p_adjusted"] == pytest.approx(1.1786127629e-12, rel=1e-9)
    assert (step["difference_low"], step["difference_high"]) == pytest.approx((0.361, 0.572), abs=6e-4)
    assert chain.variants[1]["accuracy"] == 0.88


def test_a_step_says_of_two_neighbours_what_they_say_alone_and_the_last_is_the_whole_way():
    """However many stand in the chain; p alone, and adjusted over all steps."""
    frames = {
        "a": answers(right(0, 0)),
        "b": answers(right(6, 0)),
        "c": answers(right(6, 3)),
        "d": answers(right(0, 9)),
    }
    chain = chain_of(**frames)
    assert [(step["before"], step["after"]) for step in chain.steps] == [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]
    for step in chain.steps:
        [alone] = chain_of(**{name: frames[name] for name in (step["before"], step["after"])}).steps
        assert {**step, "p_adjusted": None} == {**alone, "p_adjusted": None}
        assert step["p"] == mcnemar_exact(step["repaired"], step["broken"])
        interval = difference_interval(step["repaired"], step["broken"], 100, 0.95)
        assert (step["difference_low"], step["difference_high"]) == interval
    first = chain.steps[0]
    assert first["p"] < 0.05 < first["p_adjusted"] == pytest.approx(2 * first["p"])
    # The six that b repairs are not right in d; the three that c breaks break again in d.
    assert chain.there_and_back == 6


def test_the_same_answers_leave_nothing_to_name():
    chain = chain_of(tuned=BEFORE, merged=BEFORE.iloc[::-1])
    [found] = chain.steps
    assert (found["flips"], found["changed"], found["flips_low"], found["p"]) == (0, 0, 0, 1)
    assert found["flips_high"] == pytest.approx(0.3084971, abs=1e-6)  # 1 - 0.025 ** (1 / 10)
    assert changed_cases(chain) == []


def test_cases_that_share_a_cluster_widen_every_interval():
    shared = [f"p{at // 20}" for at in range(100)]
    [alone] = chain_of(a=answers(right(0, 0)), b=answers(right(20, 0))).steps
    [found] = chain_of(a=answers(right(0, 0), cluster=shared), b=answers(right(20, 0), cluster=shared)).steps
    for name in ("flips", "repaired", "difference"):
        assert found[f"{name}_high"] > alone[f"{name}_high"]
        assert found[f"{name}_low"] <= alone[f"{name}_low"]
    assert found["p"] > alone["p"]


def test_the_changed_cases_are_named_with_all_answers():
    chain = chain_of(base=BEFORE, tuned=BEFORE, merged=AFTER)
    assert changed_cases(chain, ("base", "tuned")) == []
    assert changed_cases(chain, ("tuned", "merged")) == [
        {"case_id": "c4", "label": "yes", "tuned_prediction": "yes", "merged_prediction": "no"},
        {"case_id": "c5", "label": "yes", "tuned_prediction": "yes", "merged_prediction": None},
        {"case_id": "c6", "label": "yes", "tuned_prediction": "no", "merged_prediction": "yes"},
        {"case_id": "c7", "label": "yes", "tuned_prediction": "no", "merged_prediction": "maybe"},
    ]
    there_and_back = chain_of(base=BEFORE, tuned=AFTER, again=BEFORE)
    assert [case["case_id"] for case in changed_cases(there_and_back)] == ["c4", "c5", "c6", "c7"]
    assert there_and_back.there_and_back == 3


def test_models_that_answered_other_cases_are_refused_and_other_prompts_are_named():
    with pytest.raises(TunediffError, match="tuned and merged: different cases"):
        chain_of(tuned=BEFORE, merged=AFTER.iloc[1:])
    with pytest.raises(TunediffError, match="chain: found 1 run, expected at least two"):
        chain_of(tuned=BEFORE)
    other = AFTER.assign(prompt_hash=["q", *["p"] * 9])
    assert chain_of(a=BEFORE, b=other).notes == ["b answered 1 of 10 cases with different prompts than a."]
