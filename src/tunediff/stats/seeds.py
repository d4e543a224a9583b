"""The gain of a recipe, as opposed to that of one checkpoint: a crossed random-effects layout of seeds and cases.

    layout = two_way(change)                 # change[s, c]: 1 repaired, -1 broken, else 0, of seed s in case c
    recipe_interval(layout, 0.95)            # of the mean gain, over new seeds and new cases
    chance_worse(layout)                     # probability that another seed has a negative gain

The variance of the mean over S seeds and n cases is var_seed / S + var_case / n + var_both / (S n). Its components are
estimated by an analysis of variance with two crossed random factors, by cluster (Liang and Zeger 1986). The seed
component uses Student's t with the few degrees of freedom of the seeds, the rest that of the cases; the two half-widths
are combined as squares (Zou and Donner 2008). benchmarks/seeds.py simulates the coverage. An interval over cases alone
ignores that another seed gives another model.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes, expanded_percentiles, units
from tunediff.stats.intervals import boundary
from tunediff.stats.paired import difference_interval

# Two seeds are too few to estimate the variance between seeds.
FEWEST_SEEDS = 3
MOST_SEEDS = 10_000
REPLICATES = 5000


class Layout(NamedTuple):
    """The gain by seed and the variance components of its mean.

    gains: gain of each seed, in -1..1. by_seed, by_case, by_both: estimated variance components of the mean gain, each
    including the interaction: var_seed / S + var_both / (S n), var_case / n + var_both / (S n), and var_both / (S n).
    cases: n. clusters: number of clusters. flips: number of cases that any seed flips.
    """

    gains: tuple[float, ...]
    by_seed: float
    by_case: float
    by_both: float
    cases: int
    clusters: int
    flips: int

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.gains)

    @property
    def gain(self) -> float:
        """The mean over seeds and cases."""
        return float(np.mean(self.gains))

    @property
    def of_seeds(self) -> float:
        """The variance of the mean gain due to seeds, without the interaction, at least 0."""
        return max(0.0, self.by_seed - self.by_both)

    @property
    def components(self) -> dict[str, float]:
        """The variances of seeds, of cases, and of their interaction, each at least 0."""
        n, seeds = self.cases, self.seeds
        return {
            "seed": seeds * self.of_seeds,
            "case": n * max(0.0, self.by_case - self.by_both),
            "seed_case": seeds * n * self.by_both,
        }


def two_way(change: npt.NDArray[np.int64], clusters: Clusters = None) -> Layout:
    """Return the gain by seed and its variances.

    Args:
        change: change of each case, of shape (n_seeds, n_cases): 1 repaired, -1 broken, else 0.
        clusters: cluster of each case, of length n_cases; None: cases are independent.

    Raises:
        ValueError: there are fewer than two seeds, or fewer than two clusters.
    """
    seeds, n = change.shape
    codes = cluster_codes(clusters, n)
    found = int(codes.max()) + 1 if n else 0
    if seeds < 2 or found < 2:
        raise ValueError(f"found {seeds} seeds and {found} clusters of cases, expected at least two of each")
    numbers = change.astype(np.float64)
    gains, mean = numbers.mean(axis=1), float(numbers.mean())
    of_cases = numbers.mean(axis=0) - mean
    both = numbers - gains[:, None] - of_cases[None, :]

    def squares(residuals: Floats) -> float:
        """The sum of squares of a row of residuals, summed by cluster, corrected for the number of clusters."""
        sums = np.bincount(codes, weights=residuals, minlength=found)
        return float(sums @ sums * found / (found - 1) / n**2)

    return Layout(
        gains=tuple(gains.tolist()),
        by_seed=float(gains.var(ddof=1)) / seeds,
        by_case=squares(of_cases),
        by_both=sum(squares(row) for row in both) / (seeds - 1) / seeds,
        cases=n,
        clusters=found,
        flips=int((change != 0).any(axis=0).sum()),
    )


def recipe_interval(layout: Layout, confidence: float) -> tuple[float, float]:
    """Return the interval of the mean gain over new seeds and new cases, both ends in -1..1.

    If no seed flips a case, it is the interval over cases (Tango 1998), which has a positive width.

    Args:
        layout: a layout of at least `FEWEST_SEEDS` seeds.
        confidence: level of the interval.

    Raises:
        ValueError: there are fewer seeds.
    """
    if layout.seeds < FEWEST_SEEDS:
        raise ValueError(f"found {layout.seeds} seeds, expected at least {FEWEST_SEEDS}")
    if not layout.flips:
        return difference_interval(0, 0, layout.clusters, confidence)
    half = _half((1 + confidence) / 2, layout.seeds, layout.of_seeds, layout.by_case, layout.clusters)
    return max(-1.0, layout.gain - half), min(1.0, layout.gain + half)


def chance_worse(layout: Layout) -> float:
    """Return the probability that another seed of the recipe is worse than the base, in 0..1.

    The true gain of another seed varies around the mean with the variance of a seed plus that of the mean. The result
    is the level at which its one-sided prediction bound is zero. It is defined for two seeds, but imprecise.
    """
    varied = layout.of_seeds * (layout.seeds + 1)

    def is_too_wide(quantile: float) -> bool:
        return _half(quantile, layout.seeds, varied, layout.by_case, layout.clusters) >= abs(layout.gain)

    level = boundary(0.5, 1.0, is_too_wide)
    return 1 - level if layout.gain >= 0 else level


def seeds_needed(layout: Layout, half_width: float, confidence: float) -> int | None:
    """Return the number of seeds, at least three, for which the interval of the mean gain has a given half-width.

    Args:
        layout: the layout of the seeds so far.
        half_width: the wanted half-width, more than 0.
        confidence: level of the interval.

    Returns:
        The total number of seeds; None if no number is enough, because the variance between cases is too large.
    """
    parts, n, quantile = layout.components, layout.cases, (1 + confidence) / 2
    for seeds in range(FEWEST_SEEDS, MOST_SEEDS + 1):
        of_cases = (parts["case"] + parts["seed_case"] / seeds) / n
        if _half(quantile, seeds, parts["seed"] / seeds, of_cases, layout.clusters) <= half_width:
            return seeds
        if _half(quantile, seeds, 0.0, parts["case"] / n, layout.clusters) > half_width:
            return None
    return None


def multi_bootstrap(change: npt.NDArray[np.int64], confidence: float, clusters: Clusters = None) -> tuple[float, float]:
    """Return the bootstrap interval of the mean gain, with both seeds and cases resampled.

    Sellam et al. 2022 (The MultiBERTs); base and tuned model share the sample. With few seeds it is too short, so it is
    reported only in addition to `recipe_interval`.

    Args:
        change: as for `two_way`.
        confidence: level of the interval.
        clusters: as for `two_way`.
    """
    seeds, n = change.shape
    drawn = units(np.concatenate([change, np.ones((1, n))]).T, clusters)
    generator = np.random.default_rng(0)
    total = int(drawn.counts.sum())
    sums = generator.multinomial(total, drawn.counts / total, REPLICATES) @ drawn.totals
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), REPLICATES) / seeds
    values = (np.asarray(sums)[:, :-1] * weights).sum(axis=1) / np.asarray(sums)[:, -1]
    return expanded_percentiles(values, max(2, total), confidence)


def _half(quantile: float, seeds: int, of_seeds: float, of_cases: float, clusters: int) -> float:
    """The half-width of an interval, with Student's t quantiles for the degrees of freedom of each component."""
    if quantile >= 1:
        return float("inf")
    by_seed, by_case = (float(scipy.stats.t.ppf(quantile, count - 1)) for count in (seeds, clusters))
    return sqrt(by_seed**2 * of_seeds + by_case**2 * of_cases)
