import doctest
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.compare.effects import transitions as module
from tunediff.compare.effects.transitions import (
    TRANSITIONS,
    cube,
    in_split_order,
    transitions,
    validity_metrics,
)
from tunediff.compare.pairs.align import align
from tunediff.data.cases import make_cases
from tunediff.runtime.errors import TunediffError
from tunediff.stats.paired import minimum_detectable_difference

transition_metrics = partial(module.transition_metrics, confidence=0.95, clusters=None)
delta_interval = partial(module.delta_interval, confidence=0.95, clusters=None)
negative_flips = partial(module.negative_flips, confidence=0.95)

LABELS = ["entailment", "neutral", "contradiction"]
KEYS = (
    *("n", "both_right", "repaired", "broken", "both_wrong_same", "both_wrong_changed"),
    *("accuracy_base", "accuracy_tuned", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high"),
    *("mcnemar_p", "mcnemar_midp", "churn"),
    *("negative_flip_rate", "negative_flip_rate_low", "negative_flip_rate_high", "minimum_detectable_delta"),
)


def predictions(gold, answers, ids=None):
    ids = [f"case {i:03}" for i in range(len(gold))] if ids is None else ids
    outcomes = [
        "invalid" if answer is None else "right" if answer == label else "wrong"
        for label, answer in zip(gold, answers, strict=True)
    ]
    return pd.DataFrame(
        {
            "case_id": ids,
            "label": gold,
            "prediction": answers,
            "outcome": outcomes,
            "log_probs": [np.log([0.5, 0.3, 0.2])] * len(gold),
            "prompt_hash": "p",
            "scorer": "choices",
        }
    )


def cells_of(gold, before, after):
    return transitions(align(predictions(gold, before), predictions(gold, after)))


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("neutral", "neutral", "both_right"),
        ("entailment", "neutral", "repaired"),
        (None, "neutral", "repaired"),
        ("neutral", "entailment", "broken"),
        ("neutral", None, "broken"),
        ("entailment", "entailment", "both_wrong_same"),
        (None, None, "both_wrong_same"),
        ("entailment", "contradiction", "both_wrong_changed"),
        ("entailment", None, "both_wrong_changed"),
        (None, "entailment", "both_wrong_changed"),
    ],
)
def test_each_pair_of_outcomes_has_its_cell(before, after, expected):
    assert cells_of(["neutral"], [before], [after]).tolist() == [expected]


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("dtype", ["object", "str", "string"])
def test_invalid_stays_invalid_however_a_table_stores_the_missing_prediction(dtype, missing):
    base = predictions(["neutral"] * 3, [None, "neutral", "entailment"])
    base["prediction"] = pd.Series([missing, "neutral", "entailment"], dtype=dtype)
    tuned = base.assign(prediction=pd.Series([missing, missing, missing], dtype=dtype), outcome=["invalid"] * 3)
    assert transitions(align(base, tuned)).tolist() == ["both_wrong_same", "broken", "both_wrong_changed"]


def made_up_pair():
    """39 both right, 49 repaired, 2 broken, 10 both wrong of which 4 changed."""
    gold = ["neutral"] * 100
    before = ["neutral"] * 39 + ["entailment"] * 49 + ["neutral"] * 2 + ["entailment"] * 10
    after = ["neutral"] * 88 + ["entailment"] * 2 + ["entailment"] * 6 + ["contradiction"] * 3 + [None]
    return gold, before, after


