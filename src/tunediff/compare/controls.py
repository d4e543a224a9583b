"""Changes without training: a model evaluated twice, a random change of the same size, a scaled change.

    found = controls(answers, 0.95)
    found["again"]["flips"], found["trained"]["flips"], found["null"][0]["flips"]       # 0, 78, 12

A comparison of a model with itself (A/A) must give no flip. A null adapter is random, with the norm of the trained one
in each layer: it shows how many cases a mere perturbation of this size flips.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from tunediff.compare.board import Answered
from tunediff.compare.chain import Chain, make_chain

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


class Answers(NamedTuple):
    """Predictions on the same cases, in the same order.

    held: of the base, as stored by the pipeline. base: of the base, evaluated again. tuned: of the tuned model. null:
    of random changes, by seed. scaled: of the trained change times a strength, by strength.
    """

    held: pd.DataFrame
    base: pd.DataFrame
    tuned: pd.DataFrame
    null: Mapping[int, pd.DataFrame]
    scaled: Mapping[float, pd.DataFrame]


def controls(answers: Answers, confidence: float) -> dict[str, Any]:
    """Compare the flips of the controls with those of training.

    Args:
        answers: predictions of all models, in the form of `tunediff.compare.board.Answered.frame`.
        confidence: level of the intervals.

    Returns:
        n: number of cases. again: the base evaluated again (A/A); trained: the tuned model; null: a list of random
        changes, each with its seed; all in the form of a step of `tunediff.compare.chain`. strengths, if evaluated: a
        list with strength, accuracy (interval accuracy_low, accuracy_high), delta to the base in -1..1 (interval low,
        high), forgotten and gained cases.

    Raises:
        TunediffError: the answers are to different cases.
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


def _pair(before: pd.DataFrame, after: pd.DataFrame, confidence: float) -> Chain:
    return make_chain([Answered("before", before), Answered("after", after)], confidence)


def _flips(before: pd.DataFrame, after: pd.DataFrame, confidence: float) -> dict[str, Any]:
    step = _pair(before, after, confidence).steps[0]
    return {name: value for name, value in step.items() if name not in ("before", "after", "n", "p_adjusted")}


def _strength(strength: float, base: pd.DataFrame, after: pd.DataFrame, confidence: float) -> dict[str, Any]:
    chain = _pair(base, after, confidence)
    step, variant = chain.steps[0], chain.variants[1]
    return {
        "strength": strength,
        **{name: variant[name] for name in ("accuracy", "accuracy_low", "accuracy_high")},
        **{"delta": step["difference"], "low": step["difference_low"], "high": step["difference_high"]},
        **{"forgotten": step["broken"], "gained": step["repaired"]},
    }
