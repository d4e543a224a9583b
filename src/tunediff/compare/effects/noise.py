"""The noise floor: what flips when nothing was trained, such as the base model at another batch size.

    again = align(read_predictions(base)[0], read_predictions(base_other_batch_size)[0])
    noise_floor(again)                 # {"noise_floor_flips": 3, "noise_floor_changed": 5}
    stable(again)                      # case_id -> whether the answer stayed

Greedy answers in half precision depend on what a case shares its batch with. A model with a new head depends on the
seed of the head's weights: two of them flip many cases, and neither has learned anything. Flips by training mean
something by as much as they exceed these.
"""

import pandas as pd

from tunediff.data.cases import INVALID, RIGHT


def stable(again: pd.DataFrame) -> pd.Series:
    """Return whether each case was answered the same both times, by case_id.

    Args:
        again: what `tunediff.compare.pairs.align.align` returns for two runs of one model.
    """
    both_invalid = (again["outcome_base"] == INVALID) & (again["outcome_tuned"] == INVALID)
    same = again["prediction_base"].astype(object) == again["prediction_tuned"].astype(object)
    return pd.Series((same | both_invalid).to_numpy(dtype=bool), index=pd.Index(again["case_id"]), name="stable")


def noise_floor(again: pd.DataFrame, name: str = "noise_floor") -> dict[str, float]:
    """Return how many cases come out differently when an untrained model answers twice.

    Args:
        again: what `tunediff.compare.pairs.align.align` returns for two runs.
        name: what the figures begin with.

    Returns:
        NAME_flips: cases right in one run and not in the other. NAME_changed: cases with another answer, those
        included.
    """
    flips = (again["outcome_base"] == RIGHT) != (again["outcome_tuned"] == RIGHT)
    return {f"{name}_flips": int(flips.sum()), f"{name}_changed": int((~stable(again)).sum())}
