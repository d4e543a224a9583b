"""What changes without training: a model asked twice, a random change of the trained one's size, parts of the change.

    found = controls(answers, 0.95)
    found["again"]["flips"], found["trained"]["flips"], found["null"][0]["flips"]       # 0, 78, 12

A comparison of a model with itself (A/A) has to give no flip. A null adapter is random and in each layer of the trained
one's norm: what it flips, a mere perturbation of this size flips.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from tunediff.compare.board import Answered
from tunediff.compare.chain import make_chain

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


def controls(answers: Answers, confidence: float) -> dict[str, Any]:
    """Return what the controls flip beside what training flips.

    Args:
        answers: of all models, as `tunediff.compare.board.Answered.frame`.
        confidence: of the intervals.

    Returns:
        n: cases. again: the base asked again (A/A); trained: the tuned model; null: a list of random changes, each
        with its seed; all as a step of `tunediff.compare.chain`. strengths, where any was asked: a list with strength,
        accuracy (its interval accuracy_low, accuracy_high), delta to the base in -1..1 (its interval low, high),
        forgotten and gained cases.

    Raises:
        TunediffError: the answers are not to the same cases.
    """
    base = answers.base
    found: dict[str, Any] = {
        "n": len(base),
        "again": _flips(answers.held, base, confidence),
        "trained": _flips(base, answers.tuned, confidence),
        "null": [{"seed": seed, **_flips(base, frame, confidence)} for seed, frame in answers.null.items()],
    }
    if answers.scaled:
        found["strengths"] = [_strength(one, base, frame, confidence) for one, frame in answers.scaled.items()]
    return found


def _flips(before: pd.DataFrame, after: pd.DataFrame, confidence: float) -> dict[str, Any]:
    step = make_chain([Answered("before", before), Answered("after", after)], confidence).steps[0]
    return {name: value for name, value in step.items() if name not in ("before", "after", "n", "p_adjusted")}


def _strength(strength: float, base: pd.DataFrame, after: pd.DataFrame, confidence: float) -> dict[str, Any]:
    chain = make_chain([Answered("before", base), Answered("after", after)], confidence)
    step, variant = chain.steps[0], chain.variants[1]
    return {
        "strength": strength,
        **{name: variant[name] for name in ("accuracy", "accuracy_low", "accuracy_high")},
        **{"delta": step["difference"], "low": step["difference_low"], "high": step["difference_high"]},
        **{"forgotten": step["broken"], "gained": step["repaired"]},
    }
