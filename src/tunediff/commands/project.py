"""The two models of the project and one of its test sets, for commands that evaluate them.

    project = read_project()                             # models/base and models/tuned exist
    base, tuned = both_answer(project, cases)            # graded predictions, one row per case

Engines are imported inside the functions, so that `tunediff --help` and commands without a model start without torch.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunediff.commands.runs import read_stages, stage_path
from tunediff.config.settings import DiffSettings, read_machine, read_settings
from tunediff.data.cases import MODELS, Case, read_cases
from tunediff.engines import open_engine
from tunediff.engines.engine import Engine
from tunediff.inputs.settings import HEADLINE, CaseSet, PredictSettings
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import output_path, shown
from tunediff.tasks import task_of
from tunediff.tasks.evaluation import EvalSettings
from tunediff.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd


class Project(NamedTuple):
    """The two models of the pipeline, and a test set with its settings."""

    settings: PredictSettings
    base: Path
    tuned: Path
    set_name: str
    case_set: CaseSet
    task: Task

    def cases(self) -> list[Case]:
        """The cases of the test set."""
        path = stage_path("predict_base", "test-sets") / f"{self.set_name}.jsonl"
        return read_cases(path, self.case_set.inputs, self.case_set.labels)

    def answers(self, model: str) -> Path:
        """The file of a model's raw answers to the test set."""
        return stage_path(f"predict_{model}", "answers") / f"{self.set_name}.parquet"

    def predictions(self, model: str) -> Path:
        """The file of a model's graded predictions on the test set."""
        return stage_path(f"eval_{model}", "predictions") / f"{self.set_name}.parquet"

    def ask(self, engine: Engine, cases: Sequence[Case], title: str) -> "pd.DataFrame":
        """Evaluate a model like the pipeline; return graded predictions, one row per case.

        Args:
            engine: the engine that runs the model.
            cases: the cases, at least one.
            title: title of the progress bar.
        """
        from tunediff.engines.asking import ask_cases

        answers = ask_cases(engine, cases, self.case_set, self.settings.evaluate, title)
        return self.task.grade(cases, answers, self.case_set.ask)


def confidence_of_run() -> float:
    """Return the confidence level of all intervals of the run."""
    return read_settings(stage_path("diff_cases", "settings"), DiffSettings).diff.confidence


def read_set(model: str, name: str) -> tuple[PredictSettings, Task]:
    """Return the settings that a model, base or tuned, answers with, and the task of a test set.

    Raises:
        TunediffError: the settings are missing, or there is no such test set.
    """
    settings = read_settings(stage_path(f"predict_{model}", "settings"), PredictSettings)
    if name not in settings.sets:
        raise TunediffError(f"--set: found {shown(name)}, expected one of {', '.join(settings.sets)}")
    graded = read_settings(stage_path(f"eval_{model}", "settings"), EvalSettings)
    return settings, task_of(graded.sets[name].task)


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a test set."""
    parser.add_argument("--set", default=HEADLINE, metavar="NAME", help=f"name of the test set ({HEADLINE})")


def read_project(set_name: str = HEADLINE) -> Project:
    """Return the project in the current folder.

    Args:
        set_name: name of the test set.

    Raises:
        TunediffError: a model or the settings are missing, or there is no such test set.
    """
    base, tuned = stage_path("predict_tuned", "base"), stage_path("predict_tuned", "tuned")
    for folder in (base, tuned):
        if not folder.is_dir():
            raise TunediffError(
                f"{folder}: there is no such folder, expected a model written by the pipeline: run dvc repro"
            )
    settings, task = read_set("tuned", set_name)
    settings = settings.on(read_machine(stage_path("predict_tuned", "settings")))
    return Project(settings, base, tuned, set_name, settings.sets[set_name], task)


def output_folder(text: str, mark: str) -> Path:
    """Return a folder for a model made from these two, checked to be new or an earlier output of the command.

    Args:
        text: the folder, in the project and not part of a stage's outputs.
        mark: a file that the command writes to its folder, by which an earlier output is recognised.

    Raises:
        TunediffError: the folder must not be written to.
    """
    path = output_path(text)
    whole = path.resolve()
    for stage in read_stages():
        for made in (Path(name).resolve() for name in stage.writes):
            if made == whole or made in whole.parents:
                raise TunediffError(
                    f"--out: found {path}, which the stage {stage.name} writes to; expected another folder"
                )
    if path.exists() and not (path / mark).is_file():
        raise TunediffError(f"--out: found {path}, which exists without {mark}; expected a folder that does not")
    return path


def both_answer(project: Project, cases: Sequence[Case]) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Return graded predictions of the base model and of the tuned model; see `Project.ask`.

    Raises:
        TunediffError: a model cannot be loaded, or a case is too long.
    """
    base, tuned = (
        project.ask(engine, cases, title) for engine, title in zip(both_engines(project), MODELS, strict=True)
    )
    return base, tuned


def both_engines(project: Project) -> Iterator[Engine]:
    """Yield the engine of the base model, and after that the engine of the tuned model.

    The weights of the base are loaded once. The base answers first, because applying the tuned weights changes it.

    Raises:
        TunediffError: a model cannot be loaded.
    """
    engine = open_engine(project.settings, project.base)
    yield engine
    yield engine.tuned(project.tuned)
