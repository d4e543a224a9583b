"""Check that a model reproduces the predictions in a file, up to rounding.

found = ask_again(project, engine, spread(cases, 200), held, title="publish")
found.differing                          # ids of cases that differ by more than rounding: none
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.data.cases import Case
from tunediff.engines.alone import ROUNDING, max_difference, nan_max
from tunediff.engines.engine import Engine
from tunediff.inputs.ask import Ask

if TYPE_CHECKING:
    import pandas as pd

    from tunediff.commands.project import Project


NAMED = 5


class Agreement(NamedTuple):
    """The number of cases evaluated again, the number of equal predictions, and the cases that differ."""

    n: int
    same: int
    furthest: float  # largest difference of a log-probability, in nats
    differing: list[str]


def spread(cases: Sequence[Case], n: int) -> list[Case]:
    """Return at most `n` cases, evenly spread over all cases."""
    n = min(n, len(cases))
    return [cases[i * len(cases) // n] for i in range(n)]


def first_named(case_ids: Sequence[str]) -> str:
    """Return the first ids as text, with dots if there are more."""
    return ", ".join(case_ids[:NAMED]) + ", ..." * (len(case_ids) > NAMED)


def ask_again(project: "Project", engine: Engine, cases: Sequence[Case], held: "pd.DataFrame", title: str) -> Agreement:
    """Evaluate a model on some cases again, and compare with stored predictions.

    A case differs if the stored predictions lack its id, its prompt changed, a log-probability differs by more than
    `ROUNDING`, or the answer changed although the stored log-probabilities of the two answers differ by more than that.
    In float32 generated text must be identical, too.

    Args:
        project: the test set, and how it is evaluated and graded.
        engine: the engine that runs the model.
        cases: the cases to evaluate.
        held: the stored predictions, of at least these cases.
        title: title of the progress bar.
    """
    measured = {row["case_id"]: row for _, row in held.iterrows()}
    limit = ROUNDING.get(engine.environment().get("dtype", ""), max(ROUNDING.values()))
    same, furthest, differing = 0, 0.0, []
    for _, now in project.ask(engine, cases, title).iterrows():
        then = measured.get(now["case_id"])
        if then is None:
            differing.append(str(now["case_id"]))
            continue
        first, second = _scores(then), _scores(now)
        off = max_difference(first, second) if len(first) == len(second) else math.inf
        furthest = nan_max(furthest, off)
        answered = _answer(now) == _answer(then)
        equal = answered and (limit > ROUNDING["float32"] or now["text"] == then["text"])
        same += equal
        agree = equal or (not answered and _tied(now, then, project.case_set.ask, limit))
        # Not `off > limit`, which is false for NaN.
        if now["prompt_hash"] != then["prompt_hash"] or not off <= limit or not agree:
            differing.append(str(now["case_id"]))
    return Agreement(len(cases), same, furthest, differing)


def _answer(row: "pd.Series[Any]") -> str | None:
    """The prediction, None if missing; tables may have NaN instead of None."""
    return row["prediction"] if isinstance(row["prediction"], str) else None


def _scores(row: "pd.Series[Any]") -> list[float]:
    """The log-probabilities; empty if the answer has none."""
    return [] if row["log_probs"] is None else list(row["log_probs"])


def _tied(now: "pd.Series[Any]", then: "pd.Series[Any]", ask: Ask, limit: float) -> bool:
    """Whether the stored log-probabilities of the two answers are the highest and equal up to rounding."""
    answers = (_answer(now), _answer(then))
    if ask.answer not in ("choices", "labels") or not set(answers) <= set(ask.names):
        return False
    if len(_scores(then)) != len(ask.names):
        return False
    now_at, then_at = (_scores(then)[ask.names.index(str(answer))] for answer in answers)
    return max_difference([now_at], [then_at]) <= limit
