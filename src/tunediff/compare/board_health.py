"""The quality of a board's test set: signal-to-noise ratio, uninformative cases, and labels to review.

    health = health_of(board, recipes)
    health.signal_to_noise, health.always_right, len(health.suspected)

Signal is the spread between runs, noise the spread between runs of equal quality (Heineman et al. 2025). Noise is
estimated from runs that differ only in their seed, or, without such runs, from the sampling of cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import pandas as pd

from tunediff.compare.board import Board
from tunediff.compare.effects.health import suspected_labels
from tunediff.compare.recipes import Recipe
from tunediff.stats.bootstrap import Clusters, cluster_codes
from tunediff.stats.discordance import Flags

# Noise below this is rounding error of runs with equal answers.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Health:
    """The quality of a test set, estimated from many runs.

    Attributes:
        spread: standard deviation of the accuracy between models. The seeds of a recipe count as one model; the base
            counts only if there is a single other model.
        noise: standard deviation between seeds of a recipe, or due to the sampling of cases.
        noise_of: which of the two.
        signal_to_noise: their ratio; None if there is no noise.
        always_right: number of cases that all runs have right.
        always_wrong: number of cases that no run has right.
        suspected: the result of `tunediff.compare.effects.health.suspected_labels` for all runs.
    """

    spread: float
    noise: float
    noise_of: Literal["seeds", "cases"]
    always_right: int
    always_wrong: int
    suspected: pd.DataFrame

    @property
    def signal_to_noise(self) -> float | None:
        """The ratio of spread and noise."""
        return self.spread / self.noise if self.noise > ROUNDING else None


def health_of(board: Board, recipes: Sequence[Recipe]) -> Health:
    """Estimate the quality of a test set from the runs of a board.

    Args:
        board: a board of at least two runs.
        recipes: the recipes of the same runs.
    """
    runs = {row.name: at for at, row in enumerate(board.rows)}
    seeds = [[runs[name] for name in recipe.runs] for recipe in recipes]
    alone = [[at] for at in runs.values() if not any(at in group for group in seeds)]
    if len(seeds) + len(alone) > 2:
        alone = [[at] for [at] in alone if board.rows[at].name != board.base]
    shares = board.right.mean(axis=1)
    models = [float(shares[group].mean()) for group in (*seeds, *alone)]
    spread = float(np.std(models, ddof=1)) if len(models) > 1 else 0.0
    freedom = sum(len(group) - 1 for group in seeds)
    if freedom:
        squares = sum(float(((shares[group] - shares[group].mean()) ** 2).sum()) for group in seeds)
        noise = sqrt(squares / freedom)
    else:
        noise = _noise_of_cases(board.right[[at for [at] in alone]], board.clusters)
    counts = board.right.sum(axis=0)
    return Health(
        spread,
        noise,
        "seeds" if freedom else "cases",
        int((counts == len(runs)).sum()),
        int((counts == 0).sum()),
        suspected_labels(board.answers),
    )


def _noise_of_cases(right: Flags, clusters: Clusters) -> float:
    """The standard deviation of a run's accuracy relative to the others, due to the sampling of cases.

    For two runs, it is the standard error of their difference divided by √2. Variation that all runs share is excluded.
    """
    residuals = right - right.mean(axis=1, keepdims=True)
    codes = cluster_codes(clusters, right.shape[1])
    residuals = np.stack([np.bincount(codes, weights=row) for row in residuals])
    alone = residuals - residuals.mean(axis=0)
    n_runs, n_cases = right.shape
    return float(sqrt(float((alone**2).sum()) / (n_runs - 1)) / n_cases)
