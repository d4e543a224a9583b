"""The metrics that evaluate.metrics of params.yaml names: modules that `evaluate.load` finds.

    named_scores(["accuracy", "my_metrics/length"], lambda features: task.module_inputs(features, frame))
    # {"evaluate_accuracy": 0.73, "evaluate_length_mean": 4.2, "evaluate_length_longest": 31}

A name is a folder with a script of that name, which needs no network, or a module on the hub. Either is code that runs
here: name only what you trust. What a module wants is read from its features; the task makes it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

LONGEST = 10

# What a module is given, by the name of each of its inputs.
Inputs = Mapping[str, Sequence[Any]]


def named_scores(names: Sequence[str], inputs_for: Callable[[Any], Inputs | None]) -> dict[str, float]:
    """Return the numbers that modules of `evaluate` make of a prediction file's rows.

    Args:
        names: of the modules; a path counts from the current folder.
        inputs_for: predictions and references in the form that a module's features ask for; None: there are no such.

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
        wanted = [kind for kind in kinds if set(kind) == {"predictions", "references"}]
        inputs = next((found for kind in wanted if (found := inputs_for(kind)) is not None), None)
        if inputs is None:
            raise TunediffError(f"{place}: wants {shown(kinds[0], 200)}, which this task does not have")
        try:
            found = module.compute(**inputs)
        except Exception as error:  # a module is anybody's code
            raise TunediffError(f"{place}: cannot score {len(inputs['references'])} cases: {_line(error)}") from None
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
