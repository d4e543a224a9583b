"""Decompose the gain into parts: answer format, label bias, partial input, and residual.

Both models answer the same cases in four evaluation settings:

    generated      free text, parsed; an answer that names no label is wrong
    choices        the most likely of the labels' texts, so that the answer format does not matter
    calibrated     choices without the model's label bias (tunediff.compare.effects.label_bias)
    partial_input  calibrated, given one input only, such as the hypothesis without the premise

With the gain of a case in a setting defined as (right tuned - right base), the parts are

    answer_format = generated - choices         gain of the base from constrained answers, minus that of the tuned model
    label_bias    = choices - calibrated        gain of the base from calibration, minus that of the tuned model
    partial_input = partial_input               gain without the premise
    residual      = calibrated - partial_input

The parts add up to the gain under free generation for each case, so they also do in total. A part may be negative: a
model that stops reading the premise but finds a cue in the hypothesis has a large partial_input and a negative
residual.

    answers = pd.DataFrame({"label": [...], "generated_base": [...], "generated_tuned": [...], "choices_base": ...})
    gain_parts(gain_steps(answers), 0.95, clusters)    # part, cases, points, low, high

For a task with kinds of cases (`tunediff.tasks.task.Task.kinds`), such as questions with and without an answer, the
gain is decomposed by kind instead: see `kind_steps`.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from tunediff.data.cases import MODELS, RIGHT
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters, cluster_codes

SETTINGS = ("generated", "choices", "calibrated", "partial_input")


def gain_steps(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the contribution of each case to each part, integers in -2..2, on the index of `answers`.

    Args:
        answers: label, and SETTING_base and SETTING_tuned for choices, calibrated and, if evaluated, generated and
            partial_input: the predicted label of each case, missing if the answer is invalid.

    Returns:
        answer_format, label_bias, partial_input, residual. Without `generated` (a model with a classification head)
        there is no answer_format, and the parts add up to the gain under choices; without `partial_input` (a task with
        one input) there is no partial_input.

    Raises:
        TunediffError: a column is missing.
    """
    measured = [name for name in SETTINGS if any(f"{name}_{who}" in answers for who in MODELS)]
    needed = ["label", *(f"{name}_{who}" for name in {*measured, "choices", "calibrated"} for who in MODELS)]
    missing = sorted(name for name in needed if name not in answers)
    if missing:
        raise TunediffError(f"answers in the evaluation settings: found no column {', '.join(missing)}, expected it")

    def right(column: str) -> npt.NDArray[np.int64]:
        same = answers[column].astype(object) == answers["label"].astype(object)
        return np.asarray(same, dtype=np.int64)

    gain = {name: right(f"{name}_tuned") - right(f"{name}_base") for name in measured}
    steps = {}
    if "generated" in gain:
        steps["answer_format"] = gain["generated"] - gain["choices"]
    steps["label_bias"] = gain["choices"] - gain["calibrated"]
    if "partial_input" in gain:
        steps["partial_input"] = gain["partial_input"]
    steps["residual"] = gain["calibrated"] - gain.get("partial_input", 0)
    return pd.DataFrame(steps, index=answers.index)


def kind_steps(aligned: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return the contribution of each case to the part of its kind, -1, 0 or 1, on the index of `aligned`.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        kinds: the gold label of each kind.

    Returns:
        One column per kind that has a case.
    """
    right = {who: (aligned[f"outcome_{who}"] == RIGHT).astype(np.int64) for who in MODELS}
    members = {kind: aligned["label"] == label for kind, label in kinds.items()}
    return pd.DataFrame(
        {kind: (right["tuned"] - right["base"]) * inside for kind, inside in members.items() if inside.any()}
    )


def gain_parts(steps: pd.DataFrame, confidence: float, clusters: Clusters) -> pd.DataFrame:
    """Return the parts of the gain, one row each.

    Args:
        steps: the result of `gain_steps` or `kind_steps`; at least one case.
        confidence: level of the intervals.
        clusters: cluster of each case, such as the premise, on the index of `steps`; None: cases are independent.

    Returns:
        part. cases: net cases that the part adds; the parts add up exactly to the total gain. points: percentage points
        of accuracy, with their paired interval low..high. The intervals take the calibration as fixed: they do not
        include how it varies with the sample of cases.
    """
    rows = []
    for part in steps:
        values = steps[part].to_numpy()
        low, high = step_interval(values, confidence, clusters)
        net = int(values.sum())
        rows.append(
            {"part": part, "cases": net, "points": 100 * net / len(values), "low": 100 * low, "high": 100 * high}
        )
    return pd.DataFrame(rows, columns=["part", "cases", "points", "low", "high"])


def gain_metrics(parts: pd.DataFrame) -> dict[str, float]:
    """Return gain_PART for each part, such as gain_answer_format or gain_has_answer, as fractions in -2..2.

    Args:
        parts: the result of `gain_parts`.
    """
    return {f"gain_{part}": float(points) / 100 for part, points in zip(parts["part"], parts["points"], strict=True)}


def choices_accuracies(answers: pd.DataFrame) -> dict[str, float]:
    """Return choices_accuracy_base and _tuned, in 0..1: the accuracies when answers are choices among the labels.

    Args:
        answers: see `gain_steps`; without generated answers, the result is empty, as these are the main accuracies.
    """
    if "generated_base" not in answers:
        return {}
    return {f"choices_accuracy_{who}": float((answers[f"choices_{who}"] == answers["label"]).mean()) for who in MODELS}


def step_interval(values: npt.NDArray[np.int64], confidence: float, clusters: Clusters) -> tuple[float, float]:
    """Return an interval of the mean of integer paired differences.

    The adjusted Wald interval of Agresti and Min 2005 (Statistics in Medicine 24, 729-740): two pseudo-cases (half a
    repair, half a break, and one without change) keep it from collapsing when no case changes, as a bootstrap would. If
    a case can count for two, so do the pseudo-cases. With clusters, residuals are summed within each (Miller 2024,
    "Adding Error Bars to Evals", section 2.2).

    Args:
        values: of shape (n_cases,), at least one.
        confidence: level of the interval.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    n = len(values) + 2
    mean = float(values.sum()) / n
    residuals = np.bincount(cluster_codes(clusters, len(values)), weights=values - mean)
    largest = max(1.0, float(np.abs(values).max()))
    half = (
        float(scipy.stats.norm.ppf((1 + confidence) / 2)) * sqrt(residuals @ residuals + largest**2 + 2 * mean**2) / n
    )
    return max(-largest, mean - half), min(largest, mean + half)