def test_a_made_up_pair_prints_the_golden_values():
    metrics = transition_metrics(cells_of(*made_up_pair()))
    assert tuple(metrics) == KEYS
    counts = {"both_right": 39, "repaired": 49, "broken": 2, "both_wrong_same": 6, "both_wrong_changed": 4}
    assert {key: metrics[key] for key in counts} == counts
    assert (metrics["n"], metrics["accuracy_base"], metrics["accuracy_tuned"]) == (100, 0.41, 0.88)
    assert metrics["accuracy_delta"] == pytest.approx(0.47)
    assert metrics["mcnemar_p"] == pytest.approx(1.1786127629e-12, rel=1e-10)
    ends = metrics["accuracy_delta_low"], metrics["accuracy_delta_high"]
    assert ends == pytest.approx((0.365, 0.575), abs=0.01)
    assert metrics["mcnemar_midp"] == pytest.approx(6.1240e-13, rel=1e-4)
    assert metrics["churn"] == pytest.approx(0.55)
    rates = [metrics[f"negative_flip_rate{end}"] for end in ("", "_low", "_high")]
    assert rates == pytest.approx([0.02, 0.0024, 0.0704], abs=5e-5)
    assert metrics["minimum_detectable_delta"] == pytest.approx(minimum_detectable_difference(100, 0.51))
    json.dumps(metrics, allow_nan=False)


def test_negative_flips_of_the_made_up_pair_have_the_golden_bounds():
    flips = negative_flips(cells_of(*made_up_pair()))
    assert (flips.broken, flips.n, flips.base_right) == (2, 100, 41)
    assert (flips.low, flips.high) == pytest.approx((0.0024, 0.0704), abs=5e-5)
    assert flips.rate_of_right == pytest.approx(2 / 41)
    # Right with 0.41, then wrong with 0.12, were the two unrelated: 4.92 of 100.
    assert flips.expected_if_independent == pytest.approx(100 * 0.41 * 0.12)


def test_two_unrelated_models_break_as_many_as_expected_of_them():
    rng = np.random.default_rng(7)
    gold = ["neutral"] * 20_000
    before, after = (np.where(rng.random(20_000) < share, "neutral", "other").tolist() for share in (0.6, 0.8))
    flips = negative_flips(cells_of(gold, before, after))
    assert flips.broken == pytest.approx(flips.expected_if_independent, rel=0.06)


def test_a_base_model_that_has_nothing_right_can_lose_nothing():
    flips = negative_flips(cells_of(["neutral"] * 3, [None] * 3, ["neutral"] * 3))
    assert (flips.broken, flips.base_right, flips.rate_of_right) == (0, 0, 0.0)


def test_where_no_case_shares_a_cluster_the_interval_is_tangos():
    cells = cells_of(*made_up_pair())
    assert delta_interval(cells, clusters=range(100)) == delta_interval(cells)
    assert delta_interval(cells, clusters=[None] * 100) == delta_interval(cells)


def test_cases_that_share_a_premise_widen_the_interval_by_themselves():
    gold, before, after = (np.repeat(column, 10).tolist() for column in made_up_pair())
    cells = cells_of(gold, before, after)
    low, high = delta_interval(cells, clusters=np.repeat(np.arange(100), 10))
    # A thousand copies of a hundred cases say what the hundred say.
    assert (low, high) == pytest.approx(delta_interval(cells_of(*made_up_pair())), abs=0.02)
    metrics = transition_metrics(cells, clusters=pd.Series(np.repeat(np.arange(100), 10), index=range(7, 1007)))
    assert (metrics["accuracy_delta_low"], metrics["accuracy_delta_high"]) == (low, high)


def test_clusters_never_shorten_the_interval_and_one_cluster_says_nothing():
    cells = cells_of(["neutral"] * 6, ["neutral"] * 6, ["neutral"] * 6)
    # Where nothing flips there are as many cases as clusters.
    assert delta_interval(cells, clusters=[1, 1, 2, 2, 3, 3]) == delta_interval(cells.head(3))
    assert delta_interval(cells, clusters=[1] * 6) == (-1.0, 1.0)


