"""Whether a model that is asked again gives what a prediction file holds, but for rounding.

found = ask_again(loaded, spread(cases, 200), evaluated, task, prompt, evaluate, title="publish")
found.differing                          # ids of the cases that rounding does not explain: none
"""

import math
from collections.abc import Sequence
from operator import sub
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from tunediff.config.evaluate import Evaluate
from tunediff.config.params import Params
from tunediff.config.prompt import Prompt
from tunediff.config.task import Task
from tunediff.data.cases import Case
from tunediff.engines.asking import predict_cases
from tunediff.models.load import Loaded
from tunediff.models.publish import load_published

if TYPE_CHECKING:
    import pandas as pd

# Cases that a published model is asked.
SAMPLE = 200
# Other batches round otherwise: nats that a log-probability may be off by.
EXACT = 1e-3
TOLERANCE = {torch.float32: EXACT, torch.float16: 0.1, torch.bfloat16: 0.3}


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


def ask_again(
    loaded: Loaded,
    cases: Sequence[Case],
    evaluated: "pd.DataFrame",
    task: Task,
    prompt: Prompt,
    evaluate: Evaluate,
    title: str,
) -> Agreement:
    """Ask a model some cases again, and compare with the predictions that were measured.

    A case differs where the file has none of its id, its prompt is another one, a log-probability is off by more than
    `TOLERANCE`, or the answer is another one although the measured log-probabilities of the two are further apart than
    that. In float32 the text has to be the same too, letter by letter.

    Args:
        loaded: the model.
        cases: the cases to ask.
        evaluated: the prediction file, with these cases and others.
        task: names the labels.
        prompt: how a case becomes input.
        evaluate: how the model answers.
        title: what the progress bar says.
    """
    asked = predict_cases(loaded, cases, task, prompt, evaluate, title)
    measured = {row["case_id"]: row for _, row in evaluated.iterrows()}
    limit, same, furthest, differing = TOLERANCE[loaded.model.config.dtype], 0, 0.0, []
    for _, now in asked.iterrows():
        then = measured.get(now["case_id"])
        if then is None:
            differing.append(str(now["case_id"]))
            continue
        first, second = _scores(then), _scores(now)
        off = max(map(abs, map(sub, first, second)), default=0.0) if len(first) == len(second) else math.inf
        furthest = max(furthest, off)
        answered = _answer(now) == _answer(then)
        equal = answered and (limit > EXACT or now["text"] == then["text"])
        same += equal
        agree = equal or (not answered and _tied(now, then, task, evaluate, limit))
        # Not `off > limit`: a number that is none is above no limit.
        if now["prompt_hash"] != then["prompt_hash"] or not off <= limit or not agree:
            differing.append(str(now["case_id"]))
    return Agreement(len(cases), same, furthest, differing)


def check_model(
    folder: Path, base: Path, params: Params, cases: Sequence[Case], evaluated: "pd.DataFrame", title: str
) -> Agreement:
    """Ask a published model a sample of the test cases again, and compare: `ask_again`.

    Args:
        folder: the published model, as `load_published` takes it.
        base: the folder that the stage base_model wrote.
        params: the whole of params.yaml.
        cases: the test cases; at most `SAMPLE` are asked, spread over all of them.
        evaluated: the prediction file of the tuned model.
        title: what the progress bar says.

    Raises:
        TunediffError: the model cannot be loaded.
    """
    loaded = load_published(folder, base, params)
    return ask_again(loaded, spread(cases, SAMPLE), evaluated, params.task, params.prompt, params.evaluate, title)


def _answer(row: "pd.Series[Any]") -> str | None:
    """The prediction; a table may hold a missing one as NaN."""
    return row["prediction"] if isinstance(row["prediction"], str) else None


def _scores(row: "pd.Series[Any]") -> list[float]:
    """The log-probabilities of the labels; none where the answer is in words."""
    return [] if row["log_probs"] is None else list(row["log_probs"])


def _tied(now: "pd.Series[Any]", then: "pd.Series[Any]", task: Task, evaluate: Evaluate, limit: float) -> bool:
    """Whether the two answers are labels whose measured log-probabilities are as good as equal."""
    answers = (_answer(now), _answer(then))
    chosen = evaluate.scoring_method != "generation" and task.name != "question_answering"
    if not chosen or not set(answers) <= set(task.labels) or len(_scores(then)) != len(task.labels):
        return False
    now_at, then_at = (_scores(then)[task.labels.index(str(answer))] for answer in answers)
    return bool(abs(now_at - then_at) <= limit)
