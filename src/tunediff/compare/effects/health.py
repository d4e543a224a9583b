"""The quality of a test set: suspected label errors, and the signal-to-noise ratio of a difference.

    suspected_labels(frames)           # cases on which all models agree against the label, most confident first
    signal_to_noise(change, None)      # of two models: the difference over its standard error

A label that all models contradict with the same answer may be wrong, or all of them may misread the case, so somebody
has to review it.
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
    """Return the cases on which all models give the same answer, which is wrong according to the label.

    Args:
        frames: predictions of each model, at least one, on the same cases in the same order: case_id, label,
            prediction, outcome, and if known confidence (the probability of the answer, in 0..1).

    Returns:
        case_id, label, answer and confidence (the lowest of all models; NaN if unknown), sorted by confidence, highest
        first.
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
    """Yield each case of `suspected_labels`, ready for JSON, without confidence if unknown."""
    for row in suspected.to_dict("records"):
        yield {str(name): value for name, value in row.items() if name != "confidence" or np.isfinite(value)}


def signal_to_noise(
    change: npt.NDArray[np.int64], clusters: Clusters, noise: Mapping[str, float] | None = None
) -> float | None:
    """Return the ratio of the difference of two models and its noise, at least 0; None if there is no noise.

    The noise is the standard deviation of the difference due to the sampling of cases and, if measured, to other batch
    sizes or another new head; each case that flips without training adds 1 / n^2 to its variance.

    Args:
        change: change of each case: 1 repaired, -1 broken, else 0.
        clusters: cluster of each case; None: cases are independent.
        noise: metrics, of which those named noise_floor*_flips are used.
    """
    flips = sum(
        count for name, count in (noise or {}).items() if name.startswith("noise_floor") and name.endswith("_flips")
    )
    deviation = sqrt(standard_error(change, clusters) ** 2 + flips / len(change) ** 2)
    return abs(float(change.mean())) / deviation if deviation else None
