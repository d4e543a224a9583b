"""Calibration before and after: did fine-tuning make the probabilities truer, or only more certain?

    found = calibration(aligned, labels)
    found.metrics                      # {"nll_base": 1.21, "nll_tuned": 0.64, "nll_delta": -0.57, ...}
    found.reliability                  # a row a model and bin
    found.coverage                     # a row a model and share of cases answered

NLL and Brier score are proper, so their paired differences decide; the calibration error describes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from tunediff.metrics.calibration import (
    Floats,
    adaptive_ece,
    case_brier,
    case_nll,
    confidence_of,
    ece_difference_interval,
    ece_interval,
    label_codes,
    log_prob_array,
    reliability,
    selective_accuracy,
)

MODELS = ("base", "tuned")


class Calibration(NamedTuple):
    """What the probabilities of both models are worth."""

    metrics: dict[str, float]
    reliability: pd.DataFrame
    coverage: pd.DataFrame


# Of models that gave no probabilities: no figure, and tables without a row.
NOT_MEASURED = Calibration(
    {},
    pd.DataFrame(columns=["model", "bin", "cases", "confidence", "accuracy", "low", "high"]),
    pd.DataFrame(columns=["model", "coverage", "cases", "threshold", "accuracy"]),
)


def calibration(aligned: pd.DataFrame, labels: Sequence[str], confidence: float = 0.95) -> Calibration:
    """Return what the probabilities of both models are worth.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns, with log_probs_base and log_probs_tuned.
        labels: the label list of the task, in the order of the log-probabilities.
        confidence: of every interval.

    Returns:
        metrics, flat. For nll (nats, 0 is best) and brier (0..2, 0 is best): KEY_base, KEY_tuned, KEY_delta (tuned
        minus base) with the paired t interval KEY_delta_low and KEY_delta_high, which is left out for a single case.
        For each model ece (0..1, 0 is best; over bins of equal mass): ece_MODEL, ece_MODEL_low, ece_MODEL_high; and
        ece_delta with its paired bootstrap interval, left out
        for a single case too.
        reliability, coverage: `reliability` and `selective_accuracy` of tunediff.metrics.calibration for both models,
        with the column `model` before theirs.

    Raises:
        TunediffError: a label is unknown, or log-probabilities are no finite numbers, one a label.
    """
    gold = label_codes(labels, aligned["label"])
    scores = {model: log_prob_array(aligned[f"log_probs_{model}"]) for model in MODELS}
    metrics: dict[str, float] = {}
    for name, of in (("nll", case_nll), ("brier", case_brier)):
        before, after = (of(scores[model], gold) for model in MODELS)
        metrics |= {f"{name}_base": float(before.mean()), f"{name}_tuned": float(after.mean())}
        metrics |= _paired(name, before, after, confidence)
    bins, curves, pair = [], [], []
    for model in MODELS:
        sure, right = confidence_of(scores[model]), scores[model].argmax(axis=1) == gold
        pair.append((sure, right))
        low, high = ece_interval(sure, right, confidence)
        metrics |= {f"ece_{model}": adaptive_ece(sure, right), f"ece_{model}_low": low, f"ece_{model}_high": high}
        bins.append(reliability(sure, right, level=confidence))
        curves.append(selective_accuracy(sure, right))
    metrics["ece_delta"] = metrics["ece_tuned"] - metrics["ece_base"]
    if len(gold) > 1:
        low, high = ece_difference_interval(pair[0], pair[1], confidence)
        metrics |= {"ece_delta_low": low, "ece_delta_high": high}
    return Calibration(metrics, _of_both(bins), _of_both(curves))


def _of_both(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, keys=MODELS, names=["model"]).reset_index("model").reset_index(drop=True)


def _paired(name: str, before: Floats, after: Floats, confidence: float) -> dict[str, float]:
    difference = after - before
    delta = float(difference.mean())
    if len(difference) < 2:
        return {f"{name}_delta": delta}
    low = high = delta
    if np.ptp(difference) > 0:
        interval = ttest_rel(after, before).confidence_interval(confidence)
        low, high = float(interval.low), float(interval.high)
    return {f"{name}_delta": delta, f"{name}_delta_low": low, f"{name}_delta_high": high}
