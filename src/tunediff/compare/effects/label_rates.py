"""Paired differences of precision, recall and F1 of each label, with intervals and tests.

    label_rates(class_sums(aligned, labels, clusters=None), ["negative", "positive"], 0.95)
    #      label     metric    n   base  tuned  delta    low   high       p       q
    #   negative  precision  101  0.566  0.888  0.322  0.217  0.425  0.0001  0.0001

Definitions are those of `tunediff.metrics.accuracy.per_class`: an undefined rate is 0. q is the p-value adjusted over
all rates (Benjamini and Hochberg 1995).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tunediff.compare.effects.differences import ClassSums, f1, precision, recall
from tunediff.stats.bootstrap import Floats, expanded_percentiles
from tunediff.stats.multiple import benjamini_hochberg
from tunediff.stats.permutation import p_values

COLUMNS = ("label", "metric", "n", "base", "tuned", "delta", "low", "high", "p", "q")
RATES = {"precision": precision, "recall": recall, "F1": f1}


def label_rates(found: ClassSums | None, labels: Sequence[str], confidence: float) -> pd.DataFrame:
    """Compare precision, recall and F1 of each label: bootstrap intervals and permutation tests, both by cluster.

    Args:
        found: the result of `tunediff.compare.effects.differences.class_sums`.
        labels: the label list.
        confidence: level of the intervals.

    Returns:
        One row per label and metric (precision, recall, F1) with `COLUMNS`. n: cases of that gold label. base, tuned:
        0..1. delta: tuned minus base, with its interval low..high. Empty for a single case or cluster.
    """
    if found is None:
        return pd.DataFrame(columns=list(COLUMNS))

    def rates(sums: Floats, who: int) -> Floats:
        """Of shape (replicates, n_labels, n_metrics)."""
        return np.stack([rate(sums, found.size, who) for rate in RATES.values()], axis=-1)

    def differences(sums: Floats) -> Floats:
        return (rates(sums, 1) - rates(sums, 0)).reshape(len(sums), -1)

    base, tuned = (rates(found.everything, who).ravel() for who in (0, 1))
    ends = [expanded_percentiles(column, found.n, confidence) for column in differences(found.resampled).T]
    p = p_values(found.swaps, differences)
    columns = {
        "label": np.repeat(list(labels), len(RATES)),
        "metric": np.tile(list(RATES), len(labels)),
        "n": np.repeat(found.everything[0, : found.size].astype(int), len(RATES)),
        **{"base": base, "tuned": tuned, "delta": tuned - base},
        **dict(zip(("low", "high"), np.array(ends).T, strict=True)),
        **{"p": p, "q": benjamini_hochberg(p.tolist())},
    }
    return pd.DataFrame(columns)
