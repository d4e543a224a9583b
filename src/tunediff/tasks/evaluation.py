"""Grade raw answers and compute metrics, without a model: the stages eval_base and eval_tuned."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.config.section import Section
from tunediff.config.task import TaskSection
from tunediff.data.answers import answer_frames, read_answers
from tunediff.data.cases import OUTCOMES, Case, each_case, predictions_writer, read_cases
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import HEADLINE, VALIDATION
from tunediff.metrics.named import named_scores
from tunediff.runtime.files import replacing
from tunediff.tasks import task_of
from tunediff.tasks.grading import other_cases
from tunediff.tasks.task import Task


class GradedSet(Section):
    """A named test set: its task, and how the model is evaluated on it."""

    task: TaskSection
    ask: Ask


class EvalSettings(Section):
    """The parameters that eval_base and eval_tuned depend on."""

    sets: dict[str, GradedSet]
    metrics: list[str]


def evaluate(
    model: str, settings: EvalSettings, answers: Path, test_sets: Path, validation: Path, predictions: Path
) -> tuple[dict[str, Any], list[str]]:
    """Grade the answers of a model to each test set.

    Args:
        model: base or tuned.
        settings: the test sets, and further metrics.
        answers: folder with one file of raw answers per test set, and one for the validation split if a threshold is
            tuned on it.
        test_sets: folder with one file of cases per test set.
        validation: file of cases of the validation split.
        predictions: folder to write one prediction file per test set to.

    Returns:
        The metrics of the main test set, with those of the others by name under `also`; and lines to print.

    Raises:
        TunediffError: a file is missing or invalid, or a named metric fails.
    """
    found: dict[str, dict[str, Any]] = {}
    lines = []
    with replacing(predictions) as folder:
        folder.mkdir()
        for name, one in settings.sets.items():
            task, headline = task_of(one.task), name == HEADLINE
            parts, about = _graded(task, one.ask, test_sets / f"{name}.jsonl", answers / f"{name}.parquet")
            kept = []
            about |= {"labels": task.labels, "model": model}
            with predictions_writer(folder / f"{name}.parquet", about) as write:
                for part in parts:
                    write(part)
                    # The inputs of a module of `evaluate` are unknown before it is loaded, so all columns are kept.
                    kept.append(part if headline and settings.metrics else _measured(task, part))
            frame, held_out = pd.concat(kept, ignore_index=True), None
            if headline and task.tunes_threshold(one.ask) and validation.stat().st_size:
                parts, _ = _graded(task, one.ask, validation, answers / f"{VALIDATION}.parquet")
                held_out = pd.concat([_measured(task, part) for part in parts], ignore_index=True)
            found[name] = task.metrics(frame, held_out)
            if headline:
                found[name] |= named_scores(settings.metrics, partial(task.module_inputs, frame=frame))
            lines.append(task.summary(model if headline else f"{model}, {name}", frame, found[name]))
    metrics = found.pop(HEADLINE)
    return metrics | ({"also": found} if found else {}), lines


def _graded(task: Task, ask: Ask, cases: Path, answers: Path) -> tuple[Iterator[pd.DataFrame], dict[str, Any]]:
    """The graded answers to the cases of a file, in chunks if the task can grade each case by itself."""
    given = cases, task.inputs, task.labels
    if task.graded_alone:
        frames, about = answer_frames(answers)
        return _windows(task, ask, each_case(*given), frames), about
    frame, about = read_answers(answers)
    return iter([task.grade(read_cases(*given), frame, ask)]), about


def _windows(task: Task, ask: Ask, cases: Iterator[Case], frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    n = 0
    for frame in frames:
        n += len(frame)
        yield task.grade(list(islice(cases, len(frame))), frame, ask)
    if rest := sum(1 for _ in cases):
        raise other_cases(n, n + rest)


def _measured(task: Task, graded: pd.DataFrame) -> pd.DataFrame:
    """The columns that metrics read, in compact form: categorical labels, and log-probabilities in Arrow arrays."""
    import pyarrow as pa

    if task.measured is None:
        return graded
    small = graded[["outcome", "truncated", *task.measured]]
    kinds = {"outcome": pd.CategoricalDtype(list(OUTCOMES))}
    if task.answers_are_labels:
        kinds |= dict.fromkeys(["label", "prediction"], pd.CategoricalDtype(list(task.labels)))
    texts = {name: small[name].astype(kind) for name, kind in kinds.items() if name in small}
    numbers = pa.array(small["log_probs"], pa.list_(pa.float64())) if "log_probs" in small else None
    rows = {} if numbers is None else {"log_probs": pd.arrays.ArrowExtensionArray(numbers)}
    return small.assign(**texts, **rows)
