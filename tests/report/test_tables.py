import math

import pytest

from tests.report.made import LABELS, TASK, made_cases, made_results
from tunediff.report.tables import examples, key_numbers, margin


def case(case_id, transition, base, tuned, label="neutral", tags=()):
    """A case whose gold label has these probabilities."""
    log_probs = {
        who: [math.log(p) if name == label else math.log((1 - p) / 2) for name in LABELS]
        for who, p in (("base", base), ("tuned", tuned))
    }
    return {
        **{"case_id": case_id, "label": label, "transition": transition, "tags": list(tags)},
        **{f"{who}_log_probs": values for who, values in log_probs.items()},
    }


def test_the_largest_change_of_the_gold_label_comes_first_in_either_direction():
    cases = [
        case("a", "repaired", 0.40, 0.90),
        case("b", "repaired", 0.01, 0.90),
        case("c", "broken", 0.60, 0.50),
        case("d", "broken", 0.90, 0.001, label="entailment"),
    ]
    shown = examples(cases, TASK, each=2)
    assert [example.case["case_id"] for example in shown["repaired"]] == ["b", "a"]
    assert [example.case["case_id"] for example in shown["broken"]] == ["d", "c"]
    assert shown["broken"][0].base_probability == pytest.approx(0.90)
    assert shown["broken"][0].tuned_probability == pytest.approx(0.001)
    assert shown["both_right"] == []


def test_examples_are_limited_and_do_not_depend_on_the_order_of_the_file():
    cases = made_cases(both_right=20, repaired=20, broken=3)
    ids = [
        {name: [example.case["case_id"] for example in shown] for name, shown in examples(order, TASK, 5).items()}
        for order in (cases, cases[::-1])
    ]
    assert ids[0] == ids[1]
    assert [len(ids[0][name]) for name in ("both_right", "repaired", "broken", "both_wrong_same")] == [5, 5, 3, 0]


def test_equal_changes_are_ordered_by_case_id():
    cases = [case(name, "repaired", 0.1, 0.8) for name in "cab"]
    assert [example.case["case_id"] for example in examples(cases, TASK, 3)["repaired"]] == ["a", "b", "c"]


def test_a_margin_is_that_to_the_best_other_label_and_none_where_nothing_is_known():
    one = {"label": "neutral", "base_log_probs": [-0.5, -2.0, -1.5]}
    assert margin(one, LABELS, "base") == -1.5
    assert margin({**one, "base_margin": 0.25}, LABELS, "base") == 0.25
    assert margin({"label": "neutral"}, LABELS, "base") is None
    assert margin({**one, "label": "an answer in words"}, LABELS, "base") is None


def test_key_numbers_take_intervals_from_the_calibration_where_it_was_measured(tmp_path):
    cases = made_cases(both_right=20, repaired=20, broken=5)
    plain, full = (
        {row.name: row for row in key_numbers(made_results(tmp_path / name, cases, evidence=asked))}
        for name, asked in (("plain", False), ("full", True))
    )
    nll = "Negative log-likelihood of the gold label, nats"
    assert plain[nll].interval == ""
    assert " to " in full[nll].interval
    assert plain[nll][:4] == full[nll][:4]
    assert "Calibration error, 0 to 1" in full.keys() - plain.keys()
