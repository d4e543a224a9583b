"""The mistakes of published comparisons that data can tell: each is made here, and named."""

import math

import pytest

from tunediff.compare.checks import (
    chance_alarm,
    degenerate_alarm,
    environment_alarm,
    guessing,
    never_answering,
    perplexity_alarm,
    repeated_alarm,
    text_alarm,
)
from tunediff.metrics.accuracy import confusion, per_class

LABELS = ["negative", "positive"]
THREE = guessing(["entailment", "neutral", "contradiction"])


def test_a_classifier_that_says_positive_for_everything_is_named_though_its_f1_looks_reasonable():
    gold = ["positive"] * 444 + ["negative"] * 428
    predictions = ["positive"] * 872
    assert per_class(LABELS, confusion(LABELS, gold, predictions))[1]["f1"] == pytest.approx(0.675, abs=1e-3)
    alarm = degenerate_alarm(LABELS, gold, predictions, "tuned model")
    assert alarm.name == "Degenerate tuned model"
    assert "'positive' for 100.0 % of 872 cases" in alarm.sentence


def test_the_printed_examples_of_one_label_are_a_degenerate_base_model():
    gold = ["entailment", "neutral", "contradiction"] * 33
    alarm = degenerate_alarm(sorted(set(gold)), gold, ["entailment"] * 99, "base model")
    assert "no better than always answering" in alarm.sentence


def test_a_model_that_answers_with_both_labels_and_is_right_is_not_named():
    assert degenerate_alarm(LABELS, LABELS * 10, LABELS * 10, "base model") is None


def test_a_base_model_at_chance_is_named_with_its_interval():
    alarm = chance_alarm(41, 100, THREE)
    assert alarm.name == "Base model at chance"
    assert "41.0 % (31.9 to 50.8 %) of 100 cases; guessing among 3 labels scores 33.3 %" in alarm.sentence
    assert chance_alarm(88, 100, THREE) is None
    # 44 % of 100 are not distinguishable from 1/3 with 95 % confidence, 44 % of 1,000 are.
    assert chance_alarm(440, 1000, THREE) is None
    assert "of 1 case;" in chance_alarm(1, 1, THREE).sentence


def test_a_model_that_is_right_no_more_often_than_one_that_never_answers_is_at_chance():
    chance = never_answering(["answerable"] * 50 + ["unanswerable"] * 50)
    alarm = chance_alarm(52, 100, chance, "tuned model")
    assert "never answering scores 50.0 %" in alarm.sentence
    assert chance_alarm(70, 100, chance) is None
    # Where every question has an answer, a single right one is better than none.
    assert chance_alarm(1, 100, never_answering(["answerable"] * 100)) is None
    assert chance_alarm(0, 100, never_answering(["answerable"] * 100)) is not None


def test_an_f1_that_repeats_the_accuracy_is_named():
    # System D: every epoch printed the accuracy, .858, as F1 too, beside precision .874 and recall .842.
    gold = ["positive"] * 1000 + ["negative"] * 1000
    predictions = ["positive"] * 842 + ["negative"] * 158 + ["positive"] * 121 + ["negative"] * 879
    counts = confusion(LABELS, gold, predictions)
    accuracy = (842 + 879) / 2000
    row = per_class(LABELS, counts)[1]
    true = {"accuracy": accuracy, "precision": row["precision"], "recall": row["recall"], "f1": row["f1"]}
    assert repeated_alarm(true, LABELS, counts) is None
    alarm = repeated_alarm(true | {"f1": accuracy}, LABELS, counts)
    assert alarm.sentence == f"The accuracy 0.860500 also stands as f1 (by the counts {row['f1']:.6f})."
    assert "macro_f1" in repeated_alarm({"accuracy": accuracy, "macro_f1": accuracy}, LABELS, counts).sentence


def test_an_f1_that_truly_equals_the_accuracy_is_not_named():
    counts = confusion(LABELS, LABELS * 5, LABELS * 5)
    assert repeated_alarm({"accuracy": 1.0, "f1": 1.0, "macro_f1": 1.0}, LABELS, counts) is None


def test_a_perplexity_in_the_millions_is_named():
    assert "3,214,000 is above that of guessing evenly among 30,522" in perplexity_alarm(3_214_000.0, 30_522).sentence
    assert perplexity_alarm(math.inf, 30_522) is not None
    assert perplexity_alarm(math.nan, 30_522) is not None
    assert perplexity_alarm(30_522, 30_522) is None
    assert perplexity_alarm(12.5, 30_522) is None


def test_text_metrics_near_zero_beside_a_real_f1_are_named():
    alarm = text_alarm(0.31, {"bleu": 0.0, "rouge1": 1.2e-5, "rougeL": 1.2e-5, "meteor": 0.3})
    assert "rouge1 1.2e-05, rougeL 1.2e-05" in alarm.sentence
    assert "meteor" not in alarm.sentence


def test_text_metrics_that_agree_with_the_f1_are_not_named():
    assert text_alarm(0.31, {"bleu": 0.1, "rouge1": 0.32, "meteor": 0.3}) is None
    # Answers of one word have no four words in a row.
    assert text_alarm(0.31, {"bleu": 0.0, "rouge1": 0.32}) is None
    # Nor have they two.
    assert text_alarm(0.31, {"ROUGE-2": 0.0, "rouge2": 0.0, "rouge1": 0.32}) is None
    # Both near zero is a poor model, and no contradiction.
    assert text_alarm(0.0, {"rouge1": 0.0}) is None
    assert text_alarm(0.31, {"rouge1": math.nan}) is not None


def test_two_evaluations_in_different_environments_are_named_with_what_differs():
    before = {"torch": "2.12.0", "device": "NVIDIA A40", "attention": "sdpa"}
    alarm = environment_alarm(before, before | {"torch": "2.13.0", "threads": "4"})
    assert alarm.name == "Environment changed between the evaluations"
    assert alarm.sentence.startswith("torch 2.12.0 before, 2.13.0 after; threads none before, 4 after. ")
    assert environment_alarm(before, dict(before)) is None
    # A file of another program says nothing.
    assert environment_alarm(before, {}) is None
    assert environment_alarm({}, before) is None
