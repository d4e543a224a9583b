"""The noise floor: what flips when nothing was trained, such as the base model at another batch size.

    again = answered_again(aligned, "again_prediction_base", task, gold)
    noise_floor(again)                 # {"noise_floor_flips": 3, "noise_floor_changed": 5}
    stable(again)                      # case_id -> whether the answer stayed

Greedy answers in half precision depend on what a case shares its batch with. A model with a new head depends on the
seed of the head's weights: two of them flip many cases, and neither has learned anything. Flips by training mean
something by as much as they exceed these.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tunediff.data.cases import INVALID, RIGHT
from tunediff.tasks.task import Task


def answered_again(aligned: pd.DataFrame, column: str, task: Task, gold: Sequence[Any]) -> pd.DataFrame | None:
    """Return the base model's answers and its answers to the same cases another time; None where it answered once.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        column: the other answers: again_prediction_base, at another batch size, or seed_prediction_base, with another
            head.
        task: what is right.
        gold: what an answer to each case is held against (`Task.gold`).

    Returns:
        case_id, and prediction_base, outcome_base, prediction_tuned, outcome_tuned, the last two of the other time.
    """
    if column not in aligned:
        return None
    again = aligned[column].astype(object)
    again = again.where(again.notna(), None)  # a table may store a missing answer as NaN
    once = aligned[["case_id", "prediction_base", "outcome_base"]]
    return once.assign(prediction_tuned=again, outcome_tuned=task.outcomes(gold, again))


def stable(again: pd.DataFrame) -> pd.Series:
    """Return whether each case was answered the same both times, by case_id.

    Args:
        again: what `answered_again` returns.
    """
    both_invalid = (again["outcome_base"] == INVALID) & (again["outcome_tuned"] == INVALID)
    same = again["prediction_base"].astype(object) == again["prediction_tuned"].astype(object)
    return pd.Series((same | both_invalid).to_numpy(dtype=bool), index=pd.Index(again["case_id"]), name="stable")


def noise_floor(again: pd.DataFrame, name: str = "noise_floor") -> dict[str, float]:
    """Return how many cases come out differently when an untrained model answers twice.

    Args:
        again: what `answered_again` returns.
        name: what the figures begin with.

    Returns:
        NAME_flips: cases right in one run and not in the other. NAME_changed: cases with another answer, those
        included.
    """
    flips = (again["outcome_base"] == RIGHT) != (again["outcome_tuned"] == RIGHT)
    return {f"{name}_flips": int(flips.sum()), f"{name}_changed": int((~stable(again)).sum())}
