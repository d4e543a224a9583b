"""The part of params.yaml that each stage depends on, as written by the stage `settings`, with defaults filled in.

    settings = read_settings(Path("data/settings/predict_base.json"), PredictSettings)
    settings.sets["test"].prompt.template

A stage depends on its own file and not on params.yaml. A key that cannot change the result of a stage is not in its
file, so changing that key does not rerun it.
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
# The key with the hashes of the code: DVC compares them, the stage does not read them.
CODE = "code"


class PrepareSettings(Section):
    """Settings of the stage prepare."""

    task: TaskSection
    data: Data
    also: dict[str, AlsoSet]


class BaseModelSettings(Section):
    """Settings of the stage base_model; without head and dtype, so experiments that differ in them share the base."""

    base: Base
    pretrain: Pretrain


class CountSettings(Section):
    """Settings of the stage count_params."""

    labels: list[LabelName]
    model: Model
    adapt: Adapt | None
    tuned: Tuned


class HeadInputs(Section):
    """Settings that the hidden states of a frozen base depend on."""

    model: Model
    prompt: Prompt
    adapt: Adapt
    inputs: list[str]
    labels: list[LabelName]


class FeaturesSettings(Section):
    """Settings of the stage features; `head` is None unless adapt.method is head."""

    head: HeadInputs | None


class TrainSettings(Section):
    """Settings of the stage train."""

    model: Model
    prompt: Prompt
    adapt: Adapt | None
    train: Train | None
    tuned: Tuned
    inputs: list[str]
    labels: list[LabelName]


class DiffSettings(Section):
    """Settings of the stage diff_cases."""

    sets: dict[str, TaskSection]
    diff: Diff
    checks: Checks


class ReportSettings(Section):
    """Settings of the stage report."""

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
    """Settings of this machine. No result depends on them, so no stage declares them as a dependency.

    `num_processes` and `workers` are those of the section evaluate; `engine` has the keys in `MACHINE_KEYS`.
    """

    logging_steps: Whole
    save_total_limit: Whole | None
    num_processes: Whole
    workers: Whole | None = None
    engine: dict[str, str | int | float | None] = Field(default={})


def read_machine(path: Path) -> MachineSettings:
    """Read the settings of this machine from the folder with a stage's settings file."""
    return read_settings(path.with_name("machine.json"), MachineSettings)


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """Read the settings of a stage.

    Args:
        path: the settings file.
        kind: the class of the settings.

    Raises:
        TunediffError: the file is missing, or was written by another version of tunediff.
    """
    values = read_json(path)
    try:
        return kind.model_validate({name: value for name, value in dict(values).items() if name != CODE})
    except (ValidationError, TypeError, ValueError):
        raise TunediffError(
            f"{path}: found values from another version of tunediff, expected those of this version; run dvc repro"
        ) from None
