"""Retention on another test set: forgotten and gained cases, and how much is due to chance or the answer format.

    found = retention(comparison)
    found["forgotten"], found["forgotten_low"], found["forgotten_high"]      # 2, 0.0024, 0.0704
    found["kl"]                                                              # 0.31: nats per case, base to tuned

The change in right answers is split into two parts. If answers are both generated and scored as choices, or graded both
strictly and leniently, the answer format matters for the former only:

    format = (right tuned - right base), generated or strict - (right tuned - right base), choices or lenient
    rest   = (right tuned - right base), choices or lenient

If generated text is graded in one way only, a case that goes from right to invalid or back counts as format.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.decomposition import gain_steps, step_interval
from tunediff.compare.effects.evaluation_settings import setting_answers
from tunediff.data.cases import INVALID, MODELS, RIGHT
from tunediff.stats.bootstrap import Clusters, Floats
from tunediff.stats.intervals import clopper_pearson
from tunediff.stats.paired import mean_difference_interval
from tunediff.stats.shares import share_interval

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison

KEYS = (
    *("n", "accuracy_base", "accuracy_tuned", "delta", "low", "high", "p"),
    *("forgotten", "forgotten_low", "forgotten_high", "gained", "gained_low", "gained_high"),
    *("choices", "forgotten_above_chance", "gained_above_chance", "retained_above_chance"),
    *("format", "format_low", "format_high", "rest", "rest_low", "rest_high", "kl", "kl_low", "kl_high"),
)


def retention(comparison: "Comparison") -> dict[str, float]:
    """Return the retention metrics of a test set, as a flat dict.

    Returns:
        n: number of cases. accuracy_base, accuracy_tuned: 0..1. delta: tuned minus base, in -1..1, with its interval
        low..high (Tango 1998) and the exact McNemar p. forgotten (right, then not), gained (not right, then right):
        cases, with the exact interval of their share (Clopper and Pearson 1934), widened for clusters.
        If answers are choices among labels: choices, the number of labels; forgotten_above_chance and
        gained_above_chance, the shares minus those expected from guessing (`above_chance`); and, if the base is above
        chance, retained_above_chance, the share of its advantage over guessing that is left.
        If the answer format matters: format and rest, parts of delta, with their intervals.
        If choices were scored: kl, the mean Kullback-Leibler divergence from base to tuned in nats per case, with its t
        interval (omitted for a single cluster).
    """
    metrics, clusters, confidence = comparison.transition_metrics, comparison.clusters, comparison.confidence
    found = {"n": metrics["n"], **{key: metrics[key] for key in ("accuracy_base", "accuracy_tuned")}}
    found |= {"delta": metrics["accuracy_delta"], "low": metrics["accuracy_delta_low"]}
    found |= {"high": metrics["accuracy_delta_high"], "p": metrics["mcnemar_p"]}
    for name, cell in (("forgotten", "broken"), ("gained", "repaired")):
        low, high = share_interval((comparison.cells == cell).to_numpy(), clopper_pearson, confidence, clusters)
        found |= {name: metrics[cell], f"{name}_low": low, f"{name}_high": high}
    choices = len(comparison.task.labels)
    if comparison.task.answers_are_labels and choices > 1 and _chosen(comparison):
        found |= {"choices": choices} | above_chance(metrics, choices)
    for name, steps in format_steps(comparison).items():
        low, high = step_interval(steps, confidence, clusters)
        found |= {name: float(steps.mean()), f"{name}_low": low, f"{name}_high": high}
    if comparison.log_probs:
        found |= _divergence(comparison.log_probs, confidence, clusters)
    return {key: found[key] for key in KEYS if key in found}


def _chosen(comparison: "Comparison") -> bool:
    """Whether every answer is a choice among the labels, as opposed to generated text."""
    written = "scorer" in comparison.aligned and (comparison.aligned["scorer"] == "generation").any()
    return not written and not any((comparison.aligned[f"outcome_{who}"] == INVALID).any() for who in MODELS)


def above_chance(metrics: dict[str, float], choices: int) -> dict[str, float]:
    """Return the shares of forgotten and gained cases minus those expected from guessing.

    Each model either knows a case or guesses uniformly among k choices, independently of the other model (Harmon et al.
    2025, arXiv 2510.17776). Among cases that both guess, wrong twice, right then wrong, and wrong then right occur in
    the ratio (k - 1)^2 : (k - 1) : (k - 1). So guessing alone forgets, and gains, 1 / (k - 1) of the cases that are
    wrong twice. Models with correlated guesses flip fewer cases, so a share can be below 0.

    Args:
        metrics: the result of `tunediff.compare.effects.transitions.transition_metrics`.
        choices: k, at least 2.

    Returns:
        forgotten_above_chance, gained_above_chance: in -1..1. retained_above_chance: (tuned - 1/k) / (base - 1/k),
        omitted if the base is not above 1/k.
    """
    n, k = metrics["n"], choices
    by_chance = (metrics["both_wrong_same"] + metrics["both_wrong_changed"]) / (k - 1) / n
    found = {
        "forgotten_above_chance": metrics["broken"] / n - by_chance,
        "gained_above_chance": metrics["repaired"] / n - by_chance,
    }
    advantage = [metrics[f"accuracy_{who}"] - 1 / k for who in MODELS]
    return found | ({"retained_above_chance": advantage[1] / advantage[0]} if advantage[0] > 1e-12 else {})


def format_steps(comparison: "Comparison") -> dict[str, npt.NDArray[np.int64]]:
    """Return the contribution of each case to format and rest, integers in -2..2; empty if the format cannot matter.

    Raises:
        TunediffError: log-probabilities are not finite numbers, one per label.
    """
    aligned, lenient = comparison.aligned, comparison.task.lenient
    right = [(aligned[f"outcome_{who}"] == RIGHT).to_numpy(dtype=np.int64) for who in MODELS]
    change: npt.NDArray[np.int64] = right[1] - right[0]
    if lenient is not None:
        rest = _change(aligned, lenient)
        return {"format": change - rest, "rest": rest}
    if comparison.log_probs and comparison.task.answers_are_labels:
        steps = gain_steps(setting_answers(comparison))
        if "answer_format" not in steps:
            return {}
        form = steps.pop("answer_format").to_numpy()
        return {"format": form, "rest": steps.sum(axis=1).to_numpy()}
    if "scorer" not in aligned or (aligned["scorer"] != "generation").any():
        return {}
    invalid = np.logical_or(*((aligned[f"outcome_{who}"] == INVALID).to_numpy() for who in MODELS))
    return {"format": change * invalid, "rest": change * ~invalid}


def _change(aligned: pd.DataFrame, score: str) -> npt.NDArray[np.int64]:
    before, after = ((aligned[f"{score}_{who}"] >= 1).to_numpy(dtype=np.int64) for who in MODELS)
    return np.asarray(after - before)


def divergence(base: Floats, tuned: Floats) -> Floats:
    """Return the Kullback-Leibler divergence from base to tuned of each case, in nats, at least 0.

    >>> probabilities = np.array([[0.5, 0.5], [0.9, 0.1]])
    >>> divergence(np.log(probabilities), np.log(probabilities[::-1])).round(4).tolist()
    [0.5108, 0.3681]

    Args:
        base: log-probabilities (natural logarithm) before, of shape (n_cases, n_labels).
        tuned: log-probabilities after.
    """
    return np.asarray(np.maximum(0.0, (np.exp(base) * (base - tuned)).sum(axis=1)))


def _divergence(log_probs: dict[str, Floats], confidence: float, clusters: Clusters) -> dict[str, float]:
    cases = divergence(log_probs["base"], log_probs["tuned"])
    found = {"kl": float(cases.mean())}
    ends = mean_difference_interval(np.zeros(len(cases)), cases, confidence, clusters)
    return found | ({"kl_low": max(0.0, ends[0]), "kl_high": ends[1]} if ends else {})
