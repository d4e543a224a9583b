"""Changes of the answers other than right and wrong: length, and rates of empty, truncated and repetitive answers.

    trait_metrics(comparison)["trait_words_delta"]      # -41.3 words on average

A task defines its traits (`tunediff.tasks.task.Task.traits`). No value of a trait is better or worse by itself.
"""

from typing import TYPE_CHECKING

import pandas as pd

from tunediff.compare.effects.differences import score_difference
from tunediff.data.cases import MODELS
from tunediff.stats.bootstrap import n_clusters

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison


def trait_metrics(comparison: "Comparison") -> dict[str, float]:
    """Return the mean of each trait before and after, and the difference, as a flat dict.

    Returns:
        For each TRAIT of the task: TRAIT_base, TRAIT_tuned, TRAIT_delta with its paired bootstrap interval
        TRAIT_delta_low and TRAIT_delta_high (omitted for a single cluster), and TRAIT_p by the sign-flip test, both by
        cluster.
    """
    aligned, clusters = comparison.aligned, comparison.clusters
    several = n_clusters(clusters, len(aligned)) > 1
    metrics: dict[str, float] = {}
    for stem, trait in comparison.task.traits.items():
        before, after = (pd.to_numeric(aligned[f"{stem}_{model}"]) for model in MODELS)
        row = score_difference(trait.name, before, after, comparison.confidence, clusters)
        metrics |= {f"{stem}_base": row.base, f"{stem}_tuned": row.tuned, f"{stem}_delta": row.delta}
        if several:
            metrics |= {f"{stem}_delta_low": row.low, f"{stem}_delta_high": row.high}
        metrics[f"{stem}_p"] = row.p
    return metrics
