"""Grading functions that all tasks share: columns copied from raw answers, and evaluation settings.

frame = copied_columns(cases, answers)      # case_id, label, text, log_probs, ...: the columns that need no grading
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tunediff.data.cases import PREDICTION_COLUMNS, SETTING_COLUMNS, Case
from tunediff.runtime.errors import TunediffError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def copied_columns(cases: Sequence[Case], answers: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a prediction file that are copied from the raw answers, with the gold labels.

    Raises:
        TunediffError: the answers do not belong to the cases.
    """
    if answers["case_id"].tolist() != [case.case_id for case in cases]:
        raise other_cases(len(answers), len(cases))
    columns = [name for name in (*PREDICTION_COLUMNS, *SETTING_COLUMNS) if name in answers]
    return answers[columns].reset_index(drop=True).assign(label=[case.label for case in cases])


def other_cases(answers: int, cases: int) -> TunediffError:
    """Return the error for answers that do not belong to the cases."""
    return TunediffError(
        f"raw answers: found {answers:,} answers to other cases than the {cases:,} of the test set; "
        "expected one per case, in order (dvc repro)"
    )


def column(values: "Sequence[str | None]") -> pd.Series:
    """Return values as a series that keeps None."""
    return pd.Series(values, dtype=object)


def has_setting(answers: pd.DataFrame, setting: str) -> bool:
    """Return whether there are answers in a setting, such as `again` (other batches) or `seed` (another new head)."""
    return f"{setting}_text" in answers or f"{setting}_log_probs" in answers


def likeliest(log_probs: "Sequence[float] | npt.NDArray[np.float64]") -> int:
    """Return the index of the highest log-probability; of ties, the first."""
    return max(range(len(log_probs)), key=lambda place: log_probs[place])
