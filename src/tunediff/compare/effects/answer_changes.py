"""What became of the answers beside right and wrong: their length, how many are empty, cut off, repetitive.

    trait_metrics(comparison)["trait_words_delta"]      # -41.3: so many words fewer on average

A task says what there is (`tunediff.tasks.task.Task.traits`). Nothing here is better or worse by itself.
"""

from typing import TYPE_CHECKING

import pandas as pd

from tunediff.compare.effects.differences import score_difference
from tunediff.data.cases import MODELS
from tunediff.stats.bootstrap import cluster_codes

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison


def trait_metrics(comparison: "Comparison") -> dict[str, float]:
    """Return for each TRAIT of the task its mean before and after, and the difference, flat.

    Returns:
        TRAIT_base, TRAIT_tuned, TRAIT_delta with its paired bootstrap interval TRAIT_delta_low and TRAIT_delta_high,
        left out where there is one cluster alone, and TRAIT_p by the sign-flip test, both by cluster.
    """
    aligned, clusters = comparison.aligned, comparison.clusters
    several = (len(aligned) if clusters is None else int(cluster_codes(clusters).max()) + 1) > 1
    metrics: dict[str, float] = {}
    for stem, trait in comparison.task.traits.items():
        before, after = (pd.to_numeric(aligned[f"{stem}_{model}"]) for model in MODELS)
        row = score_difference(trait.name, before, after, comparison.confidence, clusters)
        metrics |= {f"{stem}_base": row.base, f"{stem}_tuned": row.tuned, f"{stem}_delta": row.delta}
        if several:
            metrics |= {f"{stem}_delta_low": row.low, f"{stem}_delta_high": row.high}
        metrics[f"{stem}_p"] = row.p
    return metrics
