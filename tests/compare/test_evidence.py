"""The golden pair, 39 both right, 49 repaired, 2 broken and 10 both wrong, through all that there is to say of it."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.made_pairs import made_up_pair
from tunediff.compare.comparison import compare_run, compare_tables
from tunediff.compare.diff_summary import diff_summary, file_summary
from tunediff.compare.effects.slices import COLUMNS
from tunediff.compare.evidence import gather
from tunediff.config.diff import Diff
from tunediff.config.task import RESERVED
from tunediff.data.cases import make_cases, outcome
from tunediff.data.leaks import find_leaks
from tunediff.data.schemas import METRICS, TABLES, names
from tunediff.runtime.errors import TunediffError
from tunediff.stats.multiple import benjamini_hochberg
from tunediff.tasks.classification import Inference

LABELS = ["entailment", "neutral", "contradiction"]
TASK = Inference("nli", ["premise", "hypothesis"], LABELS, "premise", "hypothesis")
GOLDEN = {(True, True): 39, (False, True): 49, (True, False): 2, (False, False): 10}
WORDS = {"entailment": "a dog is outside", "neutral": "a dog is hungry", "contradiction": "no dog is here"}
SETTINGS = ("generated", "premise_free_log_probs", "again_prediction", "few_shot_log_probs")


def made_cases(n, split):
    return make_cases(
        (
            {
                "premise": f"A dog runs past the {split} house number {i // 2}.",
                "hypothesis": f"{WORDS[LABELS[i % 3]]}, {split} {i}",
            },
            LABELS[i % 3],
            ["even"] if i % 2 == 0 else [],
        )
        for i in range(n)
    )


TEST, TRAIN = made_cases(100, "test"), made_cases(90, "train")


def predictions(right, seed, again=None, settings=SETTINGS):
    """Predictions right where `right` says so, and else the next label, with probabilities that say the same."""
    generator = np.random.default_rng(seed)
    gold = np.array([LABELS.index(case.label) for case in TEST])
    answer = np.where(right, gold, (gold + 1) % 3)
    scores = generator.normal(size=(100, 3))
    scores[np.arange(100), answer] = scores.max(axis=1) + generator.exponential(size=100)
    log_probs = (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).tolist()
    answers = [LABELS[i] for i in answer]
    columns = {
        "case_id": [case.case_id for case in TEST],
        "label": [case.label for case in TEST],
        "prediction": answers,
        "outcome": [outcome(one, case.label) for one, case in zip(answers, TEST, strict=True)],
        "log_probs": log_probs,
        "finish_reason": "none",
        "prompt_hash": "p",
        "scorer": "choices",
    }
    more = {
        "generated": [None if i % 4 == 0 and seed == 1 else one for i, one in enumerate(answers)],
        "premise_free_log_probs": [[-0.2, -2.0, -3.0]] * 100,
        "again_prediction": again or answers,
        "seed_prediction": answers[1:] + answers[:1],
        "few_shot_log_probs": [[-0.2, -2.0, -3.0]] * 100,
    }
    return pd.DataFrame(columns | {name: more[name] for name in settings})


RIGHT = np.array([pair for pair, count in GOLDEN.items() for _ in range(count)])[
    np.random.default_rng(5).permutation(100)
]


@pytest.fixture(scope="module")
def pair():
    again = predictions(RIGHT[:, 0], 1)["prediction"].tolist()
    flipped = int(np.flatnonzero(~RIGHT[:, 0] & RIGHT[:, 1])[0])
    again[flipped] = TEST[flipped].label
    return predictions(RIGHT[:, 0], 1, again), predictions(RIGHT[:, 1], 2, settings=SETTINGS[:2])


def gathered(pair, train=TRAIN, environments=({}, {}), run=None, **diff):
    leaks = find_leaks(TEST, train, TASK)
    comparison = compare_run(*pair, train, TEST, leaks, TASK, Diff(**diff), environments=environments)
    found = gather(comparison, run)
    return found, list(found.records)


def test_the_golden_pair_has_every_key_of_the_metrics_file_and_its_values(pair):
    found, _ = gathered(pair)
    metrics = found.metrics
    assert tuple(metrics) == names(METRICS["diff_cases"])
    assert [metrics[name] for name in ("both_right", "repaired", "broken", "both_wrong_same")] == [39, 49, 2, 10]
    assert metrics["mcnemar_p"] == pytest.approx(1.1786127629e-12, rel=1e-9)
    assert metrics["mcnemar_midp"] == pytest.approx(6.1240e-13, rel=1e-4)
    assert metrics["negative_flip_rate_high"] == pytest.approx(0.0704, abs=5e-5)
    assert metrics["noise_floor_flips"] == 1
    # Of the 41 that the base had right, some did not parse; what all parts add up to is the gain under free text.
    parse = np.arange(100) % 4 > 0
    gain = RIGHT[:, 1].sum() - (RIGHT[:, 0] & parse).sum()
    assert sum(
        metrics[f"gain_{part}"] for part in ("answer_format", "label_bias", "partial_input", "residual")
    ) == pytest.approx(gain / 100)
    assert metrics["gain_answer_format"] == pytest.approx((RIGHT[:, 0] & ~parse).sum() / 100)
    assert metrics["gain_partial_input"] == 0
    assert metrics["choices_accuracy_base"] == RIGHT[:, 0].mean()
    assert metrics["choices_accuracy_tuned"] == RIGHT[:, 1].mean()


def test_another_environment_of_the_second_evaluation_raises_a_check_and_is_printed(pair):
    where = {"torch": "2.13.0", "device": "NVIDIA A40", "dtype": "bfloat16"}
    found, _ = gathered(pair, environments=(where, where | {"device": "NVIDIA H200"}))
    [check] = [check for check in found.checks if check.code == "TD206"]
    assert check.sentence.startswith("device NVIDIA A40 before, NVIDIA H200 after. ")
    assert check.sentence in diff_summary(found)
    same, _ = gathered(pair, environments=(where, where))
    assert check.code not in [one.code for one in same.checks]


def test_the_worth_is_over_the_best_of_all_cheap_baselines(pair):
    found, _ = gathered(pair)
    names = {"bag_of_words", "calibrated_base", "few_shot_base", "majority", "partial_input"}
    assert set(found.figures["baselines"]) == {f"{name}_accuracy" for name in names}
    # The hypothesis gives the label away here, so the classifiers beat the tuned model.
    assert found.metrics["baseline_best"] == max(found.figures["baselines"].values()) == 1.0
    assert found.metrics["gain_over_baseline"] == pytest.approx(-0.12)
    assert found.figures["baselines"]["few_shot_base_accuracy"] == 0.34
    rows = found.tables["baselines"]
    assert rows["accuracy"].is_monotonic_decreasing
    assert (rows["low"] <= rows["gain"]).all()
    assert (rows["gain"] <= rows["high"]).all()


def test_a_record_holds_margins_and_slices_and_every_flip_its_evidence(pair):
    found, records = gathered(pair)
    for record, case, right in zip(records, TEST, RIGHT, strict=True):
        assert record["case_id"] == case.case_id
        assert set(record) - {*TASK.inputs} <= RESERVED
        assert (record["base_margin"] > 0, record["tuned_margin"] > 0) == tuple(right)
        assert ("tag: even" in record["slices"]) == ("even" in case.tags)
        flipped = bool(right[0] != right[1])
        assert ("evidence" in record, "explanation" in record) == (flipped, flipped)
        if flipped:
            assert record["evidence"]["base_margin"] == record["base_margin"]
            assert len(record["evidence"]["nearest"]) == 3
            cited = {field for clause in record["clauses"] for field in clause["fields"]}
            assert cited <= {*record["evidence"], "transition", "label"}
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    unstable = [record for record in records if record.get("evidence", {}).get("base_stable") is False]
    assert len(unstable) == found.metrics["noise_floor_flips"]
    assert "may be noise" in unstable[0]["explanation"]


def test_the_limit_keeps_the_clearest_flips_of_both_kinds(pair):
    _, everything = gathered(pair)
    _, records = gathered(pair, causes_limit=10)
    explained = [record for record in records if "explanation" in record]
    assert [record["transition"] for record in explained].count("broken") == 2
    assert len(explained) == 10
    change = {r["case_id"]: abs(r["tuned_margin"] - r["base_margin"]) for r in records if r["transition"] == "repaired"}
    chosen = {r["case_id"] for r in explained if r["transition"] == "repaired"}
    assert min(change[one] for one in chosen) > max(value for one, value in change.items() if one not in chosen)
    # What is told of a case does not depend on how many others are explained.
    told = {record["case_id"]: record["explanation"] for record in everything if "explanation" in record}
    assert all(record["explanation"] == told[record["case_id"]] for record in explained)
    assert not [record for record in gathered(pair, causes_limit=0)[1] if "explanation" in record]


def test_the_tables_have_the_columns_that_others_read(pair):
    tables = gathered(pair)[0].tables
    assert list(tables["slices"]) == list(COLUMNS)
    for name, table in tables.items():
        assert tuple(table) == names(TABLES[name]), name
    assert tables["transitions"]["cases"].sum() == len(tables["confusion_base"]) == 100


def test_what_was_not_asked_for_is_left_out():
    pair = predictions(RIGHT[:, 0], 1, settings=()), predictions(RIGHT[:, 1], 2, settings=())
    found, records = gathered(pair)
    absent = {"gain_answer_format", "gain_partial_input", "noise_floor_flips", "few_shot_base_accuracy", "base_stable"}
    fields = {field for record in records for field in record.get("evidence", ())}
    assert not absent & {*found.metrics, *found.figures["baselines"], *fields}
    assert found.metrics["gain_label_bias"] + found.metrics["gain_residual"] == pytest.approx(0.47)


def test_the_flips_between_two_untrained_heads_stand_beside_those_of_training():
    # The second head answers each case as the first one does the next.
    base, tuned = (predictions(RIGHT[:, at], seed, settings=("seed_prediction",)) for at, seed in ((0, 1), (1, 2)))
    found, _ = gathered((base, tuned.drop(columns="seed_prediction")))
    other = np.array([one == case.label for one, case in zip(base["seed_prediction"], TEST, strict=True)])
    assert found.metrics["noise_floor_seed_flips"] == (other != RIGHT[:, 0]).sum() > 0
    assert found.metrics["noise_floor_seed_changed"] == (base["seed_prediction"] != base["prediction"]).sum()
    assert "noise_floor_flips" not in found.metrics


def test_leaked_cases_are_counted_and_the_table_is_made_again_without_them(pair):
    found, _ = gathered(pair, train=[*TRAIN, *TEST[:30]])
    flips = RIGHT[:30]
    assert found.figures["contamination"]["leaked"] == 30
    assert found.figures["contamination"]["repaired_leaked"] == int((~flips[:, 0] & flips[:, 1]).sum())
    assert found.figures["contamination"]["clean_n"] == 70
    assert found.tables["contamination"]["same_inputs"].sum() == 30


def test_a_base_that_guesses_and_a_tuned_model_that_says_one_thing_raise_checks():
    gold = np.array([LABELS.index(case.label) for case in TEST])
    pair = predictions(np.arange(100) % 10 < 3, 1), predictions(gold == 0, 2).assign(prediction="entailment")
    found, _ = gathered(pair)
    assert [check.name for check in found.checks if check.code in ("TD101", "TD102")] == [
        "Degenerate base model", "Degenerate tuned model", "Base model at chance", "Tuned model at chance",
    ]  # fmt: skip


def test_a_tiny_or_perfect_pair_comes_through():
    pair = predictions(np.ones(100, bool), 1), predictions(np.ones(100, bool), 2)
    found, records = gathered(pair)
    assert found.metrics["repaired"] == found.metrics["broken"] == 0
    assert not [record for record in records if "explanation" in record]
    one = [frame.head(1) for frame in pair]
    found = gather(compare_run(*one, TRAIN, TEST[:1], find_leaks(TEST[:1], TRAIN, TASK), TASK, Diff()))
    assert found.tables["slices"].empty
    assert list(found.tables["slices"]) == list(COLUMNS)
    assert len(list(found.records)) == found.metrics["n"] == 1
    assert "nll_delta_low" not in found.figures["calibration"]


def test_predictions_of_another_split_are_refused(pair):
    with pytest.raises(TunediffError, match="test split and predictions: found 99 and 100 cases"):
        compare_run(*pair, TRAIN, TEST[:99], find_leaks(TEST, TRAIN, TASK), TASK, Diff())


def test_the_order_of_the_predictions_makes_no_difference(pair):
    first, records = gathered(pair)
    turned, other = gathered([frame.iloc[::-1].reset_index(drop=True) for frame in pair])
    assert first.metrics == pytest.approx(turned.metrics)
    assert [r.get("explanation") for r in records] == [r.get("explanation") for r in other]
    assert [r["slices"] for r in records] == [r["slices"] for r in other]


def test_files_of_one_model_give_zero_flips_and_the_summary_says_so():
    before, after = made_up_pair()
    assert "zero flips: no answer differs" in file_summary(gather(compare_tables(before, before)))
    assert "zero flips" not in file_summary(gather(compare_tables(before, after)))


def test_the_summary_shows_the_arithmetic_and_what_to_beware_of(pair):
    text = diff_summary(gathered(pair, train=[*TRAIN, *TEST[:30]])[0])
    assert "accuracy 41.0% -> 88.0% on 100 cases: 49 repaired - 2 broken = +47" in text
    assert "without training, at another batch size, 1 cases flip" in text
    assert "over the best trivial baseline (partial input, 100.0%): -12.0" in text
    assert "30 cases have a duplicate or near-duplicate in training" in text


def test_columns_of_ones_own_are_slices_with_tests_corrected_together_and_every_case_says_its_own(pair):
    channel = ["web" if before < after else "phone" for before, after in RIGHT]
    age = [None if number == 0 else str(number) for number in range(100)]
    own = {"channel": channel, "age": age}
    leaks = find_leaks(TEST, TRAIN, TASK)
    alone, found = (
        gather(compare_run(*pair, TRAIN, TEST, leaks, TASK, Diff(), user_slices=columns)) for columns in ({}, own)
    )
    table = found.tables["slices"]
    ours = table[table["family"].isin(list(own))].set_index("value")
    assert ours.loc["web", ["n", "repaired", "broken"]].tolist() == [49, 49, 0]
    assert {"1 to 25", "26 to 50"} <= set(ours.index)
    assert int(ours.loc[ours["family"] == "age", "n"].sum()) == 99
    assert len(table) == len(alone.tables["slices"]) + len(ours)
    assert table["q"].tolist() == pytest.approx(benjamini_hochberg(table["p"].tolist()))
    for record, value in zip(found.records, channel, strict=True):
        assert f"channel: {value}" in record["slices"]


def test_values_of_other_cases_than_those_of_the_test_set_are_refused(pair):
    with pytest.raises(TunediffError, match=r"slices by tier: found 99 values for 100 test cases, expected one per"):
        compare_run(*pair, TRAIN, TEST, None, TASK, Diff(), user_slices={"tier": ["a"] * 99})
