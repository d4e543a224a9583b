"""Read the results of an experiment, from a folder, or at a revision from Git and DVC's cache.

    files = revision_files("lr1e-4", kept)             # a DVC experiment, a branch, a tag, a commit
    files(Path("data/predictions/tuned/test.parquet")) # its path here, None if not available
    run = read_run("lr1e-4", files, 0.95, clustered=True)

Nothing is computed. Outputs that do not exist, or are in no reachable cache, are missing.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tunediff.commands.runs import PIPELINE, read_cost, stage_path
from tunediff.compare.board import Answered, Retained, reordered
from tunediff.compare.effects.transitions import change_interval
from tunediff.compare.pairs.label_order import Scored, log_probabilities
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields, Predictions
from tunediff.compare.verdict import Evaluated, Gain
from tunediff.data.cases import RIGHT
from tunediff.inputs.settings import HEADLINE
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import numbered_jsonl, read_json, read_text, shown
from tunediff.runtime.stage import PARAMS

# Maps a path of the project to the path where it can be read, or to None if it is not available.
Files = Callable[[Path], Path | None]
GAIN = ("gain_over_baseline", "gain_over_baseline_low", "gain_over_baseline_high")


def folder_files(folder: Path) -> Files:
    """Return the files of a project in a folder."""

    def find(path: Path) -> Path | None:
        found = folder / path
        return found if found.exists() else None

    return find


def revision_files(revision: str, kept: Path) -> Files:
    """Return the files of the current project at a revision, from Git and from DVC's cache.

    Args:
        revision: a DVC experiment, or a branch, tag or commit of Git.
        kept: an empty folder for the files that are read.

    Raises:
        TunediffError: there is no such revision, or no DVC project here.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        files = DVCFileSystem(Repo(".", rev=revision))
        exists = files.exists(str(PIPELINE))
    except (DvcException, OSError) as error:
        raise TunediffError(
            f"{revision}: is neither a file, a folder, a Git revision nor an experiment: {one_line(error)}"
        ) from None
    if not exists:
        raise TunediffError(f"{revision}: has no {PIPELINE}, expected a revision of a tunediff project")

    def find(path: Path) -> Path | None:
        target = kept / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if not files.isfile(path.as_posix()):
                    return None
                files.get_file(path.as_posix(), str(target))
            except (DvcException, OSError):  # tracked, but in no reachable cache
                target.unlink(missing_ok=True)
                return None
        return target

    return find


@contextmanager
def kept_files() -> Iterator[Callable[[], Path]]:
    """Yield a function that makes temporary folders for the files of revisions, removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="tunediff-board-") as folder:
        yield lambda: Path(tempfile.mkdtemp(dir=folder))


def experiments() -> list[str]:
    """Return the names of the DVC experiments derived from the current commit.

    Raises:
        TunediffError: there is no DVC project here.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(".") as repo:
            found = repo.experiments.ls()
    except (DvcException, OSError) as error:
        raise TunediffError(
            f"board: found no DVC project here, expected one, or runs by name: {one_line(error)}"
        ) from None
    return sorted(name for ours in found.values() for name, _ in ours)


def read_run(name: str, files: Files, confidence: float, clustered: bool) -> Answered:
    """Read the answers of an experiment's tuned model, and its other results.

    Args:
        name: name of the run.
        files: files of the experiment.
        confidence: level of the intervals on other test sets.
        clustered: whether to read the test set too, for the clusters of its cases.

    Raises:
        TunediffError: the predictions are not available, or a file is invalid.
    """
    pipeline = _needed(name, files, PIPELINE)
    parameters = flat(_yaml(_needed(name, files, PARAMS)))
    tuned = _predictions(name, files, pipeline, "tuned", HEADLINE)
    base = _predictions(name, files, pipeline, "base", HEADLINE)
    if clustered:
        tuned = tuned._replace(
            frame=_with_sources(tuned.frame, files, pipeline, HEADLINE, _source(parameters, HEADLINE))
        )
    return Answered(
        name,
        tuned.frame,
        tuned.kind.words.measure,
        parameters,
        base.frame,
        over_baseline=_over_baseline(files, pipeline),
        retained={
            one: _retained(name, files, pipeline, one, parameters, confidence)
            for one in sorted({key.split(".")[1] for key in parameters if key.startswith("also.")})
        },
        seconds=_seconds(files, pipeline),
    )


def file_run(name: str, parts: Iterator[Predictions]) -> Answered:
    """Return a prediction file, in the chunks of `read_predictions`, as a run.

    Raises:
        TunediffError: see `read_predictions`.
    """
    found = joined(parts)
    return Answered(name, found.frame, found.kind.words.measure)


