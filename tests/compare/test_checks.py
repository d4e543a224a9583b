"""The mistakes of published comparisons that data can tell: each is made here, and named."""

import math
from collections import Counter

import numpy as np
import pytest

from tunediff.compare.answer_checks import (
    chance_checks,
    cut_checks,
    degenerate_checks,
    one_label_checks,
    repeated_checks,
    text_checks,
)
from tunediff.compare.checks import environment_checks, perplexity_checks, unchanged_checks
from tunediff.compare.raised import Models
from tunediff.metrics.accuracy import confusion, per_class
from tunediff.tasks.classification import Classification, Inference
from tunediff.tasks.question_answering import QuestionAnswering

LABELS = ["negative", "positive"]
TASK = Classification("classification", ["text"], LABELS, "text", "text")
THREE = Inference("nli", ["a", "b"], ["entailment", "neutral", "contradiction"], "a", "b")
QUESTIONS = QuestionAnswering("", ["question", "context"], ["answerable", "unanswerable"], "context", "question")


def tally(gold, answers):
    return Counter(zip(gold, answers, strict=True))


def chance(right, n, task=THREE, gold=None, model="base"):
    """The sentence about a model that has so many cases right; None where it is not at chance."""
    cases = tally(gold or [task.labels[0]] * n, [None] * n)
    return next((check.sentence for check in chance_checks(task, cases, right, model, f"{model} model", 0.95)), None)


def test_a_classifier_that_says_positive_for_everything_is_named_though_its_f1_looks_reasonable():
    gold, predictions = ["positive"] * 444 + ["negative"] * 428, ["positive"] * 872
    assert per_class(LABELS, confusion(LABELS, gold, predictions))[1]["f1"] == pytest.approx(0.675, abs=1e-3)
    [check] = degenerate_checks(TASK, tally(gold, predictions), "tuned model", 0.95)
    assert (check.code, check.name) == ("TD101", "Degenerate tuned model")
    assert "'positive' for 100.0 % of 872 cases" in check.sentence


def test_the_printed_examples_of_one_label_are_a_degenerate_base_model():
    gold = THREE.labels * 33
    [check] = degenerate_checks(THREE, tally(gold, ["entailment"] * 99), "base model", 0.95)
    assert "no better than always answering" in check.sentence


def test_a_model_that_answers_with_both_labels_and_is_right_is_not_named():
    assert not list(degenerate_checks(TASK, tally(LABELS * 10, LABELS * 10), "base model", 0.95))


def test_a_model_that_answers_nearly_every_question_is_named_where_a_half_has_no_answer():
    gold = ["answerable"] * 50 + ["unanswerable"] * 50
    [check] = degenerate_checks(QUESTIONS, tally(gold, ["answerable"] * 99 + [None]), "tuned model", 0.95)
    assert check.sentence == "It gives an answer to 99.0 % of 100 questions; 50.0 % are answerable."
    assert not list(degenerate_checks(QUESTIONS, tally(gold, gold), "tuned model", 0.95))


def test_a_base_model_at_chance_is_named_with_its_interval():
    assert "41.0 % (31.9 to 50.8 %) of 100 cases; guessing among 3 labels scores 33.3 %" in chance(41, 100)
    assert "learning the task from scratch" in chance(41, 100)
    assert chance(88, 100) is None
    # 42 % of 100 are not distinguishable from 1/3 with 95 % confidence, 42 % of 1,000 are.
    assert chance(42, 100) is not None
    assert chance(420, 1000) is None


def test_too_few_cases_to_show_that_any_model_reads_name_none():
    # All of 3 right may still be guessing (its Wilson interval begins at 43.9 %), all of 7 is not: 64.6 %.
    assert chance(2, 7) is not None
    assert chance(3, 3, TASK) is chance(2, 3, TASK) is None
    gold = ["positive", "positive", "negative"]
    assert not list(degenerate_checks(TASK, tally(gold, ["positive"] * 3), "base model", 0.95))
    assert list(degenerate_checks(TASK, tally(gold * 5, ["positive"] * 15), "base model", 0.95))


def test_of_cases_with_one_gold_label_no_model_is_called_degenerate():
    assert not list(degenerate_checks(TASK, tally(["positive"] * 500, ["positive"] * 500), "base model", 0.95))


def test_a_model_that_is_right_no_more_often_than_one_that_never_answers_is_at_chance():
    half = ["answerable"] * 50 + ["unanswerable"] * 50
    assert "never answering scores 50.0 %" in chance(52, 100, QUESTIONS, half, "tuned")
    assert "learning" not in chance(52, 100, QUESTIONS, half, "tuned")
    assert chance(70, 100, QUESTIONS, half) is None
    # Where every question has an answer, a single right one is better than none.
    assert chance(1, 100, QUESTIONS) is None
    assert chance(0, 100, QUESTIONS) is not None


