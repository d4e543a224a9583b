"""All that the prediction stages ask one model: every test set by its name, with one load of the model.

    cases = read_sets(settings, Path("data/test_sets"), Path("data/splits/validation.jsonl"))
    frames = ask_sets(engine, cases, settings, title="predict_base")
    write_sets(Path("data/answers/base"), frames, settings, "base", engine.environment())     # a file per set

The other settings are asked of the test set that the headline is about, and of no other.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.config.evaluate import Evaluate
from tunediff.data.answers import write_answers
from tunediff.data.cases import Case, read_cases, read_split
from tunediff.engines.alone import check_alone
from tunediff.engines.asking import ask_cases
from tunediff.engines.engine import Engine
from tunediff.engines.other_settings import other_settings
from tunediff.inputs.settings import HEADLINE, VALIDATION, CaseSet, PredictSettings
from tunediff.runtime.files import replacing


def read_sets(settings: PredictSettings, test_sets: Path, validation: Path) -> dict[str, list[Case]]:
    """The cases of each test set and of the validation split, by name.

    Raises:
        TunediffError: a file is missing or at fault.
    """
    cases = {
        name: read_cases(test_sets / f"{name}.jsonl", one.inputs, one.labels) for name, one in settings.sets.items()
    }
    return cases | {VALIDATION: read_split(validation, settings.headline.inputs, settings.headline.labels)}


def ask_sets(
    engine: Engine, cases: Mapping[str, Sequence[Case]], settings: PredictSettings, title: str
) -> dict[str, pd.DataFrame]:
    """Raw answers to each test set, and to the validation split where it is asked too, by name.

    Raises:
        TunediffError: an answer to the headline's test set depends on the cases beside it, or a set cannot be asked,
            such as by a template that spells a special token.
    """
    evaluate, frames = settings.evaluate, {}
    sets = settings.sets | ({VALIDATION: settings.headline} if settings.validate_too else {})
    for name, case_set in sets.items():
        if not case_set.ask.by_head:
            engine.check(case_set.prompt)
        titled = title if name == HEADLINE else f"{title}, {name}"
        frame = ask_cases(engine, cases[name], case_set, evaluate, titled)
        if name == HEADLINE:
            _check_alone(frame, engine, cases[name], case_set, evaluate, title)
            other = other_settings(frame, engine, cases[name], cases[VALIDATION], case_set, evaluate, title)
            frame = frame.assign(**other)
        frames[name] = frame
    return frames


def _check_alone(
    frame: pd.DataFrame, engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> None:
    """Ask some cases again, each alone: see `check_alone`. Arguments as `other_settings`."""

    @cache
    def alone(i: int) -> "pd.Series[Any]":
        return ask_cases(engine, [cases[i]], case_set, evaluate, f"{title}, alone").iloc[0]

    def check(name: str) -> None:
        check_alone(frame["n_tokens"].tolist(), frame[name].tolist(), lambda i: alone(i)[name], dtype, title)

    dtype = engine.environment().get("dtype", "")
    # Where an answer is chosen, its text says no more than the log-probabilities do.
    if frame["log_probs"].notna().all():
        check("log_probs")
    if case_set.ask.in_words:
        check("text")


def write_sets(
    folder: Path,
    frames: Mapping[str, pd.DataFrame],
    settings: PredictSettings,
    model: str,
    environment: Mapping[str, str],
) -> None:
    """Write the raw answers of a model to a folder, a file per test set, all of them or none.

    Args:
        folder: where to.
        frames: by name, as `ask_sets` returns them.
        settings: how each set was asked.
        model: base or tuned.
        environment: what the model computed with.
    """
    with replacing(folder) as fresh:
        for name, frame in frames.items():
            labels = settings.sets.get(name, settings.headline).ask.names
            about = {"labels": labels, "model": model, "environment": dict(environment)}
            write_answers(fresh / f"{name}.parquet", frame, about)
