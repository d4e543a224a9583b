"""What commands measured of a run after it, beside its metrics: shown where it is there, and of this run.

found = side_metrics(Path("metrics/controls.json"), run_hash(eval_base, eval_tuned))     # {} where there is none
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown
from tunediff.runtime.hashing import content_hash


class Written(BaseModel):
    """Values that a command writes; it may write more."""

    model_config = ConfigDict(strict=True)


class Flips(Written):
    """Of one model against the base, in cases."""

    flips: int
    changed: int
    repaired: int
    broken: int


class Strength(Written):
    """Of the trained change times a number."""

    strength: float
    accuracy: float


class Controls(Written):
    """What the report reads of metrics/controls.json."""

    of: str
    n: int
    set: str
    measure: str
    again: Flips
    trained: Flips
    null: list[Flips]
    strengths: list[Strength] = []


class Epoch(Written):
    """Of the model after an epoch."""

    epoch: int
    delta: float


class EpochPair(Written):
    """Of two epochs."""

    a: int
    b: int
    separated: bool
    p_adjusted: float
    better: int | None = None


class EpochSet(Written):
    """Of a test set."""

    n: int
    epochs: list[Epoch]
    pairs: list[EpochPair]


class Checkpoints(Written):
    """What the report reads of metrics/checkpoints.json."""

    of: str
    sets: dict[str, EpochSet]


class Perplexity(Written):
    """What the report reads of metrics/perplexity.json."""

    of: str
    text: str
    passages: int
    tokens: int
    nll_delta: float
    perplexity_base: float
    perplexity_tuned: float
    nll_delta_low: float | None = None
    nll_delta_high: float | None = None


# By the name of the file and of the command that writes it.
KINDS: dict[str, type[Written]] = {"controls": Controls, "checkpoints": Checkpoints, "perplexity": Perplexity}


def run_hash(base: Mapping[str, float], tuned: Mapping[str, float]) -> str:
    """The key `of` of such a file, which says of what run it is: a hash of what both models scored.

    Args:
        base: what metrics/eval_base.json holds.
        tuned: what metrics/eval_tuned.json holds.
    """
    return content_hash([base, tuned])


def side_metrics(path: Path, run: str) -> dict[str, Any]:
    """What a command measured of this run; empty where there is no such file, or one of another run.

    Args:
        path: of the file, named after its command.
        run: as `run_hash` gives it.

    Raises:
        TunediffError: it is of this run, and lacks something or has another kind of value than the command writes.
    """
    if not path.exists():
        return {}
    values = read_json(path)
    if not isinstance(values, dict) or "of" not in values:
        raise TunediffError(f"{path}: found no of, expected what tunediff {path.stem} writes")
    if values["of"] != run:
        print(f"report: {path} belongs to another run and is left out")
        return {}
    try:
        KINDS[path.stem].model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in problem["loc"])
        what = "found nothing" if problem["type"] == "missing" else f"found {shown(problem['input'])}"
        raise TunediffError(f"{path}: {place}: {what}, expected what tunediff {path.stem} writes") from None
    return values
