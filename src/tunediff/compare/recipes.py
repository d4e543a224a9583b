"""Recipes: groups of runs that differ only in their seed, their gain, and the cases that every seed flips.

    for recipe in find_recipes(runs):
        figures = recipe_figures(recipe, confidence=0.95, clusters=None, half_width=0.01)

The gain of one checkpoint is a single sample from its recipe. Both seeds and cases are sampled, and the interval of the
recipe accounts for both (`tunediff.stats.seeds`). A case that every seed repairs is a stable repair; a case that only
some seeds repair is a lottery.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.compare.board import Answered, reordered
from tunediff.data.cases import RIGHT
from tunediff.stats.bootstrap import Clusters, n_clusters
from tunediff.stats.seeds import (
    FEWEST_SEEDS,
    chance_worse,
    multi_bootstrap,
    recipe_interval,
    seeds_needed,
    two_way,
)

SEED = "train.seed"
# All seeds repair the case, all break it, some do, none does.
KINDS = ("stable_repair", "stable_break", "lottery", "unchanged")
# Figures that need at least three seeds.
SEED_FIGURES = (
    *("gain_low", "gain_high", "multi_bootstrap_low", "multi_bootstrap_high"),
    *("variance_seed", "variance_case", "variance_seed_case", "chance_worse", "seeds_needed"),
)


class Recipe(NamedTuple):
    """Runs that differ only in their seed, in the order of the seeds, and the change of each case.

    change: of shape (n_seeds, n_cases): 1 repaired, -1 broken, else 0; cases in the order of the first run.
    """

    name: str
    runs: Sequence[str]
    seeds: Sequence[Any]
    case_ids: Sequence[str]
    change: npt.NDArray[np.int64]


def find_recipes(runs: Sequence[Answered]) -> list[Recipe]:
    """Return the recipes of at least two seeds, in the order of their first runs.

    Of several runs with the same seed, only the first counts.

    Args:
        runs: the runs; those without parameters or without a base belong to no recipe.

    Raises:
        TunediffError: the runs answered different cases.
    """
    found: dict[tuple[tuple[str, str], ...], dict[str, Answered]] = {}
    for run in runs:
        if run.base is None or run.parameters.get(SEED) is None:
            continue
        others = tuple(sorted((name, repr(value)) for name, value in run.parameters.items() if name != SEED))
        found.setdefault(others, {}).setdefault(repr(run.parameters[SEED]), run)
    return [_recipe(list(by_seed.values()), runs[0]) for by_seed in found.values() if len(by_seed) > 1]


def _recipe(runs: Sequence[Answered], first: Answered) -> Recipe:
    ordered = sorted(runs, key=lambda run: (str(type(run.parameters[SEED])), run.parameters[SEED]))
    changes = []
    for run in ordered:
        assert run.base is not None
        tuned, base = (reordered(first.name, first.frame, run.name, frame) for frame in (run.frame, run.base))
        before, after = ((frame["outcome"] == RIGHT).to_numpy(dtype=bool) for frame in (base, tuned))
        changes.append(after.astype(np.int64) - before)
    return Recipe(
        runs[0].name,
        [run.name for run in ordered],
        [run.parameters[SEED] for run in ordered],
        first.frame["case_id"].astype(str).tolist(),
        np.stack(changes),
    )


def recipe_figures(recipe: Recipe, confidence: float, clusters: Clusters, half_width: float) -> dict[str, Any]:
    """Return the figures of a recipe, ready for JSON.

    Args:
        recipe: of at least two seeds.
        confidence: level of the intervals.
        clusters: cluster of each case, in the order of the recipe's cases; None: cases are independent.
        half_width: half of the width of the interval that `seeds_needed` is computed for.

    Returns:
        name, runs, seeds, gains (of each seed, in -1..1) and gain, their mean. With at least three seeds, else null:
        gain_low, gain_high (over seeds and cases), multi_bootstrap_low, multi_bootstrap_high, variance_seed,
        variance_case, variance_seed_case, chance_worse (probability that another seed is worse than the base) and
        seeds_needed (total number for an interval of `half_width`; null if no number is enough). Numbers of cases:
        stable_repair, stable_break, lottery, unchanged.
    """
    layout = None
    # A single cluster says nothing about the variance between cases.
    if len(recipe.runs) >= FEWEST_SEEDS and n_clusters(clusters, recipe.change.shape[1]) > 1:
        layout = two_way(recipe.change, clusters)
    figures: dict[str, Any] = {
        "name": recipe.name,
        "runs": list(recipe.runs),
        "seeds": list(recipe.seeds),
        "gains": recipe.change.mean(axis=1).tolist(),
        "gain": float(recipe.change.mean()),
    }
    values: tuple[float | None, ...] = (None,) * len(SEED_FIGURES)
    if layout is not None:
        values = (
            *recipe_interval(layout, confidence),
            *multi_bootstrap(recipe.change, confidence, clusters),
            *layout.components.values(),
            chance_worse(layout),
            seeds_needed(layout, half_width, confidence),
        )
    kinds = case_kinds(recipe)
    return figures | dict(zip(SEED_FIGURES, values, strict=True)) | {kind: kinds.count(kind) for kind in KINDS}


def case_kinds(recipe: Recipe) -> list[str]:
    """Return the kind of each case, one of `KINDS`."""
    repaired, broken = (recipe.change > 0).sum(axis=0), (recipe.change < 0).sum(axis=0)
    seeds = len(recipe.runs)
    choices = [repaired == seeds, broken == seeds, repaired + broken > 0]
    return [str(kind) for kind in np.select(choices, KINDS[:3], KINDS[3])]


def case_lines(recipe: Recipe) -> list[dict[str, Any]]:
    """Return one line per case that any seed flips, with the numbers of seeds that repair and break it."""
    repaired, broken = (recipe.change > 0).sum(axis=0), (recipe.change < 0).sum(axis=0)
    kinds = case_kinds(recipe)
    return [
        {
            "case_id": case_id,
            "recipe": recipe.name,
            "kind": kinds[at],
            "repaired": int(repaired[at]),
            "broken": int(broken[at]),
            "seeds": len(recipe.runs),
        }
        for at, case_id in enumerate(recipe.case_ids)
        if kinds[at] != "unchanged"
    ]
