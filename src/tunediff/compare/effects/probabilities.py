"""Calibration before and after: are the probabilities more accurate after fine-tuning, or only more confident?

    found = calibration(gold, {"base": log_probs, "tuned": after}, labels, 0.95, clusters)
    found.metrics                      # {"nll_base": 1.21, "nll_tuned": 0.64, "nll_delta": -0.57, ...}
    found.reliability                  # one row per model and bin
    found.coverage                     # one row per model and share of cases answered

NLL and Brier score are proper scores, so their paired differences decide; the calibration error only describes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from tunediff.data.cases import MODELS
from tunediff.metrics.calibration import (
    adaptive_ece,
    case_brier,
    case_nll,
    confidence_of,
    ece_difference_interval,
    ece_interval,
    label_codes,
    reliability,
    selective_accuracy,
)
from tunediff.stats.bootstrap import Clusters, Floats, n_clusters
from tunediff.stats.paired import mean_difference_interval


class Calibration(NamedTuple):
    """Calibration of both models."""

    metrics: dict[str, float]
    reliability: pd.DataFrame
    coverage: pd.DataFrame


# For models without probabilities.
NOT_MEASURED = Calibration(
    {},
    pd.DataFrame(columns=["model", "bin", "cases", "confidence", "accuracy", "low", "high"]),
    pd.DataFrame(columns=["model", "coverage", "cases", "threshold", "accuracy"]),
)


def calibration(
    gold: Sequence[str] | pd.Series,
    scores: Mapping[str, Floats],
    labels: Sequence[str],
    confidence: float,
    clusters: Clusters,
) -> Calibration:
    """Compute the calibration of both models.

    Args:
        gold: the gold label of each case.
        scores: log-probabilities (natural logarithm) of base and tuned, each of shape (n_cases, n_labels).
        labels: the label list of the task, in the order of the log-probabilities.
        confidence: level of every interval.
        clusters: cluster of each case, such as its premise, of length n_cases; None: cases are independent.

    Returns:
        metrics, a flat dict. For nll (nats, 0 is best) and brier (0..2, 0 is best): KEY_base, KEY_tuned, KEY_delta
        (tuned minus base) with the paired t interval by cluster KEY_delta_low and KEY_delta_high. For ece (0..1, 0 is
        best; bins of equal mass): ece_MODEL, ece_MODEL_low, ece_MODEL_high, and ece_delta with its paired bootstrap
        interval. Intervals of differences are omitted for a single cluster.
        reliability, coverage: `reliability` and `selective_accuracy` of tunediff.metrics.calibration for both models,
        with a first column `model`.

    Raises:
        TunediffError: a label is unknown.
    """
    codes = label_codes(labels, gold)
    metrics: dict[str, float] = {}
    for name, score in (("nll", case_nll), ("brier", case_brier)):
        before, after = (score(scores[model], codes) for model in MODELS)
        metrics |= {f"{name}_base": float(before.mean()), f"{name}_tuned": float(after.mean())}
        metrics[f"{name}_delta"] = float((after - before).mean())
        if ends := mean_difference_interval(before, after, confidence, clusters):
            metrics |= {f"{name}_delta_low": ends[0], f"{name}_delta_high": ends[1]}
    bins, curves, pair = [], [], []
    for model in MODELS:
        sure, right = confidence_of(scores[model]), scores[model].argmax(axis=1) == codes
        pair.append((sure, right))
        low, high = ece_interval(sure, right, confidence, clusters)
        metrics |= {f"ece_{model}": adaptive_ece(sure, right), f"ece_{model}_low": low, f"ece_{model}_high": high}
        bins.append(reliability(sure, right, confidence))
        curves.append(selective_accuracy(sure, right))
    metrics["ece_delta"] = metrics["ece_tuned"] - metrics["ece_base"]
    if n_clusters(clusters, len(codes)) > 1:
        low, high = ece_difference_interval(pair[0], pair[1], confidence, clusters)
        metrics |= {"ece_delta_low": low, "ece_delta_high": high}
    return Calibration(metrics, _by_model(bins), _by_model(curves))


def _by_model(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, keys=MODELS, names=["model"]).reset_index("model").reset_index(drop=True)
