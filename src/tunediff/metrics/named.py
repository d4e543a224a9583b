"""The metrics that evaluate.metrics of params.yaml names: modules that `evaluate.load` finds.

    named_scores(["accuracy", "my_metrics/length"], task, frame)
    # {"evaluate_accuracy": 0.73, "evaluate_length_mean": 4.2, "evaluate_length_longest": 31}

A name is a folder with a script of that name, which needs no network, or a module on the hub. Either is code that runs
here: name only what you trust. What a module wants is read from its features:

    task with labels       predictions and references as labels, or as their places in task.labels
    question_answering     texts, each with a list of references or with the first one, or the layout of squad and
                           squad_v2
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunediff.config.task import Task
from tunediff.metrics.scores import answers_of
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 10

# What a module is given, by the name of each of its inputs.
Inputs = Mapping[str, Sequence[Any]]


def named_scores(names: Sequence[str], task: Task, frame: "pd.DataFrame") -> dict[str, float]:
    """Return the numbers that modules of `evaluate` make of a prediction file's rows.

    Args:
        names: of the modules; a path counts from the current folder.
        task: its name says what a module is given.
        frame: a row a case.

    Returns:
        evaluate_NAME_KEY for each number, NAME being the last part of a path, and evaluate_NAME where the key is the
        name; of a list of at most ten, evaluate_NAME_KEY_1 and so on. What is no finite number is left out.

    Raises:
        TunediffError: a module cannot be loaded, wants what this task has not, fails, gives no number, or one of
            the name of another module's.
    """
    scores: dict[str, float] = {}
    for name in names:
        module, place = _load(name), f"evaluate.metrics: {name}"
        kinds = module.features if isinstance(module.features, list) else [module.features]
        inputs = next((found for kind in kinds if (found := _inputs(kind, task, frame)) is not None), None)
        if inputs is None:
            raise TunediffError(f"{place}: wants {shown(kinds[0], 200)}, which the task {task.name} does not have")
        try:
            found = module.compute(**inputs)
        except Exception as error:  # a module is anybody's code
            raise TunediffError(f"{place}: cannot score {len(frame)} cases: {_line(error)}") from None
        numbers = _numbers(Path(name).name.removesuffix(".py"), found)
        if not numbers:
            raise TunediffError(f"{place}: found {shown(found)}, expected a number at least")
        if both := sorted(scores.keys() & numbers.keys()):
            raise TunediffError(f"{place}: found {both[0]}, which another module gives too, expected other names")
        scores |= numbers
    return scores


def _load(name: str) -> Any:
    import evaluate  # seconds, which only a run that names a module spends

    try:
        return evaluate.load(name, seed=0)  # some modules draw samples
    except Exception as error:
        raise TunediffError(
            f"evaluate.metrics: {name}: cannot be loaded: {_line(error)}; expected a folder with a script of that "
            "name, or a module of the hub and a network"
        ) from None


def _line(error: Exception) -> str:
    return shown(" ".join(str(error).split()), 200)


def _inputs(features: Any, task: Task, frame: "pd.DataFrame") -> Inputs | None:
    """Predictions and references in the form that a module's features ask for; None where this task has no such."""
    if set(features) != {"predictions", "references"}:
        return None
    given, wanted = features["predictions"], features["references"]
    if task.name == "question_answering":
        return _answers(given, wanted, frame)
    gold, found = frame["label"].tolist(), frame["prediction"].astype(object).where(frame["prediction"].notna(), None)
    kind = getattr(given, "dtype", "")
    if kind == "string":
        return {"predictions": [label or "" for label in found], "references": gold}
    if str(kind).startswith(("int", "float")):
        # An invalid answer has a place of its own, so that it is wrong.
        places = {None: -1} | {label: place for place, label in enumerate(task.labels)}
        return {"predictions": [places[label] for label in found], "references": [places[label] for label in gold]}
    return None


def _answers(given: Any, wanted: Any, frame: "pd.DataFrame") -> Inputs | None:
    answered = answers_of(frame)
    texts = [text or "" for text in answered.predictions]
    if getattr(given, "dtype", "") == "string":
        if getattr(wanted, "dtype", "") == "string":
            return {"predictions": texts, "references": [next(iter(one), "") for one in answered.answers]}
        return {"predictions": texts, "references": [list(one) or [""] for one in answered.answers]}
    if not isinstance(given, Mapping) or not {"id", "prediction_text"} <= set(given):
        return None
    ids = frame["case_id"].tolist()
    predictions = [{"id": one, "prediction_text": text} for one, text in zip(ids, texts, strict=True)]
    if "no_answer_probability" in given:
        sure = [0.0] * len(ids) if answered.log_probs is None else np.exp([row[1] for row in answered.log_probs])
        predictions = [one | {"no_answer_probability": float(p)} for one, p in zip(predictions, sure, strict=True)]
    references = [
        # Where an answer stands is nothing that these modules look at, but the layout has a place for it.
        {"id": one, "answers": {"text": list(gold), "answer_start": [0] * len(gold)}}
        for one, gold in zip(ids, answered.answers, strict=True)
    ]
    return {"predictions": predictions, "references": references}


def _numbers(name: str, found: Any) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, value in (found or {}).items():
        whole = f"evaluate_{name}" if key == name else f"evaluate_{name}_{key}"
        # Longer lists have a value a case, which is no metric.
        several = isinstance(value, list | tuple | np.ndarray) and np.size(value) <= LONGEST
        each = {f"{whole}_{place}": one for place, one in enumerate(np.ravel(value), start=1)} if several else {}
        numbers |= {key: float(one) for key, one in (each or {whole: value}).items() if _is_number(one)}
    return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
