"""Metrics of classification: accuracy, class metrics, proper scores, and degenerate predictors.

    >>> labels = ["entailment", "neutral", "contradiction"]
    >>> gold = ["entailment", "neutral", "contradiction", "neutral"]
    >>> predictions = ["entailment", "neutral", None, "entailment"]      # None: invalid
    >>> counts = confusion(labels, gold, predictions)
    >>> counts.tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]

In all metrics, an invalid prediction is wrong and stays in the denominator, and an undefined precision, recall or F1 is
0. Of two labels, the last is the positive one: labels: [negative, positive].
"""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.metrics.calibration import Codes, case_brier, case_nll, label_codes, number_rows
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Floats
from tunediff.stats.intervals import wilson

Counts = npt.NDArray[np.int64]

# A predictor that gives one label to more than this share of the cases is degenerate.
ONE_LABEL_SHARE = 0.95

# Cases whose probabilities are computed at a time: ten million at once would take gigabytes.
BLOCK = 65_536


def score(
    labels: Sequence[str],
    gold: Iterable[str],
    predictions: Iterable[str | None],
    log_probs: Iterable[Sequence[float]] | npt.NDArray[np.floating[Any]],
    confidence: float = 0.95,
) -> dict[str, float]:
    """Return the metrics of one prediction file, as a flat dict.

    Args:
        labels: the label list of the task, of length n_labels.
        gold: the right label of each case, of length n_cases.
        predictions: the predicted label of each case, None (or NaN) if the answer is invalid.
        log_probs: log-probabilities (natural logarithm) of shape (n_cases, n_labels), in the order of `labels`, each
            row normalised over the labels.
        confidence: level of the interval of the accuracy.

    Returns:
        The result of `label_scores`, with, before `degenerate`: nll, mean negative log-probability of the gold label in
        nats, 0 is best; brier, mean squared distance between probabilities and gold label, summed over labels (Brier
        1950), 0..2, 0 is best.

    Raises:
        TunediffError: there is no case, a label is not in `labels`, or log-probabilities have another shape, are not
            finite or not normalised.
    """
    gold = gold if isinstance(gold, pd.Series) else list(gold)
    found = label_scores(labels, gold, predictions, confidence)
    nll, brier = _proper_scores(log_probs, label_codes(labels, gold), len(labels))
    degenerate = found.pop("degenerate")
    return found | {"nll": float(nll.mean()), "brier": float(brier.mean()), "degenerate": degenerate}


def label_scores(
    labels: Sequence[str], gold: Iterable[str], predictions: Iterable[str | None], confidence: float = 0.95
) -> dict[str, float]:
    """Return the metrics that require labels only, as a flat dict.

    Args:
        labels: the label list of the task, of length n_labels.
        gold: the right label of each case, of length n_cases.
        predictions: the predicted label of each case, None (or NaN) if the answer is invalid.
        confidence: level of the interval of the accuracy.

    Returns:
        n: number of cases. accuracy, accuracy_low, accuracy_high: 0..1, with the Wilson interval. balanced_accuracy:
        mean recall over the labels that occur in gold, 0..1. macro_f1: mean F1 over the labels that occur in gold or
        predictions, 0..1. precision, recall, f1: 0..1, of the positive label, if there are two labels. invalid: number
        of invalid answers. degenerate: 1 if `degenerate_reason` returns a sentence, else 0.

    Raises:
        TunediffError: there is no case, or a label is not in `labels`.
    """
    counts = confusion(labels, gold, predictions)
    n, right = int(counts.sum()), int(counts.trace())
    if n == 0:
        raise TunediffError("found no case to score, expected at least one")
    precision, recall, f1 = _rates(counts)
    positive = {"precision": float(precision[-1]), "recall": float(recall[-1]), "f1": float(f1[-1])}
    support, predicted = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    low, high = wilson(right, n, confidence)
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_f1": float(f1[support + predicted > 0].mean()),
        **(positive if len(labels) == 2 else {}),
        "invalid": int(counts[:, -1].sum()),
        "degenerate": int(degenerate_reason(labels, counts) is not None),
    }


def confusion(labels: Sequence[str], gold: Iterable[str], predictions: Iterable[str | None]) -> Counts:
    """Return the confusion matrix with a column for invalid answers, of shape (n_labels, n_labels + 1).

    Rows are gold labels, columns are predicted labels; the last column is for invalid answers.

    Raises:
        TunediffError: a label is not in `labels`, or the numbers of predictions and gold labels differ.
    """
    right, given = label_codes(labels, gold), label_codes(labels, predictions, predictions=True)
    if len(right) != len(given):
        raise TunediffError(f"found {len(given)} predictions, expected {len(right)}, one per gold label")
    # The index -1 of an invalid prediction refers to the last column.
    counts = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    np.add.at(counts, (right, given), 1)
    return counts


