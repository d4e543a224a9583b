"""The two models of the project, for commands that answer with them.

    params = project()                                   # params.yaml; models/base and models/tuned are there
    base, tuned = both_answer(params, cases)             # prediction rows of cases.PREDICTION_COLUMNS, a row a case

The model wing is imported inside the functions, so that `tunediff --help` and the commands without a model start
without torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunediff.commands.runs import read_stages
from tunediff.config.params import Params
from tunediff.data.cases import Case
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import output_path
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment

if TYPE_CHECKING:
    import pandas as pd

    from tunediff.models.load import Loaded

BASE, TUNED = Path("models/base"), Path("models/tuned")


def project() -> Params:
    """The parameters of the project in the current folder, whose models have been made.

    Raises:
        TunediffError: params.yaml is missing or at fault, or a model is not there.
    """
    params = read_experiment(PARAMS).params
    for folder in (BASE, TUNED):
        if not folder.is_dir():
            raise TunediffError(
                f"{folder}: there is no such folder, expected the model that the pipeline makes: run dvc repro"
            )
    return params


def folder_beside(text: str, mark: str) -> Path:
    """The folder for a model made of these: in the project, not part of what a stage writes, and new or ours.

    Args:
        text: the folder.
        mark: a file that the command writes into its folder; one that is there must hold it.

    Raises:
        TunediffError: the folder is another one.
    """
    path = output_path(text)
    whole = path.resolve()
    for stage in read_stages():
        for made in (Path(name).resolve() for name in stage.writes):
            if made == whole or made in whole.parents:
                raise TunediffError(
                    f"--out: found {path}, which the stage {stage.name} writes; expected another folder"
                )
    if path.exists() and not (path / mark).is_file():
        raise TunediffError(f"--out: found {path}, which is there without {mark}; expected a folder that is not")
    return path


def both_answer(params: Params, cases: Sequence[Case]) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Predictions of the base model and of the tuned one, as `eval_base` and `eval_tuned` make them.

    Args:
        params: those of the project.
        cases: the cases, at least one.

    Raises:
        TunediffError: a model cannot be loaded, or a case is too long.
    """
    from tunediff.engines.asking import predict_cases

    asked = params.task, params.prompt, params.evaluate
    models = zip(both_models(params), ("base", "tuned"), strict=True)
    base, tuned = (predict_cases(loaded, cases, *asked, title) for loaded, title in models)
    return base, tuned


def both_models(params: Params) -> Iterator["Loaded"]:
    """The base model, ready to answer, and when it has answered the tuned one.

    The weights of the base are loaded once: it answers first, then what fine-tuning made is put on it. So it is the
    base itself that answers, whichever of its weights were trained.

    Args:
        params: those of the project.

    Raises:
        TunediffError: a model cannot be loaded.
    """
    from dataclasses import replace

    from tunediff.models.adapt import load_tuned
    from tunediff.models.load import load_base

    loaded = load_base(BASE, params.model, params.task.labels)
    yield loaded
    yield replace(loaded, model=load_tuned(loaded.model, params.adapt, TUNED))