def test_became_valid_and_invalid_count_across_the_cells():
    answers = ["neutral", "entailment", None]
    pairs = [(before, after) for before in answers for after in answers]
    before, after = (list(column) for column in zip(*pairs, strict=True))
    aligned = align(predictions(["neutral"] * 9, before), predictions(["neutral"] * 9, after))
    assert validity_metrics(aligned) == {"became_valid": 2, "became_invalid": 2}
    metrics = transition_metrics(transitions(aligned))
    assert sum(metrics[name] for name in TRANSITIONS) == 9
    assert metrics["churn"] == pytest.approx(6 / 9)


def test_the_cube_counts_gold_by_before_by_after_with_invalid_apart_from_an_answer_of_that_name():
    gold = ["neutral"] * 5
    aligned = align(
        predictions(gold, ["neutral", "neutral", None, "invalid", None]),
        predictions(gold, ["entailment", "entailment", "neutral", "neutral", "neutral"]),
    )
    cells = cube(aligned)
    assert cells.to_dict("list") == {
        "gold": ["neutral"] * 3,
        "before": ["invalid", "neutral", "invalid"],
        "after": ["neutral", "entailment", "neutral"],
        "outcome_base": ["invalid", "right", "wrong"],
        "outcome_tuned": ["right", "wrong", "right"],
        "cases": [2, 2, 1],
    }


def test_two_runs_that_agree_have_p_of_one_and_still_an_interval():
    metrics = transition_metrics(cells_of(["neutral"], ["neutral"], ["neutral"]))
    assert (metrics["n"], metrics["both_right"], metrics["broken"], metrics["mcnemar_p"]) == (1, 1, 0, 1.0)
    assert metrics["accuracy_delta_low"] < 0 < metrics["accuracy_delta_high"]


answers = st.one_of(st.none(), st.sampled_from(LABELS))


@given(st.lists(st.tuples(st.sampled_from(LABELS), answers, answers), min_size=1, max_size=50))
def test_the_counts_add_up_and_agree_with_the_accuracies(rows):
    gold, before, after = (list(column) for column in zip(*rows, strict=True))
    metrics = transition_metrics(cells_of(gold, before, after))
    n = len(rows)
    assert sum(metrics[name] for name in TRANSITIONS) == metrics["n"] == n
    assert metrics["accuracy_base"] == sum(g == b for g, b, _ in rows) / n
    assert metrics["accuracy_tuned"] == sum(g == a for g, _, a in rows) / n
    assert metrics["accuracy_delta"] == pytest.approx(metrics["accuracy_tuned"] - metrics["accuracy_base"])
    backwards = transition_metrics(cells_of(gold, after, before))
    assert (backwards["repaired"], backwards["broken"]) == (metrics["broken"], metrics["repaired"])


def three_cases():
    cases = make_cases(
        [
            ({"premise": "A man runs.", "hypothesis": "A man moves."}, "entailment", ["hypernym"]),
            ({"premise": "A man runs.", "hypothesis": "<b>A man</b> sits."}, "contradiction", []),
            ({"premise": "A dog.", "hypothesis": "A cat."}, "contradiction", ["noun", "swap"]),
        ]
    )
    ids, gold = [case.case_id for case in cases], [case.label for case in cases]
    aligned = align(
        predictions(gold, ["neutral", None, "neutral"], ids).iloc[[2, 0, 1]],
        predictions(gold, ["entailment", None, "entailment"], ids),
    )
    return cases, aligned


def test_predictions_of_other_cases_than_the_test_split_are_refused():
    cases, aligned = three_cases()
    for split in (cases[:2], [*cases, *make_cases([({"premise": "x"}, "neutral", [])])]):
        with pytest.raises(TunediffError, match=f"found {len(split)} and 3 cases, {min(3, len(split))} of them"):
            in_split_order(aligned, split)


def test_predictions_made_before_a_label_was_corrected_are_refused():
    cases, aligned = three_cases()
    corrected = make_cases([(case.inputs, "neutral", case.tags) for case in cases[:1]]) + cases[1:]
    with pytest.raises(TunediffError, match=f"label: found different values for 1 of 3 cases .*{cases[0].case_id}"):
        in_split_order(aligned, corrected)
