"""What changes without training: a model asked twice, a random change of the trained one's size, parts of the change.

    found = controls(answers, 0.95, clusters)
    found["again"]["flips"], found["trained"]["flips"], found["null"][0]["flips"]       # 0, 78, 12

A comparison of a model with itself (A/A) has to give no flip. A null adapter is random and in each layer of the trained
one's norm: what it flips, a mere perturbation of this size flips.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.effects.chain import step_flips
from tunediff.compare.effects.transitions import change_interval
from tunediff.compare.pairs.align import align
from tunediff.data.cases import MODELS, RIGHT
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.intervals import wilson
from tunediff.stats.shares import share_interval

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


class Answers(NamedTuple):
    """Prediction rows on the same cases, in the same order.

    held: of the base, as the pipeline has them. base: of the base, asked again. tuned: of the tuned model. null: of
    random changes, by the seed of the draw. scaled: of the trained change times a strength, by that.
    """

    held: pd.DataFrame
    base: pd.DataFrame
    tuned: pd.DataFrame
    null: Mapping[int, pd.DataFrame]
    scaled: Mapping[float, pd.DataFrame]


def controls(answers: Answers, confidence: float, clusters: Clusters) -> dict[str, Any]:
    """Return what the controls flip beside what training flips.

    Args:
        answers: of all models.
        confidence: of the intervals.
        clusters: what cases may share, of length n_cases, in the order of the answers; None: every case its own.

    Returns:
        n: cases. again: the base asked again (A/A); trained: the tuned model; null: a list of random changes, each
        with its seed; all as `tunediff.compare.effects.chain.step_flips`. strengths, where any was asked: a list with
        strength, accuracy (its interval accuracy_low, accuracy_high), delta to the base in -1..1 (its interval low,
        high), forgotten and gained cases.

    Raises:
        TunediffError: the answers are not to the same cases, asked in the same way.
    """
    base = answers.base
    found: dict[str, Any] = {
        "n": len(base),
        "again": step_flips(answers.held, base, ("base", "base again"), confidence),
        "trained": step_flips(base, answers.tuned, ("base", "tuned"), confidence),
        "null": [
            {"seed": seed, **step_flips(base, frame, ("base", "null"), confidence)}
            for seed, frame in answers.null.items()
        ],
    }
    if answers.scaled:
        found["strengths"] = [
            {"strength": strength, **accuracy_change(base, frame, confidence, clusters)}
            for strength, frame in answers.scaled.items()
        ]
    return found


def accuracy_change(
    before: pd.DataFrame, after: pd.DataFrame, confidence: float, clusters: Clusters
) -> dict[str, float]:
    """Return accuracy after, its change and the cases that make it; see `controls`."""
    aligned = align(before, after)
    was, now = ((aligned[f"outcome_{who}"] == RIGHT).to_numpy() for who in MODELS)
    change = now.astype(np.int64) - was
    accuracy = share_interval(now, wilson, confidence, clusters)
    low, high = change_interval(change, confidence, clusters)
    return {
        **{"accuracy": float(now.mean()), "accuracy_low": accuracy[0], "accuracy_high": accuracy[1]},
        **{"delta": float(change.mean()), "low": low, "high": high},
        **{"forgotten": int((change < 0).sum()), "gained": int((change > 0).sum())},
    }
