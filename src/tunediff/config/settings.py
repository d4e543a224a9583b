"""What a stage depends on of params.yaml, as the stage `settings` writes it: defaults filled in, nothing else in it.

    settings = read_settings(Path("data/settings/predict_base.json"), PredictSettings)
    settings.sets["test"].prompt.template

A stage depends on its own file, not on params.yaml: a key that cannot change its result is not in it, so another value
of that key runs nothing again.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from tunediff.config.adapt import Adapt
from tunediff.config.also import AlsoSet
from tunediff.config.checks import Checks
from tunediff.config.cost import Cost
from tunediff.config.data import Data
from tunediff.config.diff import Diff
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Base, Model
from tunediff.config.pretrain import Pretrain
from tunediff.config.prompt import Prompt
from tunediff.config.report import Report
from tunediff.config.section import LabelName, Section, Whole
from tunediff.config.task import TaskSection
from tunediff.config.train import Train
from tunediff.config.tuned import Tuned
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json

Settings = TypeVar("Settings", bound=Section)
# The key of the code's hash, which a stage depends on and does not read.
CODE = "code"


class PrepareSettings(Section):
    """Of the stage prepare."""

    task: TaskSection
    data: Data
    also: dict[str, AlsoSet]
    """Each with its task."""


class BaseModelSettings(Section):
    """Of the stage base_model: neither head nor dtype, so experiments that differ there share the base."""

    base: Base
    pretrain: Pretrain


class CountSettings(Section):
    """Of the stage count_params."""

    labels: list[LabelName]
    model: Model
    adapt: Adapt | None
    tuned: Tuned


class HeadInputs(Section):
    """What a new head on a frozen base reads."""

    model: Model
    prompt: Prompt
    adapt: Adapt
    inputs: list[str]
    labels: list[LabelName]


class FeaturesSettings(Section):
    """Of the stage features; none where adapt.method is not head."""

    head: HeadInputs | None


class TrainSettings(Section):
    """Of the stage train."""

    model: Model
    prompt: Prompt
    adapt: Adapt | None
    train: Train | None
    tuned: Tuned
    inputs: list[str]
    labels: list[LabelName]


class DiffSettings(Section):
    """Of the stage diff_cases."""

    sets: dict[str, TaskSection]
    diff: Diff
    checks: Checks


class ReportSettings(Section):
    """Of the stage report."""

    sets: dict[str, TaskSection]
    data: Data
    model: Model
    prompt: Prompt
    evaluate: Evaluate
    adapt: Adapt | None
    tuned: Tuned
    diff: Diff
    report: Report
    cost: Cost


class MachineSettings(Section):
    """How stages run here: nothing that they find depends on it, so none declares it."""

    logging_steps: Whole
    save_total_limit: Whole | None
    num_processes: Whole
    """Of predict_base and predict_tuned."""
    workers: Whole | None = None
    """Of the same."""
    engine: dict[str, str | int | float | None] = Field(default={})
    """Of the section engine, the keys in `OF_MACHINE`."""


def read_machine(path: Path) -> MachineSettings:
    """The machine's settings, which lie beside those of a stage."""
    return read_settings(path.with_name("machine.json"), MachineSettings)


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """The settings of a stage.

    Raises:
        TunediffError: the file is missing, or of another version of tunediff.
    """
    values = read_json(path)
    try:
        return kind.model_validate({name: value for name, value in dict(values).items() if name != CODE})
    except (ValidationError, TypeError, ValueError):
        raise TunediffError(
            f"{path}: found values from another version of tunediff, expected those of this version; run dvc repro"
        ) from None
