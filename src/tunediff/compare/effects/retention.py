"""What became of another test set: forgotten and gained cases, and how much of that is chance or the answer format.

    found = retention(comparison)
    found["forgotten"], found["forgotten_low"], found["forgotten_high"]      # 2, 0.0024, 0.0704
    found["kl"]                                                              # 0.31: nats per case, base to tuned

A change of right answers is split in two. Where an answer is written and a choice is scored too, the answer format
counts in the first and not in the second; so it does in a strict and a lenient grade of one text. What the change is
without the form is the rest, and the answer format is what is left:

    answer_format = (right tuned - right base), as written - (right tuned - right base), the form aside
    rest          = (right tuned - right base), the form aside

Where a text is read in one way only, the form is what makes an answer invalid: a case that goes from right to invalid,
or back, counts for the format.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.decomposition import gain_steps, step_interval
from tunediff.compare.effects.evaluation_settings import setting_answers
from tunediff.data.cases import INVALID, MODELS, RIGHT
from tunediff.metrics.calibration import Floats
from tunediff.stats.bootstrap import Clusters, cluster_codes
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
    """Return what became of a test set, flat.

    Returns:
        n: cases. accuracy_base, accuracy_tuned: 0..1. delta: tuned minus base, in -1..1, with its interval low..high
        (Tango 1998) and the exact McNemar p. forgotten (right, then not), gained (not right, then right): cases, with
        the exact interval of their share (Clopper and Pearson 1934), wider where cases share a source.
        Where answers were chosen among labels: choices, their number; forgotten_above_chance and gained_above_chance,
        shares less what guessing flips (`above_chance`); and, where the base is above chance, retained_above_chance,
        the share of its advantage over guessing that is left.
        Where the form of an answer counts: format and rest, parts of delta, with their intervals.
        Where choices were scored: kl, the mean Kullback-Leibler divergence from base to tuned in nats per case, with
        its t interval (left out for a single cluster).
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
    codes = None if clusters is None else cluster_codes(clusters)
    for name, steps in format_steps(comparison).items():
        low, high = step_interval(steps, confidence, codes)
        found |= {name: float(steps.mean()), f"{name}_low": low, f"{name}_high": high}
    if comparison.log_probs:
        found |= _divergence(comparison.log_probs, confidence, clusters)
    return {key: found[key] for key in KEYS if key in found}


def _chosen(comparison: "Comparison") -> bool:
    """Whether every answer is a choice among the labels: one that is written may be none of them."""
    written = "scorer" in comparison.aligned and (comparison.aligned["scorer"] == "generation").any()
    return not written and not any((comparison.aligned[f"outcome_{who}"] == INVALID).any() for who in MODELS)


def above_chance(metrics: dict[str, float], choices: int) -> dict[str, float]:
    """Return the shares of forgotten and gained cases without those that guessing flips.

    A model knows a case or guesses evenly among k choices (Harmon et al. 2025, arXiv 2510.17776), the two models
    independently of each other. Of cases that both guess, (k - 1)^2 are wrong twice to k - 1 that are right and then
    wrong, and as many the other way round: so guessing alone forgets, and gains, 1 / (k - 1) of what is wrong twice.
    Models that guess alike flip fewer: a share is then below 0.

    Args:
        metrics: what `tunediff.compare.effects.transitions.transition_metrics` returns.
        choices: k, at least 2.

    Returns:
        forgotten_above_chance, gained_above_chance: in -1..1. retained_above_chance: (tuned - 1/k) / (base - 1/k), left
        out where the base is not above 1/k.
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
    """Return what each case adds to format and rest, whole numbers in -2..2; empty where no form counts.

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
        base: natural-log probabilities before, of shape (n_cases, n_labels).
        tuned: the same after.
    """
    return np.asarray(np.maximum(0.0, (np.exp(base) * (base - tuned)).sum(axis=1)))


def _divergence(log_probs: dict[str, Floats], confidence: float, clusters: Clusters) -> dict[str, float]:
    cases = divergence(log_probs["base"], log_probs["tuned"])
    found = {"kl": float(cases.mean())}
    ends = mean_difference_interval(np.zeros(len(cases)), cases, confidence, clusters)
    return found | ({"kl_low": max(0.0, ends[0]), "kl_high": ends[1]} if ends else {})
