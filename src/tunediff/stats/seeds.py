"""What a recipe gains, not what one checkpoint does: cases x seeds as a two-way layout, both of them drawn.

    layout = two_way(change)                 # change[s, c]: 1 repaired, -1 broken, 0 else, by seed s in case c
    recipe_interval(layout, 0.95)            # of the mean gain, over new seeds and new cases
    chance_worse(layout)                     # that one more seed gains less than nothing

The mean over S seeds and n cases varies by var_seed / S + var_case / n + var_both / (S n). Its parts are estimated as
in an analysis of variance of two crossed random factors, by clusters where cases share one (Liang and Zeger 1986). Each
part is taken as far out as it is known: what the seeds vary by with Student's t of their few degrees of freedom, the
rest with that of the cases; the two add up as squares (Zou and Donner 2008). benchmarks/seeds.py simulates how often
that holds the true gain. An interval over cases alone forgets that another seed would have given another model.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from tunediff.stats.bootstrap import Clusters, Floats, cluster_codes, expanded_percentiles, units
from tunediff.stats.paired import difference_interval

# An interval of the recipe takes more seeds than two: two say next to nothing of how seeds vary.
FEWEST_SEEDS = 3
MOST_SEEDS = 10_000
REPLICATES = 5000


class Layout(NamedTuple):
    """The gain by seed and what its mean varies by.

    gains: of each seed, in -1..1. by_seed, by_case, by_both: estimated variances of the mean gain, each of which counts
    the interaction: of the seeds, var_seed / S + var_both / (S n); of the cases, var_case / n + var_both / (S n); and
    var_both / (S n) itself. cases: n. clusters: how many stand for themselves. flips: cases that any seed flips.
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
        """How many."""
        return len(self.gains)

    @property
    def gain(self) -> float:
        """Mean over seeds and cases."""
        return float(np.mean(self.gains))

    @property
    def of_seeds(self) -> float:
        """Variance of the mean gain by what the seeds differ in beyond randomness within cases, at least 0."""
        return max(0.0, self.by_seed - self.by_both)

    @property
    def components(self) -> dict[str, float]:
        """Variances of one seed, of one case, and of a case in a seed, each at least 0."""
        n, seeds = self.cases, self.seeds
        return {
            "seed": seeds * self.of_seeds,
            "case": n * max(0.0, self.by_case - self.by_both),
            "seed_case": seeds * n * self.by_both,
        }


def two_way(change: npt.NDArray[np.int64], clusters: Clusters = None) -> Layout:
    """Return the gain by seed and its variances.

    Args:
        change: what became of each case, of shape (n_seeds, n_cases): 1 repaired, -1 broken, else 0.
        clusters: cluster of each case, of length n_cases; None: cases are independent.

    Raises:
        ValueError: fewer than two seeds, or fewer than two clusters of cases.
    """
    seeds, n = change.shape
    codes = np.arange(n) if clusters is None else cluster_codes(clusters)
    found = int(codes.max()) + 1 if n else 0
    if seeds < 2 or found < 2:
        raise ValueError(f"found {seeds} seeds and {found} clusters of cases, expected at least two of each")
    numbers = change.astype(np.float64)
    gains, mean = numbers.mean(axis=1), float(numbers.mean())
    of_cases = numbers.mean(axis=0) - mean
    both = numbers - gains[:, None] - of_cases[None, :]

    def squares(residuals: Floats) -> float:
        """The squared sums of a row of residuals by cluster, for a new draw of as many clusters."""
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

    Where no seed flips a case, it is the one of the cases alone (Tango 1998), which has a length.

    Args:
        layout: of at least `FEWEST_SEEDS` seeds.
        confidence: level of the interval.

    Raises:
        ValueError: fewer seeds.
    """
    if layout.seeds < FEWEST_SEEDS:
        raise ValueError(f"found {layout.seeds} seeds, expected at least {FEWEST_SEEDS}")
    if not layout.flips:
        return difference_interval(0, 0, layout.clusters, confidence)
    half = _half((1 + confidence) / 2, layout.seeds, layout.of_seeds, layout.by_case, layout.clusters)
    return max(-1.0, layout.gain - half), min(1.0, layout.gain + half)


def chance_worse(layout: Layout) -> float:
    """Return the chance that one more seed of the recipe is worse than the base, in 0..1.

    Its true gain lies around the mean with the variance of one seed and that of the mean: this is the level at which
    a one-sided bound of it is zero. Two seeds are enough for it to be said, and say little.
    """
    varied = layout.of_seeds * (layout.seeds + 1)
    least, most = 0.5, 1.0
    for _ in range(60):
        middle = (least + most) / 2
        inside = _half(middle, layout.seeds, varied, layout.by_case, layout.clusters) < abs(layout.gain)
        least, most = (middle, most) if inside else (least, middle)
    return 1 - least if layout.gain >= 0 else least


def seeds_needed(layout: Layout, half_width: float, confidence: float) -> int | None:
    """Return how many seeds make the interval of the mean gain at most that far to either side, from three on.

    Args:
        layout: of the seeds so far.
        half_width: wanted, more than 0.
        confidence: level of the interval.

    Returns:
        How many in all; None where the cases alone vary by more, so that no number of seeds does.
    """
    parts, n, quantile = layout.components, layout.cases, (1 + confidence) / 2
    for seeds in range(FEWEST_SEEDS, MOST_SEEDS + 1):
        of_cases = (parts["case"] + parts["seed_case"] / seeds) / n
        if _half(quantile, seeds, parts["seed"] / seeds, of_cases, layout.clusters) <= half_width:
            return seeds
        if _half(quantile, seeds, 0.0, parts["case"] / n, layout.clusters) > half_width:
            return None
    return None


def multi_bootstrap(
    change: npt.NDArray[np.int64], confidence: float, clusters: Clusters = None, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of the mean gain: seeds and cases are drawn, both with replacement.

    Sellam et al. 2022 (The MultiBERTs): base and tuned model share the draw. With few seeds it is too short, as the
    percentiles of a handful are; it stands beside `recipe_interval`.

    Args:
        change: as for `two_way`.
        confidence: level of the interval.
        clusters: as for `two_way`.
        seed: of the draws.
    """
    seeds, n = change.shape
    drawn = units(np.concatenate([change, np.ones((1, n))]).T, clusters)
    generator = np.random.default_rng(seed)
    total = int(drawn.counts.sum())
    sums = generator.multinomial(total, drawn.counts / total, REPLICATES) @ drawn.totals
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), REPLICATES) / seeds
    values = (np.asarray(sums)[:, :-1] * weights).sum(axis=1) / np.asarray(sums)[:, -1]
    return expanded_percentiles(values, max(2, total), confidence)


def _half(quantile: float, seeds: int, of_seeds: float, of_cases: float, clusters: int) -> float:
    """How far an interval goes to one side: each variance with Student's t of its own degrees of freedom."""
    if quantile >= 1:
        return float("inf")
    by_seed, by_case = (float(scipy.stats.t.ppf(quantile, count - 1)) for count in (seeds, clusters))
    return sqrt(by_seed**2 * of_seeds + by_case**2 * of_cases)
