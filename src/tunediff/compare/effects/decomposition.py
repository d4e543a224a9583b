"""What a gain consists of: the answer format, a preference among labels, a cue in one input, and the rest.

Both models answer the same cases in four evaluation settings:

    generated     text written freely and parsed; an answer that names no label is wrong
    choices       the most likely of the labels' texts, so that the answer format no longer counts
    calibrated    the same without the model's preference among the labels (tunediff.compare.effects.label_bias)
    partial_input  as calibrated, but from the partial-input input alone, such as the hypothesis without the premise

With the gain in a setting as (right tuned - right base), case by case, the parts are

    answer_format = generated - choices         what constraining the answer gives the base model, less what it gives
                                                the tuned one
    label_bias    = choices - calibrated        what calibration gives the base model, less what it still gives the
                                                tuned one
    partial_input = partial_input               what the tuned model has right without the premise, less what the base
                                                has
    residual      = calibrated - partial_input

They add up to the gain under free generation in every case, so they do in the sum. A part is negative where training
lost something: a model that stops reading the premise but finds a cue has a large partial_input and a negative
residual.

    answers = pd.DataFrame({"label": [...], "generated_base": [...], "generated_tuned": [...], "choices_base": ...})
    gain_parts(gain_steps(answers), 0.95, clusters)    # part, cases, points, low, high

A task may tell kinds of cases apart instead (`tunediff.tasks.task.Task.kinds`): then the parts of the gain are theirs,
such as those of questions with and without an answer: `kind_steps`.
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
    """Return what each case adds to each part, whole numbers in -2..2, on the index of `answers`.

    Args:
        answers: label, and SETTING_base and SETTING_tuned for choices, calibrated and, where they were asked,
            generated and partial_input: the predicted label of each case, missing where the answer is invalid.

    Returns:
        answer_format, label_bias, partial_input, residual. Without `generated` (a model with a classification head
        writes nothing) there is no answer_format, and the parts add up to the gain under choices; without
        `partial_input` (a task with one input) no partial_input.

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
    """Return what each case adds to the part of its kind, -1, 0 or 1, on the index of `aligned`.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        kinds: the gold label of each kind.

    Returns:
        A column for each kind that has a case.
    """
    right = {who: (aligned[f"outcome_{who}"] == RIGHT).astype(np.int64) for who in MODELS}
    members = {kind: aligned["label"] == label for kind, label in kinds.items()}
    return pd.DataFrame(
        {kind: (right["tuned"] - right["base"]) * inside for kind, inside in members.items() if inside.any()}
    )


def gain_parts(steps: pd.DataFrame, confidence: float, clusters: Clusters) -> pd.DataFrame:
    """Return the parts of the gain, one row each.

    Args:
        steps: what `gain_steps` or `kind_steps` returns; at least one case.
        confidence: of the intervals.
        clusters: what cases share, such as the premise, on the index of `steps`; None: every case is its own.

    Returns:
        part. cases: net cases that the part adds; the parts add up to the whole gain exactly. points: percentage
        points of accuracy, with their paired interval low..high. A calibration is taken as given: the intervals do
        not hold what another sample of cases would change about it.
    """
    codes = None if clusters is None else cluster_codes(clusters)
    rows = []
    for part in steps:
        values = steps[part].to_numpy()
        low, high = step_interval(values, confidence, codes)
        net = int(values.sum())
        rows.append(
            {"part": part, "cases": net, "points": 100 * net / len(values), "low": 100 * low, "high": 100 * high}
        )
    return pd.DataFrame(rows, columns=["part", "cases", "points", "low", "high"])


def gain_metrics(parts: pd.DataFrame) -> dict[str, float]:
    """Return gain_PART for each part, such as gain_answer_format or gain_has_answer, as fractions in -2..2.

    Args:
        parts: what `gain_parts` returns.
    """
    return {f"gain_{part}": float(points) / 100 for part, points in zip(parts["part"], parts["points"], strict=True)}


def choices_accuracies(answers: pd.DataFrame) -> dict[str, float]:
    """Return choices_accuracy_base and _tuned, in 0..1: what each model scores where its answer is a choice of labels.

    Args:
        answers: see `gain_steps`; without free answers there is nothing else to tell, and the result is empty.
    """
    if "generated_base" not in answers:
        return {}
    return {f"choices_accuracy_{who}": float((answers[f"choices_{who}"] == answers["label"]).mean()) for who in MODELS}


def step_interval(
    values: npt.NDArray[np.int64], confidence: float, clusters: npt.NDArray[np.intp] | None
) -> tuple[float, float]:
    """Return an interval of the mean of whole-numbered paired differences.

    The adjusted Wald interval of Agresti and Min 2005 (Statistics in Medicine 24, 729-740): two made-up cases, half
    a repair, half a break and one without change, keep it from shrinking to nothing where no case changes, as a
    bootstrap would. Where a case counts for two, so do the made-up repair and break. With clusters the residuals are
    summed within each (Miller 2024, "Adding Error Bars to Evals", section 2.2).

    Args:
        values: of shape (n_cases,), at least one.
        confidence: of the interval.
        clusters: number of the cluster of each case, from 0, of shape (n_cases,); None: every case is its own.
    """
    n = len(values) + 2
    mean = float(values.sum()) / n
    residuals = np.asarray(values - mean, dtype=np.float64)
    if clusters is not None:
        residuals = np.asarray(np.bincount(clusters, weights=residuals), dtype=np.float64)
    largest = max(1.0, float(np.abs(values).max()))
    half = (
        float(scipy.stats.norm.ppf((1 + confidence) / 2)) * sqrt(residuals @ residuals + largest**2 + 2 * mean**2) / n
    )
    return max(-largest, mean - half), min(largest, mean + half)
