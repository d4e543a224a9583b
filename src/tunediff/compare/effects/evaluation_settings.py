"""One model under several protocols, and one protocol run twice: what the gain and the noise floor are taken from.

answers = setting_answers(aligned, labels)      # label, generated_base, ..., partial_input_tuned: for `gain_steps`
again = answered_again(base)                     # for `noise_floor` and `stable`
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tunediff.compare.effects.label_bias import calibrated_predictions
from tunediff.compare.pairs.align import align
from tunediff.data.cases import INVALID, RIGHT, WRONG, outcome
from tunediff.metrics.calibration import log_prob_array
from tunediff.metrics.squad import exact_match

MODELS = ("base", "tuned")


def setting_answers(aligned: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Return the predicted label of each case under each protocol, for
    `tunediff.compare.effects.decomposition.gain_steps`.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns of two prediction files.
        labels: the label list of the task, in the order of the log-probabilities.

    Returns:
        label; for each MODEL choices_MODEL and calibrated_MODEL; where free text was asked for, or is what was scored,
        generated_MODEL; and where it was asked for partial_input_MODEL, calibrated as well.
    """
    columns: dict[str, object] = {"label": aligned["label"]}
    for model in MODELS:
        log_probs = log_prob_array(aligned[f"log_probs_{model}"])
        columns[f"choices_{model}"] = most_likely(log_probs, labels)
        columns[f"calibrated_{model}"] = calibrated_predictions(log_probs, labels)
        if f"generated_{model}" in aligned:
            columns[f"generated_{model}"] = aligned[f"generated_{model}"]
        elif (aligned["scorer"] == "generation").all():
            columns[f"generated_{model}"] = aligned[f"prediction_{model}"]
        if f"premise_free_log_probs_{model}" in aligned:
            alone = log_prob_array(aligned[f"premise_free_log_probs_{model}"])
            columns[f"partial_input_{model}"] = calibrated_predictions(alone, labels)
    return pd.DataFrame(columns, index=aligned.index)


def most_likely(log_probs: np.ndarray[tuple[int, int], np.dtype[np.float64]], labels: Sequence[str]) -> list[str]:
    """Return the most likely label of each case, given log-probabilities of shape (n_cases, n_labels)."""
    return [labels[place] for place in log_probs.argmax(axis=1).tolist()]


def answered_again(base: pd.DataFrame, column: str = "again_prediction") -> pd.DataFrame | None:
    """Return both runs of the base model aligned as two models are; None where it answered once.

    Args:
        base: a prediction file.
        column: the second answers: again_prediction, at another batch size, or seed_prediction, with another head.
    """
    if column not in base:
        return None
    again = base[column].astype(object)
    again = again.where(again.notna(), None)  # a table may store a missing answer as NaN
    if "answers" in base:
        outcomes = [_match(answer, gold) for answer, gold in zip(again, base["answers"], strict=True)]
    else:
        outcomes = [outcome(answer, label) for answer, label in zip(again, base["label"], strict=True)]
    return align(base, base.assign(prediction=again, outcome=outcomes), names=("base", f"base, {column}"))


def _match(answer: str | None, gold: Sequence[str]) -> str:
    return INVALID if answer is None else RIGHT if exact_match(list(gold), answer) else WRONG
