"""All that the prediction stages ask one model: every test set by its name, with one load of the model.

    cases = read_sets(settings, Path("data/test_sets"), Path("data/splits/validation.jsonl"))
    with answer_folder(Path("data/answers/base")) as folder:
        answered = ask_sets(engine, cases, settings, title="predict_base")
        write_sets(folder, answered, settings, "base", engine.environment)      # a file per set

Cases are read, asked and written a window at a time (`tunediff.data.cases.windows`), so a process holds one window,
however many cases there are. The other settings are asked of the test set that the headline is about, and of no other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.config.evaluate import Evaluate
from tunediff.data.answers import answers_writer
from tunediff.data.cases import Case, CaseFile, about_predictions, windows
from tunediff.engines.alone import check_alone
from tunediff.engines.asking import ask_cases
from tunediff.engines.engine import Answered, Answering, Engine
from tunediff.engines.other_settings import answers_of, drawn_examples, other_settings
from tunediff.inputs.settings import HEADLINE, VALIDATION, CaseSet, PredictSettings
from tunediff.runtime.files import ROWS, replacing
from tunediff.runtime.processes import first


def read_sets(settings: PredictSettings, test_sets: Path, validation: Path) -> dict[str, Iterable[Case]]:
    """The cases of each test set and of the validation split, by name; they stay on disk.

    Raises:
        TunediffError: a file is missing or at fault.
    """
    cases: dict[str, Iterable[Case]] = {
        name: CaseFile(test_sets / f"{name}.jsonl", one.inputs, one.labels) for name, one in settings.sets.items()
    }
    headline = settings.headline
    # None where the model was trained elsewhere and nobody named them.
    known = validation.stat().st_size
    return cases | {VALIDATION: CaseFile(validation, headline.inputs, headline.labels) if known else []}


def ask_sets(
    engine: Answering, cases: Mapping[str, Iterable[Case]], settings: PredictSettings, title: str, size: int = ROWS
) -> Iterator[Answered]:
    """Raw answers to each test set, and to the validation split where it is asked too: some cases at a time, in order.

    Args:
        engine: answers with the model.
        cases: by the name of the test set; gone through more than once.
        settings: how each set is asked.
        title: what the progress bar says.
        size: cases that are asked about at a time, at most.

    Raises:
        TunediffError: an answer to the headline's test set depends on the cases beside it, or a set cannot be asked,
            such as by a template that spells a special token.
    """
    sets = [*settings.sets, *([VALIDATION] if settings.validate_too else [])]
    solved = drawn_examples(cases[VALIDATION], settings.headline.labels, settings.evaluate.few_shot)
    ask = partial(_ask_window, solved=solved, settings=settings, title=title)
    return engine.answered(((name, some) for name in sets for some in windows(cases[name], size)), ask)


def _ask_window(
    engine: Engine, name: str, cases: Sequence[Case], solved: Sequence[Case], settings: PredictSettings, title: str
) -> pd.DataFrame:
    """Raw answers to some cases of a test set; of the headline's in all settings."""
    evaluate, case_set = settings.evaluate, settings.sets.get(name, settings.headline)
    if not case_set.ask.by_head:
        engine.check(case_set.prompt)
    if name != HEADLINE:
        return ask_cases(engine, cases, case_set, evaluate, f"{title}, {name}")
    frame = ask_cases(engine, cases, case_set, evaluate, title)
    _check_alone(frame, engine, cases, case_set, evaluate, title)
    return frame.assign(**other_settings(frame, engine, cases, solved, case_set, evaluate, title))


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


@contextmanager
def answer_folder(path: Path) -> Iterator[Path | None]:
    """A folder to write raw answers to, which takes the place of `path` when all of them are there.

    None in all processes but the first.
    """
    if not first():
        yield None
        return
    with replacing(path) as fresh:
        fresh.mkdir()
        yield fresh


def write_sets(
    folder: Path | None,
    answered: Iterable[Answered],
    settings: PredictSettings,
    model: str,
    environment: Callable[[], Mapping[str, str]],
) -> dict[str, int]:
    """Write the raw answers of a model to a folder as they come, a file per test set.

    Args:
        folder: as `answer_folder` gives it; None: they are counted alone.
        answered: as `ask_sets` gives them.
        settings: how each set was asked.
        model: base or tuned.
        environment: tells what the model computed with, once it was asked.

    Returns:
        How many cases of each set were answered.
    """
    counts = {}
    for name, parts in groupby(answered, key=lambda one: one[0]):
        frames = (frame for _, frame in parts)
        if folder is None:
            counts[name] = sum(map(len, frames))
            continue
        labels, counts[name] = settings.sets.get(name, settings.headline).ask.names, 0
        about = {"labels": labels, "model": model, "environment": dict(environment())}
        with answers_writer(folder / f"{name}.parquet", about) as write:
            for frame in frames:
                write(frame)
                counts[name] += len(frame)
    return counts


def add_answers(folder: Path | None, answered: Iterable[Answered], setting: str) -> None:
    """Put the answers of a model in another setting beside those of `write_sets` to the same cases.

    Args:
        folder: as for `write_sets`.
        answered: as `ask_sets` gives them; of one test set, in windows as large.
        setting: what the names of the columns begin with.
    """
    import pyarrow.parquet as pq

    for name, parts in groupby(answered, key=lambda one: one[0]):
        if folder is None:
            for _ in parts:
                pass
            continue
        path = folder / f"{name}.parquet"
        with pq.ParquetFile(path) as file, answers_writer(path, about_predictions(path, file.schema_arrow)) as write:
            for number, (_, frame) in enumerate(parts):
                held = file.read_row_group(number).to_pandas()
                write(held.assign(**answers_of(setting, frame)))
