"""Whether a model that is asked again gives what a prediction file holds, up to rounding.

found = ask_again(project, engine, spread(cases, 200), held, title="publish")
found.differing                          # ids of the cases that rounding does not explain: none
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


class Agreement(NamedTuple):
    """How many cases were asked again, how many predictions were the same, and who differs."""

    n: int
    same: int
    furthest: float  # nats that a log-probability was off by, at most
    differing: list[str]


def spread(cases: Sequence[Case], n: int) -> list[Case]:
    """At most `n` cases, evenly spread over all of them."""
    n = min(n, len(cases))
    return [cases[i * len(cases) // n] for i in range(n)]


def ask_again(project: "Project", engine: Engine, cases: Sequence[Case], held: "pd.DataFrame", title: str) -> Agreement:
    """Ask a model some cases again, and compare with the predictions that were measured.

    A case differs where the file has none of its id, its prompt is another one, a log-probability is off by more than
    `ROUNDING`, or the answer is another one although the measured log-probabilities of the two are further apart than
    that. In float32 the text has to be the same too, letter by letter.

    Args:
        project: the test set, and how it is asked and graded.
        engine: answers with the model.
        cases: the cases to ask.
        held: the predictions that were measured, with these cases and others.
        title: what the progress bar says.
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
        # Not `off > limit`: a number that is none is above no limit.
        if now["prompt_hash"] != then["prompt_hash"] or not off <= limit or not agree:
            differing.append(str(now["case_id"]))
    return Agreement(len(cases), same, furthest, differing)


def _answer(row: "pd.Series[Any]") -> str | None:
    """The prediction; a table may hold a missing one as NaN."""
    return row["prediction"] if isinstance(row["prediction"], str) else None


def _scores(row: "pd.Series[Any]") -> list[float]:
    """The log-probabilities; none where the answer has no such."""
    return [] if row["log_probs"] is None else list(row["log_probs"])


def _tied(now: "pd.Series[Any]", then: "pd.Series[Any]", ask: Ask, limit: float) -> bool:
    """Whether the two answers are the likeliest of some names whose measured log-probabilities are as good as equal."""
    answers = (_answer(now), _answer(then))
    if ask.answer not in ("choices", "labels") or not set(answers) <= set(ask.names):
        return False
    if len(_scores(then)) != len(ask.names):
        return False
    now_at, then_at = (_scores(then)[ask.names.index(str(answer))] for answer in answers)
    return max_difference([now_at], [then_at]) <= limit
