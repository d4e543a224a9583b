"""What the grading of every task has in common: which columns of raw answers it takes over, which settings were asked.

frame = passed_on(cases, answers)      # case_id, label, text, log_probs, ...: all but what the task itself says
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tunediff.data.cases import PREDICTION_COLUMNS, SETTING_COLUMNS, Case
from tunediff.runtime.errors import TunediffError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def passed_on(cases: Sequence[Case], answers: pd.DataFrame) -> pd.DataFrame:
    """The columns of a prediction file that the raw answers have already, with the gold labels.

    Raises:
        TunediffError: the answers are not those of the cases.
    """
    if answers["case_id"].tolist() != [case.case_id for case in cases]:
        raise other_cases(len(answers), len(cases))
    columns = [name for name in (*PREDICTION_COLUMNS, *SETTING_COLUMNS) if name in answers]
    return answers[columns].reset_index(drop=True).assign(label=[case.label for case in cases])


def other_cases(answers: int, cases: int) -> TunediffError:
    """What is wrong where so many answers are not those of so many cases."""
    return TunediffError(
        f"raw answers: found {answers:,} answers to other cases than the {cases:,} of the test set; "
        "expected one for each, in their order (dvc repro)"
    )


def column(values: "Sequence[str | None]") -> pd.Series:
    """Values of which some may be missing, kept as None."""
    return pd.Series(values, dtype=object)


def was_given(answers: pd.DataFrame, setting: str) -> bool:
    """Whether the model answered again in a setting, such as `again` (other batches) or `seed` (another new head)."""
    return f"{setting}_text" in answers or f"{setting}_log_probs" in answers


def likeliest(log_probs: "Sequence[float] | npt.NDArray[np.float64]") -> int:
    """The place of the largest log-probability, the first of equals."""
    return max(range(len(log_probs)), key=lambda place: log_probs[place])