def test_a_test_set_of_one_label_is_named():
    [check] = one_label_checks(TASK, tally(["positive"] * 3, [*LABELS, "positive"]))
    assert "Every test case has the gold label positive" in check.sentence
    assert not list(one_label_checks(TASK, tally(LABELS, LABELS)))


def test_an_f1_that_repeats_the_accuracy_is_named():
    # System D: every epoch printed the accuracy, .858, as F1 too, beside precision .874 and recall .842.
    gold = ["positive"] * 1000 + ["negative"] * 1000
    predictions = ["positive"] * 842 + ["negative"] * 158 + ["positive"] * 121 + ["negative"] * 879
    accuracy = (842 + 879) / 2000
    row = per_class(LABELS, confusion(LABELS, gold, predictions))[1]
    true = {"accuracy": accuracy, "precision": row["precision"], "recall": row["recall"], "f1": row["f1"]}

    def repeated(metrics):
        return [check.sentence for check in repeated_checks(TASK, metrics, tally(gold, predictions), "tuned model")]

    assert repeated(true) == []
    assert repeated(true | {"f1": accuracy}) == [
        f"The accuracy 0.860500 is also reported as f1 (by the counts {row['f1']:.6f})."
    ]
    assert "macro_f1" in repeated({"accuracy": accuracy, "macro_f1": accuracy})[0]


def test_an_f1_that_truly_equals_the_accuracy_is_not_named():
    perfect = {"accuracy": 1.0, "f1": 1.0, "macro_f1": 1.0}
    assert not list(repeated_checks(TASK, perfect, tally(LABELS * 5, LABELS * 5), "tuned model"))


def test_a_perplexity_in_the_millions_is_named():
    [check] = perplexity_checks(3_214_000.0, 30_522)
    assert "3,214,000 is above that of guessing evenly among 30,522" in check.sentence
    assert len(list(perplexity_checks(math.inf, 30_522))) == len(list(perplexity_checks(math.nan, 30_522))) == 1
    assert not list(perplexity_checks(30_522, 30_522))
    assert not list(perplexity_checks(12.5, 30_522))


def test_text_metrics_near_zero_beside_a_real_f1_are_named():
    [check] = text_checks(0.31, {"bleu": 0.0, "rouge1": 1.2e-5, "rougeL": 1.2e-5, "meteor": 0.3}, "model")
    assert "rouge1 1.2e-05, rougeL 1.2e-05" in check.sentence
    assert "meteor" not in check.sentence


@pytest.mark.parametrize(
    ("f1", "texts"),
    [
        (0.31, {"bleu": 0.1, "rouge1": 0.32, "meteor": 0.3}),
        # Answers of one word have no four words in a row.
        (0.31, {"bleu": 0.0, "rouge1": 0.32}),
        # Nor have they two.
        (0.31, {"ROUGE-2": 0.0, "rouge2": 0.0, "rouge1": 0.32}),
        # Both near zero is a poor model, and no contradiction.
        (0.0, {"rouge1": 0.0}),
    ],
)
def test_text_metrics_that_agree_with_the_f1_are_not_named(f1, texts):
    assert not list(text_checks(f1, texts, "model"))
    assert list(text_checks(0.31, {"rouge1": math.nan}, "model"))


def test_two_evaluations_in_different_environments_are_named_with_what_differs():
    before = {"torch": "2.12.0", "device": "NVIDIA A40", "attention": "sdpa"}
    [check] = environment_checks(before, before | {"torch": "2.13.0", "threads": "4"})
    assert check.name == "Environment changed between the evaluations"
    assert check.sentence.startswith("torch 2.12.0 before, 2.13.0 after; threads none before, 4 after. ")
    assert not list(environment_checks(before, dict(before)))
    # A file of another program says nothing.
    assert not list(environment_checks(before, {}))
    assert not list(environment_checks({}, before))


def test_a_tuned_model_that_changes_not_one_log_probability_is_named_and_one_that_changes_the_last_digit_is_not():
    base = np.log([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    [check] = unchanged_checks({"base": base, "tuned": base.copy()}, Models())
    assert (check.code, check.name) == ("TD207", "Tuned model not applied")
    assert check.sentence.startswith("All 6 log-probabilities of the tuned model equal those of the base")
    nearly = base.copy()
    nearly[2, 1] = np.nextafter(nearly[2, 1], 0)
    assert not list(unchanged_checks({"base": base, "tuned": nearly}, Models()))
    assert not list(unchanged_checks({}, Models()))


def test_wrong_answers_that_end_at_the_token_limit_are_named_from_a_twentieth_of_the_cases():
    right, cut = np.zeros(100, bool), np.zeros(100, bool)
    cut[:5] = True
    [check] = cut_checks(right, cut, "tuned model")
    assert (check.code, check.name) == ("TD209", "Answers of the tuned model cut off")
    assert check.sentence == "5 wrong answers of the tuned model (5.0 % of the cases) end at the token limit."
    right[0] = True
    assert not list(cut_checks(right, cut, "tuned model"))
    assert not list(cut_checks(right, np.zeros(100, bool), "tuned model"))
