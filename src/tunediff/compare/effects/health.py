"""Whether a test set can tell models apart: labels to review, and how far models differ beyond chance.

    suspected_labels(frames)           # cases on which all models agree against the label, most confident first
    signal_to_noise(change, None)      # of two models: the difference over its standard error

A label that all models contradict with one and the same answer may be wrong, or the case may be one that all of them
misread: a person has to look.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.cases import WRONG
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.paired import standard_error

COLUMNS = ("case_id", "label", "answer", "confidence")


def suspected_labels(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the cases on which all models give one and the same answer, which is wrong by the label.

    Args:
        frames: of each model case_id, label, prediction, outcome, and where it is known confidence: the probability of
            the answer, in 0..1; the same cases in the same order. At least one.

    Returns:
        case_id, label, answer and confidence (of the model that is least sure of those whose is known; NaN where none
        is), from the surest answer on.
    """
    first = frames[0].reset_index(drop=True)
    answers = [frame["prediction"].astype(object).to_numpy() for frame in frames]
    agreed = first["prediction"].notna().to_numpy() & np.all([one == answers[0] for one in answers], axis=0)
    agreed &= np.all([(frame["outcome"] == WRONG).to_numpy() for frame in frames], axis=0)
    known = [frame["confidence"].to_numpy(dtype=float) for frame in frames if "confidence" in frame]
    confidence = np.fmin.reduce(known) if known else np.full(len(first), np.nan)
    found = pd.DataFrame(dict(zip(COLUMNS, (first["case_id"], first["label"], answers[0], confidence), strict=True)))
    ordered: pd.DataFrame = found[agreed].sort_values("confidence", ascending=False, kind="stable", ignore_index=True)
    return ordered


def review_lines(suspected: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A line for each case of `suspected_labels`, ready for JSON; no confidence where none is known."""
    for row in suspected.to_dict("records"):
        yield {str(name): value for name, value in row.items() if name != "confidence" or np.isfinite(value)}


def signal_to_noise(
    change: npt.NDArray[np.int64], clusters: Clusters, noise: Mapping[str, float] | None = None
) -> float | None:
    """Return how many times its noise the difference of two models is, at least 0; None where there is no noise.

    The noise is what the difference would vary by with other cases and, where it was measured, with other batches or
    another new head; each case that flips without training adds as much as it does.

    Args:
        change: what became of each case: 1 repaired, -1 broken, else 0.
        clusters: what cases may share; None: every case stands for itself.
        noise: metrics, of which those count that begin with noise_floor and end with _flips.
    """
    flips = sum(
        count for name, count in (noise or {}).items() if name.startswith("noise_floor") and name.endswith("_flips")
    )
    deviation = sqrt(standard_error(change, clusters) ** 2 + flips / len(change) ** 2)
    return abs(float(change.mean())) / deviation if deviation else None
