"""Runs that differ in their seed alone are one recipe: what it gains, and which cases every seed flips.

    for recipe in find_recipes(runs):
        figures = recipe_figures(recipe, confidence=0.95, clusters=None, half_width=0.01)

The gain of one checkpoint is one draw of what its recipe gives. Two things are drawn, seeds and cases, and the interval
of the recipe counts both (`tunediff.stats.seeds`). A case that every seed repairs is a stable repair; one that some
seeds repair and others do not is a lottery.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.compare.board import Answered, beside
from tunediff.data.cases import RIGHT
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.seeds import (
    FEWEST_SEEDS,
    Layout,
    chance_worse,
    multi_bootstrap,
    recipe_interval,
    seeds_needed,
    two_way,
)

SEED = "train.seed"
# By how many seeds a case is repaired or broken: by all, by some, by none.
KINDS = ("stable_repair", "stable_break", "lottery", "unchanged")
# What is known from three seeds on.
OF_SEEDS = (
    *("gain_low", "gain_high", "multi_bootstrap_low", "multi_bootstrap_high"),
    *("variance_seed", "variance_case", "variance_seed_case", "chance_worse", "seeds_needed"),
)


class Recipe(NamedTuple):
    """Runs that differ in their seed alone, by seed, and what became of each case.

    change: of shape (n_seeds, n_cases): 1 repaired, -1 broken, 0 else; in the order of the cases of the first run.
    """

    name: str
    runs: Sequence[str]
    seeds: Sequence[Any]
    case_ids: Sequence[str]
    change: npt.NDArray[np.int64]


def find_recipes(runs: Sequence[Answered]) -> list[Recipe]:
    """Return the recipes of at least two seeds, in the order of their first runs.

    Runs of one seed twice are copies; the first one counts.

    Args:
        runs: those whose parameters and whose base are not known are of none.

    Raises:
        TunediffError: runs that answered other cases.
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
        tuned, base = (beside(first.name, first.frame, run.name, frame) for frame in (run.frame, run.base))
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
    """Return what is known of a recipe, ready for JSON.

    Args:
        recipe: of at least two seeds.
        confidence: of the intervals.
        clusters: what cases may share, in the order of the recipe's cases; None: every case stands for itself.
        half_width: how far the interval of the gain may go to either side, for the number of seeds needed.

    Returns:
        name, runs, seeds, and gains (of each seed, in -1..1); gain, their mean. From three seeds on gain_low, gain_high
        (over seeds and cases), multi_bootstrap_low, multi_bootstrap_high, variance_seed, variance_case,
        variance_seed_case, chance_worse (that one more seed is worse than the base) and seeds_needed (in all, for an
        interval of `half_width`; null where no number is enough); before that they are null. The cases by kind:
        stable_repair, stable_break, lottery, unchanged.
    """
    layout = None
    if len(recipe.runs) >= FEWEST_SEEDS and recipe.change.shape[1] > 1:
        # Cases that all share one text leave nothing to tell how cases vary.
        layout = _layout(recipe.change, clusters)
    figures: dict[str, Any] = {
        "name": recipe.name,
        "runs": list(recipe.runs),
        "seeds": list(recipe.seeds),
        "gains": recipe.change.mean(axis=1).tolist(),
        "gain": float(recipe.change.mean()),
    }
    values: tuple[float | None, ...] = (None,) * len(OF_SEEDS)
    if layout is not None:
        values = (
            *recipe_interval(layout, confidence),
            *multi_bootstrap(recipe.change, confidence, clusters),
            *layout.components.values(),
            chance_worse(layout),
            seeds_needed(layout, half_width, confidence),
        )
    kinds = case_kinds(recipe)
    return figures | dict(zip(OF_SEEDS, values, strict=True)) | {kind: kinds.count(kind) for kind in KINDS}


def _layout(change: npt.NDArray[np.int64], clusters: Clusters) -> Layout | None:
    try:
        return two_way(change, clusters)
    except ValueError:
        return None


def case_kinds(recipe: Recipe) -> list[str]:
    """Return of each case which of `KINDS` it is."""
    repaired, broken = (recipe.change > 0).sum(axis=0), (recipe.change < 0).sum(axis=0)
    seeds = len(recipe.runs)
    choices = [repaired == seeds, broken == seeds, repaired + broken > 0]
    return [str(kind) for kind in np.select(choices, KINDS[:3], KINDS[3])]


def case_lines(recipe: Recipe) -> list[dict[str, Any]]:
    """Return a line for each case that a seed flips: by how many of the seeds it is repaired and by how many broken."""
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