def joined(parts: Iterator[Predictions]) -> Predictions:
    """Join the chunks of a file, keeping the columns that a board needs, and the confidence if there are scores."""
    found = list(parts)
    names = ["case_id", "label", "outcome", "prediction", "prompt_hash", "scorer"]
    names += ["cluster"] if "cluster" in found[0].frame else []
    frame = pd.concat([part.frame[names] for part in found], ignore_index=True)
    scores = [part.scores for part in found if part.scores is not None]
    if len(scores) == len(found) and len({one.shape[1] for one in scores}) == 1:
        table = np.concatenate(scores)
        scored = Scored(table.shape[1], found[0].labels)
        scored.look(table, frame["prediction"])
        frame = frame.assign(confidence=np.exp(log_probabilities(table, scored.probable)).max(axis=1))
    return found[0]._replace(frame=frame, scores=None)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted names: {"train": {"seed": 1}} becomes {"train.seed": 1}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def _needed(name: str, files: Files, path: Path) -> Path:
    found = files(path)
    if found is None:
        raise TunediffError(
            f"{name}: {path}: is neither in the project nor in a reachable cache; dvc repro computes it, "
            "dvc pull fetches it"
        )
    return found


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise TunediffError(f"{path}: is not YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise TunediffError(f"{path}: found {shown(values)}, expected a mapping of parameters")
    return values


def _predictions(name: str, files: Files, pipeline: Path, model: str, set_name: str) -> Predictions:
    path = stage_path(f"eval_{model}", "predictions", pipeline) / f"{set_name}.parquet"
    return joined(read_predictions(_needed(name, files, path), Fields()))


def _with_sources(frame: pd.DataFrame, files: Files, pipeline: Path, set_name: str, source: str) -> pd.DataFrame:
    """The answers with the source text of each case as its cluster, if the test set is available."""
    path = files(stage_path("predict_base", "test-sets", pipeline) / f"{set_name}.jsonl")
    if path is None:
        return frame
    texts = {str(row.get("case_id")): row.get(source) for _, row in numbered_jsonl(path)}
    return frame.assign(cluster=frame["case_id"].map(texts))


def set_changes(name: str, files: Files, pipeline: Path, set_name: str, source: str) -> Evaluated:
    """Return the changes on a test set.

    Args:
        name: name of the experiment for error messages.
        files: files of the experiment.
        pipeline: path of its dvc.yaml.
        set_name: name of the test set.
        source: the input that forms clusters.

    Raises:
        TunediffError: predictions are not available, or do not belong together.
    """
    tuned, base = (_predictions(name, files, pipeline, model, set_name).frame for model in ("tuned", "base"))
    base = _with_sources(base, files, pipeline, set_name, source)
    after = reordered(f"{name}, base, {set_name}", base, f"{name}, tuned, {set_name}", tuned)
    before, now = ((frame["outcome"] == RIGHT).to_numpy(dtype=bool) for frame in (base, after))
    return Evaluated(now.astype(np.int64) - before, base.get("cluster"))


def _retained(
    name: str, files: Files, pipeline: Path, set_name: str, parameters: Mapping[str, Any], confidence: float
) -> Retained:
    change, clusters = set_changes(name, files, pipeline, set_name, _source(parameters, set_name))
    low, high = change_interval(change, confidence, clusters)
    difference = Gain(float(change.mean()), low, high)
    return Retained(len(change), int((change < 0).sum()), int((change > 0).sum()), difference)


def _source(parameters: Mapping[str, Any], set_name: str) -> str:
    own_key = f"also.{set_name}.task.source_input"
    return str(parameters.get(own_key if own_key in parameters else "task.source_input"))


def _over_baseline(files: Files, pipeline: Path) -> Gain | None:
    path = files(stage_path("diff_cases", "metrics", pipeline))
    metrics = read_json(path) if path else None
    found = [metrics.get(key) if isinstance(metrics, dict) else None for key in GAIN]
    known = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    return Gain(*known) if len(known) == len(GAIN) else None


def _seconds(files: Files, pipeline: Path) -> float | None:
    """Seconds of training, including the stage features; None if unknown."""
    costs = [files(stage_path(stage, "cost", pipeline)) for stage in ("features", "train")]
    known = [cost for cost in (read_cost(path) for path in costs if path) if cost]
    return sum(float(cost["seconds"]) for cost in known) if len(known) == len(costs) else None
