"""Get the raw answers of one model to all test sets, loading the model once.

    cases = read_sets(settings, Path("data/test_sets"), Path("data/splits/validation.jsonl"))
    with answer_folder(Path("data/answers/base")) as folder:
        answered = ask_sets(engine, cases, settings, title="predict_base")
        write_sets(folder, answered, settings, "base", engine.environment)      # a file per set

Cases are read, asked and written a window at a time (`tunediff.data.cases.windows`), so memory does not grow with their
number. The further evaluation settings apply only to the test set of the headline.
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
from tunediff.runtime.processes import is_main_process


def read_sets(settings: PredictSettings, test_sets: Path, validation: Path) -> dict[str, Iterable[Case]]:
    """Return the cases of each test set and of the validation split, by name; they stay on disk.

    Raises:
        TunediffError: a file is missing or invalid.
    """
    cases: dict[str, Iterable[Case]] = {
        name: CaseFile(test_sets / f"{name}.jsonl", case_set.inputs, case_set.labels)
        for name, case_set in settings.sets.items()
    }
    headline = settings.headline
    # The file is empty if the model was trained elsewhere and its validation split is not known.
    known = validation.stat().st_size
    return cases | {VALIDATION: CaseFile(validation, headline.inputs, headline.labels) if known else []}


def ask_sets(
    engine: Answering, cases: Mapping[str, Iterable[Case]], settings: PredictSettings, title: str, size: int = ROWS
) -> Iterator[Answered]:
    """Iterate over raw answers to each test set, and to the validation split if `validate_too`, in windows of cases.

    Args:
        engine: the engine of the model.
        cases: cases by the name of the test set; iterated over more than once.
        settings: the prompt and the question of each set.
        title: label of the progress bar.
        size: maximum number of cases per window.

    Raises:
        TunediffError: an answer to the headline's test set depends on its batch, or the model cannot read a prompt,
            such as one that spells a special token.
    """
    sets = [*settings.sets, *([VALIDATION] if settings.validate_too else [])]
    solved = drawn_examples(cases[VALIDATION], settings.headline.labels, settings.evaluate.few_shot)
    ask = partial(_ask_window, solved=solved, settings=settings, title=title)
    return engine.answered(((name, window) for name in sets for window in windows(cases[name], size)), ask)


def _ask_window(
    engine: Engine, name: str, cases: Sequence[Case], solved: Sequence[Case], settings: PredictSettings, title: str
) -> pd.DataFrame:
    """Raw answers to a window of a test set; for the headline's test set, in all evaluation settings."""
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
    """Apply `check_alone` to raw answers; arguments as for `other_settings`."""

    @cache
    def alone(i: int) -> "pd.Series[Any]":
        return ask_cases(engine, [cases[i]], case_set, evaluate, f"{title}, alone").iloc[0]

    def check(name: str) -> None:
        check_alone(frame["n_tokens"].tolist(), frame[name].tolist(), lambda i: alone(i)[name], dtype, title)

    dtype = engine.environment().get("dtype", "")
    # The text of a choice follows from the log-probabilities, so only free text is compared as well.
    if frame["log_probs"].notna().all():
        check("log_probs")
    if case_set.ask.in_words:
        check("text")


@contextmanager
def answer_folder(path: Path) -> Iterator[Path | None]:
    """Yield a folder for raw answers that replaces `path` if the block succeeds; None except in the main process."""
    if not is_main_process():
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
    """Write the raw answers of a model to a folder, a file per test set.

    Args:
        folder: from `answer_folder`; None: the answers are only counted.
        answered: from `ask_sets`.
        settings: the prompt and the question of each set.
        model: base or tuned.
        environment: returns the environment of the model, after its first answer.

    Returns:
        The number of answers by test set.
    """
    counts = {}
    for name, parts in groupby(answered, key=lambda window: window[0]):
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
    """Add the answers in another evaluation setting as columns to the files that `write_sets` wrote.

    Args:
        folder: as for `write_sets`.
        answered: from `ask_sets`, for the same cases in windows of the same size.
        setting: prefix of the columns.
    """
    import pyarrow.parquet as pq

    for name, parts in groupby(answered, key=lambda window: window[0]):
        if folder is None:
            for _ in parts:
                pass
            continue
        path = folder / f"{name}.parquet"
        with pq.ParquetFile(path) as file, answers_writer(path, about_predictions(path, file.schema_arrow)) as write:
            for number, (_, frame) in enumerate(parts):
                written = file.read_row_group(number).to_pandas()
                write(written.assign(**answers_of(setting, frame)))