def per_class(labels: Sequence[str], counts: Counts) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 (0..1) and support (cases of that gold label), one row per label.

    Args:
        labels: the label list of the task, of length n_labels.
        counts: the result of `confusion`.
    """
    return [
        {
            "label": label,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for label, precision, recall, f1, support in zip(labels, *_rates(counts), counts.sum(axis=1), strict=True)
    ]


def degenerate_reason(labels: Sequence[str], counts: Counts) -> str | None:
    """Return a sentence if the predictions are degenerate, else None.

    They are if more than 95 % of the cases get the same label, or if the accuracy is no better than that of always
    answering the most frequent gold label. Predictions that are all invalid are not degenerate.

    Args:
        labels: the label list of the task, of length n_labels.
        counts: the result of `confusion`.
    """
    n, right = int(counts.sum()), int(counts.trace())
    support, predicted = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    common, favourite = int(support.argmax()), int(predicted.argmax())
    share = predicted[favourite] / n
    reasons = []
    if not predicted.any():
        return None
    if share > ONE_LABEL_SHARE:
        cases = f"{n:,} case{'s' * (n != 1)}"
        reasons.append(f"it answers {labels[favourite]!r} for {100 * share:.1f} % of {cases}")
    if right <= support[common]:
        reasons.append(
            f"its accuracy of {100 * right / n:.1f} % is no better than always answering {labels[common]!r} "
            f"({100 * support[common] / n:.1f} %)"
        )
    return f"Degenerate predictor: {', and '.join(reasons)}." if reasons else None


def repeated_accuracy(metrics: Mapping[str, float], labels: Sequence[str], counts: Counts) -> list[str]:
    """Return the scores that equal the accuracy to six digits although the counts give another value.

    Args:
        metrics: reported figures in 0..1, including any of accuracy, macro_f1, precision, recall, f1 (the last three
            for the last label, the positive one of two).
        labels: the label list of the task.
        counts: the result of `confusion` for the predictions.
    """
    rows = per_class(labels, counts)
    occurring = [row["f1"] for row, column in zip(rows, counts.sum(axis=0), strict=False) if row["support"] or column]
    true = {"macro_f1": sum(occurring) / len(occurring)}
    true |= {name: rows[-1][name] for name in ("precision", "recall", "f1")}
    accuracy = metrics.get("accuracy", nan)
    return [
        f"{name} (by the counts {true[name]:.6f})"
        for name in true
        if name in metrics and abs(metrics[name] - accuracy) < 5e-7 and abs(true[name] - metrics[name]) >= 5e-7
    ]


def _proper_scores(
    log_probs: Iterable[Sequence[float]] | npt.NDArray[np.floating[Any]], gold: Codes, n_labels: int
) -> tuple[Floats, Floats]:
    """Check log-probabilities, and return `case_nll` and `case_brier`; temporary arrays have at most BLOCK rows."""
    try:
        array = np.asarray(number_rows(log_probs), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TunediffError(
            f"log-probabilities: found a case without {n_labels} numbers, expected one per label"
        ) from error
    if array.shape != (shape := (len(gold), n_labels)):
        raise TunediffError(f"log-probabilities: found shape {array.shape}, expected {shape} (cases, labels)")
    nll, brier = np.empty(len(gold)), np.empty(len(gold))
    for start in range(0, len(gold), BLOCK):
        rows = slice(start, start + BLOCK)
        _check(array[rows], start)
        nll[rows], brier[rows] = case_nll(array[rows], gold[rows]), case_brier(array[rows], gold[rows])
    return nll, brier


def _check(array: Floats, start: int) -> None:
    """Check that log-probabilities, those of the cases from `start` on, are finite and normalised."""
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array)).any(axis=1).argmax())
        raise TunediffError(f"log-probabilities of case {start + row + 1}: found {array[row]}, expected finite numbers")
    # The tolerance accepts models in bfloat16, and rejects scores that are not normalised.
    sums = np.exp(array).sum(axis=1)
    if (np.abs(sums - 1) > 0.02).any():
        row = int(np.abs(sums - 1).argmax())
        raise TunediffError(
            f"log-probabilities of case {start + row + 1}: found exp summing to {sums[row]:.4g}, expected 1"
        )


def _rates(counts: Counts) -> tuple[npt.NDArray[np.float64], ...]:
    """Return precision, recall and F1, each of shape (n_labels,); 0 if undefined."""
    right = counts.diagonal()
    support, predicted = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    # If a denominator is 0, so is the numerator.
    return (
        right / np.maximum(predicted, 1),
        right / np.maximum(support, 1),
        2 * right / np.maximum(support + predicted, 1),
    )
