"""Raw answers in, graded predictions and metrics out: what eval_base and eval_tuned do, without a model."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.config.section import Section
from tunediff.config.task import TaskSection
from tunediff.data.answers import read_answers
from tunediff.data.cases import read_cases, write_predictions
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import HEADLINE, VALIDATION
from tunediff.metrics.named import named_scores
from tunediff.runtime.files import replacing
from tunediff.tasks import task_of
from tunediff.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd


class GradedSet(Section):
    """A named test set: its task, and what a model was asked."""

    task: TaskSection
    ask: Ask


class EvalSettings(Section):
    """What eval_base and eval_tuned depend on of params.yaml."""

    sets: dict[str, GradedSet]
    metrics: list[str]


def evaluate(
    model: str, settings: EvalSettings, answers: Path, test_sets: Path, validation: Path, predictions: Path
) -> tuple[dict[str, Any], list[str]]:
    """Grade what a model answered to each test set.

    Args:
        model: base or tuned.
        settings: the test sets, and further metrics.
        answers: folder with a file of raw answers per test set, and one of the validation split where a threshold is
            tuned on it.
        test_sets: folder with a file of cases per test set.
        validation: cases of the validation split.
        predictions: folder to write a prediction file per test set to.

    Returns:
        The metrics of the headline's test set, with those of the others by name under `also`; and what to print.

    Raises:
        TunediffError: a file is missing or at fault, or a named metric fails.
    """
    found: dict[str, dict[str, Any]] = {}
    lines = []
    with replacing(predictions) as folder:
        folder.mkdir()
        for name, one in settings.sets.items():
            task, headline = task_of(one.task), name == HEADLINE
            frame, about = _graded(task, one.ask, test_sets / f"{name}.jsonl", answers / f"{name}.parquet")
            held_out = None
            if headline and task.tunes_threshold(one.ask) and validation.stat().st_size:
                held_out, _ = _graded(task, one.ask, validation, answers / f"{VALIDATION}.parquet")
            found[name] = task.metrics(frame, held_out)
            if headline:
                found[name] |= named_scores(settings.metrics, partial(task.module_inputs, frame=frame))
            write_predictions(folder / f"{name}.parquet", frame, about | {"labels": task.labels, "model": model})
            lines.append(task.summary(model if headline else f"{model}, {name}", frame, found[name]))
    metrics = found.pop(HEADLINE)
    return metrics | ({"also": found} if found else {}), lines


def _graded(task: Task, ask: Ask, cases: Path, answers: Path) -> tuple["pd.DataFrame", dict[str, Any]]:
    frame, about = read_answers(answers)
    return task.grade(read_cases(cases, task.inputs, task.labels), frame, ask), about
