"""Metrics of the library `evaluate`, as listed in evaluate.metrics of params.yaml.

    named_scores(["accuracy", "my_metrics/length"], lambda features: task.module_inputs(features, frame))
    # {"evaluate_accuracy": 0.73, "evaluate_length_mean": 4.2, "evaluate_length_longest": 31}

A name is a folder with a script of that name, which needs no network, or a module on the hub. Both are code that runs
here, so name only modules that you trust. The features of a module determine the form of its inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

LONGEST = 10

# The inputs of a module, by name.
Inputs = Mapping[str, Sequence[Any]]


def named_scores(names: Sequence[str], inputs_for: Callable[[Any], Inputs | None]) -> dict[str, float]:
    """Compute metrics of modules of `evaluate` for the rows of a prediction file.

    Args:
        names: names of the modules; paths are relative to the current folder.
        inputs_for: function that returns predictions and references in the form of a module's features, or None if the
            task has none.

    Returns:
        evaluate_NAME_KEY for each number, where NAME is the last part of a path, and evaluate_NAME if the key equals
        the name; for a list of at most ten numbers, evaluate_NAME_KEY_1 and so on. Other values are ignored.

    Raises:
        TunediffError: a module cannot be loaded, requires inputs that the task does not have, fails, or returns no
            number, or two modules return the same key.
    """
    scores: dict[str, float] = {}
    for name in names:
        place = f"evaluate.metrics: {name}"
        found = _computed(_load(name, "evaluate.metrics"), inputs_for, place)
        numbers = _numbers(Path(name).name.removesuffix(".py"), found)
        if not numbers:
            raise TunediffError(f"{place}: found {shown(found)}, expected a number at least")
        if both := sorted(scores.keys() & numbers.keys()):
            raise TunediffError(f"{place}: found {both[0]}, which another module also returns, expected unique names")
        scores |= numbers
    return scores


def case_scores(name: str, key: str, answers: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """Return the score of each case by a module of `evaluate`, unscaled.

    A module that returns a list with one number per case is called once, any other is called for each case.

    Args:
        name: name of the module; paths are relative to the current folder.
        key: key of the score; empty: the key with the name of the module, or the only one.
        answers: the reference texts of each case, at least one.
        predictions: the predicted text of each case.

    Raises:
        TunediffError: as for `named_scores`, or a case gets no finite number.
    """
    module, place = _load(name, "task.grade"), f"task.grade: evaluate:{name}"
    n = len(predictions)

    def computed(rows: slice) -> Any:
        inputs_for = partial(text_inputs, answers=answers[rows], predictions=predictions[rows])
        found = _computed(module, inputs_for, place) or {}
        last = Path(name).name.removesuffix(".py")
        known = key or (last if last in found else next(iter(found)) if len(found) == 1 else "")
        if known not in found:
            raise TunediffError(f"{place}: found {shown(list(found))}, expected one of them as evaluate:NAME:KEY")
        return found[known]

    if n == 0:
        return []
    value = computed(slice(0, n))
    several = isinstance(value, list | tuple | np.ndarray) and np.size(value) == n
    values = (
        list(np.ravel(value)) if several else [computed(slice(at, at + 1)) for at in range(n)] if n > 1 else [value]
    )
    for one in values:
        if not _is_number(one):
            raise TunediffError(f"{place}: found {shown(one)} for a case, expected a finite number")
    return [float(one) for one in values]


def text_inputs(features: Any, answers: Sequence[Sequence[str]], predictions: Sequence[str]) -> Inputs | None:
    """Return texts in the form of a module of `evaluate`, with all references or the first one; None if not texts.

    Args:
        features: names and types of the module's inputs.
        answers: the reference texts of each case.
        predictions: the predicted text of each case.
    """
    given, wanted = features["predictions"], features["references"]
    if getattr(given, "dtype", "") != "string":
        return None
    if getattr(wanted, "dtype", "") == "string":
        return {"predictions": list(predictions), "references": [next(iter(one), "") for one in answers]}
    return {"predictions": list(predictions), "references": [list(one) or [""] for one in answers]}


def _computed(module: Any, inputs_for: Callable[[Any], Inputs | None], place: str) -> Any:
    """The result of a module for inputs in the form of its features."""
    kinds = module.features if isinstance(module.features, list) else [module.features]
    wanted = [kind for kind in kinds if set(kind) == {"predictions", "references"}]
    inputs = next((found for kind in wanted if (found := inputs_for(kind)) is not None), None)
    if inputs is None:
        raise TunediffError(f"{place}: requires {shown(kinds[0], 200)}, which this task does not have")
    try:
        return module.compute(**inputs)
    except Exception as error:  # a module is anybody's code
        raise TunediffError(f"{place}: cannot score {len(inputs['references'])} cases: {_line(error)}") from None


def _load(name: str, named_by: str) -> Any:
    import evaluate  # takes seconds

    try:
        return evaluate.load(name, seed=0)  # some modules use random numbers
    except Exception as error:
        raise TunediffError(
            f"{named_by}: {name}: cannot be loaded: {_line(error)}; expected a folder with a script of that "
            "name, or a module of the hub and a network"
        ) from None


def _line(error: Exception) -> str:
    return shown(" ".join(str(error).split()), 200)


def _numbers(name: str, found: Any) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, value in (found or {}).items():
        full_name = f"evaluate_{name}" if key == name else f"evaluate_{name}_{key}"
        # Longer lists have one value per case.
        several = isinstance(value, list | tuple | np.ndarray) and np.size(value) <= LONGEST
        each = {f"{full_name}_{place}": one for place, one in enumerate(np.ravel(value), start=1)} if several else {}
        numbers |= {key: float(one) for key, one in (each or {full_name: value}).items() if _is_number(one)}
    return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
