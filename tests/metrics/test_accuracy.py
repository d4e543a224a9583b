import doctest
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from tunediff.metrics import accuracy
from tunediff.metrics.accuracy import confusion, degenerate_reason, per_class, score
from tunediff.runtime.errors import TunediffError

NLI = ["entailment", "neutral", "contradiction"]
KEYS = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1"),
    *("precision", "recall", "f1"),
    *("invalid", "nll", "brier", "degenerate"),
)


def uniform(n, labels=NLI):
    return np.full((n, len(labels)), -np.log(len(labels)))


@st.composite
def labelings(draw):
    """Labels, gold, predictions (some invalid) and normalised log-probabilities."""
    labels = [f"label {i}" for i in range(draw(st.integers(2, 5)))]
    n = draw(st.integers(1, 40))
    gold = draw(st.lists(st.sampled_from(labels), min_size=n, max_size=n))
    predictions = draw(st.lists(st.sampled_from([*labels, None]), min_size=n, max_size=n))
    logits = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(0, 3, (n, len(labels)))
    return labels, gold, predictions, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def as_class(predictions):
    return ["invalid" if label is None else label for label in predictions]


def test_the_documented_example_holds():
    assert doctest.testmod(accuracy).attempted > 0
    assert doctest.testmod(accuracy).failed == 0


@given(labelings())
def test_every_metric_agrees_with_scikit_learn(labeling):
    labels, gold, predictions, log_probs = labeling
    ours, answers = score(labels, gold, predictions, log_probs), as_class(predictions)
    present = [label for label in labels if label in gold or label in answers]
    two = len(labels) == 2
    assert tuple(ours) == (KEYS if two else tuple(key for key in KEYS if key not in ("precision", "recall", "f1")))
    assert ours["n"] == len(gold)
    assert ours["invalid"] == answers.count("invalid")
    assert ours["accuracy"] == pytest.approx(accuracy_score(gold, answers))
    assert ours["macro_f1"] == pytest.approx(f1_score(gold, answers, labels=present, average="macro", zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that "invalid" is no gold label
        assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(gold, answers))
    if two:
        positive = precision_recall_fscore_support(gold, answers, labels=labels[-1:], zero_division=0)
        assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx([float(of[0]) for of in positive[:3]])
    assert ours["nll"] == pytest.approx(log_loss(gold, np.exp(log_probs), labels=labels))
    one_hot = np.array([[label == right for label in labels] for right in gold])
    assert ours["brier"] == pytest.approx(((np.exp(log_probs) - one_hot) ** 2).sum(axis=1).mean())


@given(labelings())
def test_rows_per_class_and_confusion_agree_with_scikit_learn(labeling):
    labels, gold, predictions, _ = labeling
    answers, counts = as_class(predictions), confusion(labels, gold, predictions)
    theirs = confusion_matrix(gold, answers, labels=[*labels, "invalid"])
    assert np.array_equal(counts, theirs[:-1])
    columns = precision_recall_fscore_support(gold, answers, labels=labels, zero_division=0)
    for row, *values in zip(per_class(labels, counts), *columns, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(values)


def test_of_two_labels_the_last_is_the_positive_one():
    gold, predictions = ["positive"] * 4 + ["negative"] * 6, ["positive"] * 3 + ["negative"] * 5 + ["positive", None]
    labels = ["negative", "positive"]
    found = score(labels, gold, predictions, uniform(10, labels))
    assert (found["precision"], found["recall"], found["f1"]) == (3 / 4, 3 / 4, 3 / 4)
    turned = score(labels[::-1], gold, predictions, uniform(10, labels))
    assert (turned["precision"], turned["recall"]) == (4 / 5, 4 / 6)


def test_brier_agrees_with_scikit_learn():
    gold = ["neutral", "entailment", "neutral", "contradiction"]
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    order = sorted(NLI)
    theirs = brier_score_loss(
        gold, probabilities[:, [NLI.index(label) for label in order]], labels=order, scale_by_half=False
    )
    assert score(NLI, gold, gold, np.log(probabilities))["brier"] == pytest.approx(theirs)


def test_brier_and_nll_reach_their_ends():
    sure = np.log(np.array([[1 - 2e-9, 1e-9, 1e-9]]))
    right, wrong = score(NLI, ["entailment"], ["entailment"], sure), score(NLI, ["neutral"], ["entailment"], sure)
    assert (right["nll"], right["brier"]) == pytest.approx((0, 0), abs=1e-6)
    assert wrong["brier"] == pytest.approx(2, abs=1e-6)
    assert wrong["nll"] == pytest.approx(-np.log(1e-9))


def test_scores_in_blocks_are_those_of_all_cases_at_once(monkeypatch):
    log_probs = np.log(np.random.default_rng(3).dirichlet([1, 1, 1], size=100))
    gold = np.random.default_rng(4).choice(NLI, size=100).tolist()
    at_once = score(NLI, gold, gold, log_probs)
    monkeypatch.setattr(accuracy, "BLOCK", 7)
    assert score(NLI, gold, gold, log_probs) == at_once
    rows = pd.Series(log_probs.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float64())))
    kind = pd.CategoricalDtype(NLI)
    assert score(NLI, *(pd.Series(gold, dtype=kind) for _ in range(2)), rows) == at_once
    log_probs[40] = 0
    with pytest.raises(TunediffError, match="of case 41: found exp summing to 3, expected 1"):
        score(NLI, gold, gold, log_probs)
    log_probs[70, 1] = np.inf
    with pytest.raises(TunediffError, match="of case 41"):
        score(NLI, gold, gold, log_probs)


