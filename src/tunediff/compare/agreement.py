"""Whether a model that answers again gives what a prediction file holds, but for rounding.

>>> scores = [[-0.105, -2.303], [-0.694, -0.692]]
>>> held = pd.DataFrame({"prediction": ["yes", "no"], "log_probs": scores}, index=["a", "b"])
>>> again = pd.DataFrame({"prediction": ["yes", "yes"], "log_probs": [scores[0], scores[1][::-1]]}, index=["a", "b"])
>>> found = agreement(held, again, rounding=0.01)     # b is a tie, which rounding decides
>>> found.same, round(found.largest, 6), found.differing
(1, 0.002, [])
>>> agreement(held, again, rounding=0.001).differing
['b']
"""

import math
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd


class Agreement(NamedTuple):
    """Answers given again, against those of the file."""

    same: int  # predictions
    largest: float | None  # difference of a log-probability, in nats; None where there are none
    differing: list[str]  # ids of the cases that rounding does not explain


def agreement(held: pd.DataFrame, again: pd.DataFrame, rounding: float) -> Agreement:
    """Compare answers with those that a prediction file holds of the same cases.

    Args:
        held: prediction and log_probs of the file, by case id.
        again: the same, of the model that answered again; its cases are compared.
        rounding: how far a log-probability may lie from that of the file, in nats. Where the file's two highest are no
            further from each other than both may move, the prediction may be another one.
    """
    same, largest, differing = 0, None, []
    rows: dict[Hashable, dict[Hashable, Any]] = held[["prediction", "log_probs"]].to_dict("index")
    for case_id, now in again[["prediction", "log_probs"]].to_dict("index").items():
        then = rows.get(case_id, {"prediction": _NO_CASE, "log_probs": None})
        equal = _answer(then) == _answer(now)
        same += equal
        first, second = _scores(then), _scores(now)
        moved, tied = 0.0, False
        if len(first) != len(second):
            moved = math.inf
        elif first:
            moved = max(abs(one - other) for one, other in zip(first, second, strict=True))
            largest = max(largest or 0.0, moved)
            tied = len(first) > 1 and sorted(first)[-1] - sorted(first)[-2] <= 2 * rounding
        if moved > rounding or not (equal or tied):
            differing.append(str(case_id))
    return Agreement(same, largest, differing)


# What no model answers: the file has no such case.
_NO_CASE = "\0"


def _answer(row: Mapping[Hashable, Any]) -> str | None:
    """The prediction; a table may hold a missing one as NaN."""
    return row["prediction"] if isinstance(row["prediction"], str) else None


def _scores(row: Mapping[Hashable, Any]) -> list[float]:
    scores = row["log_probs"]
    return [] if scores is None or isinstance(scores, float) else [float(score) for score in scores]
