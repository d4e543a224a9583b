"""Answers of both models in several evaluation settings, from which the gain is decomposed.

answers = setting_answers(comparison)      # label, generated_base, ..., partial_input_tuned: for `gain_steps`
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tunediff.compare.effects.label_bias import calibrated, likeliest
from tunediff.data.cases import MODELS

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison


def setting_answers(comparison: "Comparison") -> pd.DataFrame:
    """Return the predicted label of each case in each setting, for `tunediff.compare.effects.decomposition.gain_steps`.

    Returns:
        label, and for each MODEL choices_MODEL and calibrated_MODEL; generated_MODEL if free text was generated; and
        partial_input_MODEL, also calibrated, if evaluated.

    Raises:
        TunediffError: log-probabilities are not finite numbers, one per label.
    """
    aligned, labels = comparison.aligned, comparison.task.labels
    columns: dict[str, object] = {"label": aligned["label"]}
    for model in MODELS:
        columns[f"choices_{model}"] = most_likely(comparison.log_probs[model], labels)
        columns[f"calibrated_{model}"] = likeliest(comparison.calibrated[model], labels)
        if f"generated_{model}" in aligned:
            columns[f"generated_{model}"] = aligned[f"generated_{model}"]
        elif (aligned["scorer"] == "generation").all():
            columns[f"generated_{model}"] = aligned[f"prediction_{model}"]
        if model in comparison.partial_input_log_probs:
            columns[f"partial_input_{model}"] = likeliest(calibrated(comparison.partial_input_log_probs[model]), labels)
    return pd.DataFrame(columns, index=aligned.index)


def most_likely(log_probs: np.ndarray[tuple[int, int], np.dtype[np.float64]], labels: Sequence[str]) -> list[str]:
    """Return the most likely label of each case, given log-probabilities of shape (n_cases, n_labels)."""
    return [labels[place] for place in log_probs.argmax(axis=1).tolist()]