def test_the_accuracy_of_41_of_100_carries_its_golden_wilson_interval():
    predictions = ["neutral"] * 41 + ["entailment"] * 59
    metrics = score(NLI, ["neutral"] * 100, predictions, uniform(100))
    assert metrics["accuracy"] == 0.41
    assert (metrics["accuracy_low"], metrics["accuracy_high"]) == pytest.approx((0.319, 0.508), abs=5e-4)


def test_an_invalid_answer_is_wrong_and_stays_in_the_denominator():
    gold = ["entailment", "neutral", "contradiction", "neutral"]
    metrics = score(NLI, gold, ["entailment", None, None, "neutral"], uniform(4))
    assert (metrics["n"], metrics["invalid"], metrics["accuracy"]) == (4, 2, 0.5)
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_missing_prediction_read_from_a_table_is_invalid():
    gold = pd.Series(["entailment", "neutral"], index=[7, 3])
    predictions = pd.Series(["entailment", None], index=[7, 3], dtype="str")
    metrics = score(NLI, gold, predictions, pd.Series([np.log([0.5, 0.3, 0.2]).tolist()] * 2))
    assert (metrics["accuracy"], metrics["invalid"]) == (0.5, 1)


def test_an_absent_class_counts_in_neither_balanced_accuracy_nor_macro_f1():
    gold = ["entailment", "neutral"]
    metrics = score(NLI, gold, gold, uniform(2))
    assert (metrics["balanced_accuracy"], metrics["macro_f1"]) == (1.0, 1.0)


def test_a_class_predicted_but_absent_from_gold_counts_with_an_f1_of_zero():
    metrics = score(NLI, ["entailment"] * 2, ["entailment", "neutral"], uniform(2))
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["balanced_accuracy"] == 0.5


@pytest.mark.parametrize(("same", "named"), [(95, False), (96, True)])
def test_one_label_for_over_95_percent_is_degenerate(same, named):
    # The accuracy beats the majority label, so that only the share can tell.
    gold = ["neutral"] * 90 + ["entailment"] * 10
    predictions = ["neutral"] * same + ["entailment"] * (100 - same)
    reason = degenerate_reason(NLI, confusion(NLI, gold, predictions))
    assert (reason is not None) == named
    if named:
        assert reason == "Degenerate predictor: it answers 'neutral' for 96.0 % of 100 cases."
    assert score(NLI, gold, predictions, uniform(100))["degenerate"] == int(named)


def test_an_accuracy_no_better_than_the_majority_label_is_degenerate():
    gold = ["neutral"] * 4 + ["entailment"] * 3 + ["contradiction"] * 3
    predictions = ["neutral"] * 2 + ["entailment"] * 2 + ["entailment"] * 2 + ["neutral"] * 4
    reason = degenerate_reason(NLI, confusion(NLI, gold, predictions))
    assert reason == (
        "Degenerate predictor: its accuracy of 40.0 % is no better than always answering 'neutral' (40.0 %)."
    )
    one_more = [*predictions[:-1], "contradiction"]
    assert degenerate_reason(NLI, confusion(NLI, gold, one_more)) is None


def test_a_classifier_that_says_positive_for_everything_is_named_with_both_reasons():
    gold = ["positive"] * 55 + ["negative"] * 45
    reason = degenerate_reason(["negative", "positive"], confusion(["negative", "positive"], gold, ["positive"] * 100))
    assert reason == (
        "Degenerate predictor: it answers 'positive' for 100.0 % of 100 cases, and its accuracy of 55.0 % is no "
        "better than always answering 'positive' (55.0 %)."
    )


def test_predictions_of_which_none_names_a_label_are_no_degenerate_predictor():
    gold = ["neutral"] * 4 + ["entailment"] * 6
    assert degenerate_reason(NLI, confusion(NLI, gold, [None] * 10)) is None
    assert degenerate_reason(NLI, confusion(NLI, gold, ["neutral"] + [None] * 9)) is not None


def test_one_case_is_one_case():
    reason = degenerate_reason(NLI, confusion(NLI, ["neutral"], ["neutral"]))
    assert reason.startswith("Degenerate predictor: it answers 'neutral' for 100.0 % of 1 case, and")


@pytest.mark.parametrize(
    ("gold", "predictions", "log_probs", "message"),
    [
        ([], [], np.empty((0, 3)), "no case to score"),
        (["neutral", "yes"], ["neutral"] * 2, uniform(2), "gold label of case 2: found 'yes', expected one of entail"),
        ([None], ["neutral"], uniform(1), "gold label of case 1: found None"),
        (["neutral"], ["no"], uniform(1), "prediction of case 1: found 'no', expected one of entailment"),
        (["neutral"] * 2, ["neutral"], uniform(2), "found 1 predictions, expected 2"),
        (["neutral"], ["neutral"], uniform(2), r"found shape \(2, 3\), expected \(1, 3\)"),
        (["neutral"] * 2, ["neutral"] * 2, [[-1.0], [-1.0, -2.0]], "a case without 3 numbers"),
        (["neutral"], ["neutral"], [None], "a case without 3 numbers|found shape"),
        (["neutral"], ["neutral"], [[0.0, -np.inf, -np.inf]], "case 1: found .*inf.*, expected finite"),
        (["neutral"], ["neutral"], [[-4.0, -5.0, -6.0]], "case 1: found exp summing to 0.02753, expected 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(gold, predictions, log_probs, message):
    with pytest.raises(TunediffError, match=message) as refusal:
        score(NLI, gold, predictions, log_probs)
    assert "\n" not in str(refusal.value)
