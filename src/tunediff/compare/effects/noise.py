"""The noise floor: cases that flip without training, such as the base model's at another batch size.

    again = answered_again(aligned, "again_prediction_base", task, gold)
    noise_floor(again)                 # {"noise_floor_flips": 3, "noise_floor_changed": 5}
    stable(again)                      # case_id -> whether the answer is the same

Greedy answers in half precision depend on the other cases of the batch. A model with a new head depends on the seed of
the head's weights: two untrained heads differ on many cases. Flips by training matter only as far as they exceed these.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tunediff.data.cases import INVALID, RIGHT
from tunediff.tasks.task import Task


def answered_again(aligned: pd.DataFrame, column: str, task: Task, gold: Sequence[Any]) -> pd.DataFrame | None:
    """Return the base model's answers next to those of its second evaluation; None if it was evaluated once.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        column: answers of the second evaluation: again_prediction_base, at another batch size, or
            seed_prediction_base, with another head.
        task: decides what is right.
        gold: gold answer of each case (`Task.gold`).

    Returns:
        case_id, prediction_base, outcome_base, and as prediction_tuned, outcome_tuned those of the second evaluation.
    """
    if column not in aligned:
        return None
    again = aligned[column].astype(object)
    again = again.where(again.notna(), None)  # a table may store a missing answer as NaN
    once = aligned[["case_id", "prediction_base", "outcome_base"]]
    return once.assign(prediction_tuned=again, outcome_tuned=task.outcomes(gold, again))


def stable(again: pd.DataFrame) -> pd.Series:
    """Return whether both answers to each case are the same, by case_id.

    Args:
        again: the result of `answered_again`.
    """
    both_invalid = (again["outcome_base"] == INVALID) & (again["outcome_tuned"] == INVALID)
    same = again["prediction_base"].astype(object) == again["prediction_tuned"].astype(object)
    return pd.Series((same | both_invalid).to_numpy(dtype=bool), index=pd.Index(again["case_id"]), name="stable")


def noise_floor(again: pd.DataFrame, name: str = "noise_floor") -> dict[str, float]:
    """Count the cases that differ between two evaluations of an untrained model.

    Args:
        again: the result of `answered_again`.
        name: prefix of the keys.

    Returns:
        NAME_flips: cases that are right in one evaluation only. NAME_changed: cases with a different answer, including
        flips.
    """
    flips = (again["outcome_base"] == RIGHT) != (again["outcome_tuned"] == RIGHT)
    return {f"{name}_flips": int(flips.sum()), f"{name}_changed": int((~stable(again)).sum())}
