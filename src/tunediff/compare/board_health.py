"""The test set of a board: what it can tell of these runs, cases that tell nothing, and labels to review.

    health = health_of(board, recipes)
    health.signal_to_noise, health.always_right, len(health.suspected)

Signal is how far the runs lie apart, noise how far one and the same would (Heineman et al. 2025). Runs that differ in
their seed alone say the noise themselves; without them it is what the draw of the cases makes of two runs.
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

# Runs that answer alike have no noise; what is left is a rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Health:
    """What is known of a test set from many runs.

    Attributes:
        spread: standard deviation of the accuracy between models, seeds of one recipe being one; the base is one of
            them where there is but one other.
        noise: standard deviation between seeds of one recipe, or by the draw of cases.
        noise_of: which of the two.
        signal_to_noise: the one over the other; None where there is no noise.
        always_right: cases that all runs have right.
        always_wrong: cases that none has right.
        suspected: what `tunediff.compare.effects.health.suspected_labels` returns of all runs.
    """

    spread: float
    noise: float
    noise_of: Literal["seeds", "cases"]
    always_right: int
    always_wrong: int
    suspected: pd.DataFrame

    @property
    def signal_to_noise(self) -> float | None:
        """How many times the noise the spread is."""
        return self.spread / self.noise if self.noise > ROUNDING else None


def health_of(board: Board, recipes: Sequence[Recipe]) -> Health:
    """Return what the runs of a board say of their test set.

    Args:
        board: of at least two runs.
        recipes: of the same runs.
    """
    runs = {row.name: at for at, row in enumerate(board.rows)}
    seeds = [[runs[name] for name in recipe.runs] for recipe in recipes]
    alone = [[at] for at in runs.values() if not any(at in group for group in seeds)]
    if len(seeds) + len(alone) > 2:
        alone = [[at] for [at] in alone if board.rows[at].name != board.base]
    shares = board.right.mean(axis=1)
    models = [float(shares[group].mean()) for group in (*seeds, *alone)]
    spread = float(np.std(models, ddof=1)) if len(models) > 1 else 0.0  # seeds of one recipe alone
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
    """How far the draw of cases sets one run off from the others; of two, the standard error of their difference / √2.

    What the cases do to all runs alike tells no two apart and is left out.
    """
    residuals = right - right.mean(axis=1, keepdims=True)
    if clusters is not None:
        codes = cluster_codes(clusters)
        residuals = np.stack([np.bincount(codes, weights=row) for row in residuals])
    alone = residuals - residuals.mean(axis=0)
    n_runs, n_cases = right.shape
    return float(sqrt(float((alone**2).sum()) / (n_runs - 1)) / n_cases)
