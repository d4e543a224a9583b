"""Read the metrics that commands measure after a run, if they exist and belong to the current run.

found = side_metrics(Path("metrics/controls.json"), run_hash(eval_base, eval_tuned))     # {} if there are none
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown
from tunediff.runtime.hashing import content_hash


class Written(BaseModel):
    """The values that the report reads; files may have more."""

    model_config = ConfigDict(strict=True)


class Flips(Written):
    """The changes from the base to one model, in cases."""

    flips: int
    changed: int
    repaired: int
    broken: int


class Strength(Written):
    """The accuracy with the trained change times a strength."""

    strength: float
    accuracy: float


class Controls(Written):
    """The content of metrics/controls.json."""

    run: str = Field(alias="of")
    n: int
    set: str
    measure: str
    again: Flips
    trained: Flips
    null: list[Flips]
    strengths: list[Strength] = []


class Epoch(Written):
    """The change from the base to the model after an epoch."""

    epoch: int
    delta: float


class EpochPair(Written):
    """The comparison of two epochs."""

    a: int
    b: int
    separated: bool
    p_adjusted: float
    better: int | None = None


class EpochSet(Written):
    """The epochs on one test set."""

    n: int
    epochs: list[Epoch]
    pairs: list[EpochPair]


class Checkpoints(Written):
    """The content of metrics/checkpoints.json."""

    run: str = Field(alias="of")
    sets: dict[str, EpochSet]


class Perplexity(Written):
    """The content of metrics/perplexity.json."""

    run: str = Field(alias="of")
    text: str
    passages: int
    tokens: int
    nll_delta: float
    perplexity_base: float
    perplexity_tuned: float
    nll_delta_low: float | None = None
    nll_delta_high: float | None = None


# By name of the file, which is that of the command.
KINDS: dict[str, type[Written]] = {"controls": Controls, "checkpoints": Checkpoints, "perplexity": Perplexity}


def run_hash(base: Mapping[str, float], tuned: Mapping[str, float]) -> str:
    """Return the value of the key `of` that identifies a run in these files: a hash of the scores of both models.

    Args:
        base: content of metrics/eval_base.json.
        tuned: content of metrics/eval_tuned.json.
    """
    return content_hash([base, tuned])


def side_metrics(path: Path, run: str) -> dict[str, Any]:
    """Return the metrics of a command for this run; empty if there is no file, or if it belongs to another run.

    Args:
        path: path of the file, named after its command.
        run: the result of `run_hash`.

    Raises:
        TunediffError: the file belongs to this run, but a value is missing or has the wrong type.
    """
    if not path.exists():
        return {}
    values = read_json(path)
    if not isinstance(values, dict) or "of" not in values:
        raise TunediffError(f"{path}: found no key of, expected the output of tunediff {path.stem}")
    if values["of"] != run:
        print(f"report: {path} belongs to another run and is ignored")
        return {}
    try:
        KINDS[path.stem].model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in problem["loc"])
        what = "found nothing" if problem["type"] == "missing" else f"found {shown(problem['input'])}"
        raise TunediffError(f"{path}: {place}: {what}, expected the output of tunediff {path.stem}") from None
    return values
