"""What the other stages wrote, loaded and checked to belong together.

    results = read_results({"prepare": Path("metrics/prepare.json"), ...}, labels, inputs)
    results.diff_cases["accuracy_delta"]       # 0.47

The report has no figure of its own: each comes from one of these files, and `Results.sources` names it.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunediff.compare.transitions import TRANSITIONS
from tunediff.errors import TunediffError
from tunediff.files import read_json, read_jsonl, read_text, shown
from tunediff.report.notation import visible

Metrics = Mapping[str, float]
Row = Mapping[str, Any]

# The stages before this one, in the order of the pipeline. A stage's cost is metrics/cost/STAGE.json.
STAGES = ("prepare", "base_model", "count_params", "eval_base", "train", "eval_tuned", "diff_cases")

_EVAL = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1"),
    *("invalid", "nll", "brier", "degenerate"),
)
METRICS = {
    "prepare": (
        *("train_n", "validation_n", "test_n", "dropped_unlabelled", "dropped_shared_premises"),
        *("leaked_pairs", "shared_premises", "shared_hypotheses", "near_duplicates"),
    ),
    "count_params": (
        *("base_total", "tuned_total", "trainable", "trainable_percent"),
        *("packed_total", "packed_trainable_percent"),
    ),
    "eval_base": _EVAL,
    "eval_tuned": _EVAL,
    "train": ("epochs", "steps", "train_loss", "validation_loss"),
    "diff_cases": (
        *("n", *TRANSITIONS, "accuracy_base", "accuracy_tuned"),
        *("accuracy_delta", "accuracy_delta_low", "accuracy_delta_high", "mcnemar_p"),
    ),
    "baselines": ("majority_accuracy", "premise_free_accuracy"),
}
TABLES = {
    "train_log": ("epoch", "step", "train_loss", "validation_loss"),
    "parameters": ("module", "part", "dtype", "base", "tuned", "stored", "bytes", "trainable"),
}
SOURCES = (*METRICS, *TABLES, "cases", "costs")


@dataclass(frozen=True)
class Results:
    """The other stages' results: metrics by key, tables as rows, and the file that each came from."""

    prepare: Metrics
    count_params: Metrics
    eval_base: Metrics
    eval_tuned: Metrics
    train: Metrics
    diff_cases: Metrics
    baselines: Metrics
    train_log: Sequence[Row]  # a row an epoch; a loss that was not measured is None
    parameters: Sequence[Row]  # a row a tensor
    cases: Sequence[Row]  # a row a test case
    costs: Mapping[str, Row]  # seconds, peak_memory_bytes and device by stage
    sources: Mapping[str, str]  # path by field name


def read_results(paths: Mapping[str, Path], labels: Sequence[str], inputs: Sequence[str]) -> Results:
    """Read what the report shows.

    Args:
        paths: a file for each name in `SOURCES`; `costs` is a folder with a file per stage.
        labels: the label list of the task.
        inputs: names of the input fields of a case.

    Raises:
        TunediffError: a file or a key is missing, a value is of the wrong kind, or two files tell of different
            cases.
    """
    metrics: dict[str, Any] = {name: _metrics(paths[name], keys) for name, keys in METRICS.items()}
    tables: dict[str, Any] = {name: _table(paths[name], columns) for name, columns in TABLES.items()}
    cases = [
        _case(f"{paths['cases']}, row {number}", row, labels, inputs)
        for number, row in enumerate(read_jsonl(paths["cases"]), start=1)
    ]
    _check_same_cases(paths, metrics, cases)
    costs = {stage: _cost(paths["costs"] / f"{stage}.json") for stage in STAGES}
    sources = {name: str(paths[name]) for name in SOURCES}
    return Results(**metrics, **tables, cases=cases, costs=costs, sources=sources)


def _metrics(path: Path, keys: Sequence[str]) -> dict[str, float]:
    values = _object(path, keys)
    for key in keys:
        if isinstance(values[key], bool) or not isinstance(values[key], int | float):
            raise TunediffError(f"{path}: {key}: found {shown(values[key])}, expected a number")
    return values


def _cost(path: Path) -> dict[str, Any]:
    values = _object(path, ("seconds", "peak_memory_bytes", "device"))
    _metrics(path, ("seconds", "peak_memory_bytes"))
    return values


def _object(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    values = read_json(path)
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise TunediffError(f"{path}: found no {', '.join(missing)}, expected the output of its stage (dvc repro)")
    return dict(values)


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a CSV file: numbers as numbers, an empty cell as None."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise TunediffError(f"{path}: found no column {', '.join(missing)}, expected {', '.join(columns)}")
    words = {"module", "part", "dtype", "trainable"}
    rows = []
    for number, row in enumerate(reader, start=1):
        values: dict[str, Any] = {column: row[column] for column in columns if column in words}
        for column in (name for name in columns if name not in words):
            try:
                values[column] = float(row[column]) if row[column] else None
            except ValueError:
                raise TunediffError(
                    f"{path}, row {number}: {column}: found {shown(row[column])}, expected a number"
                ) from None
        rows.append(values)
    if not rows:
        raise TunediffError(f"{path}: found no row, expected at least one")
    return rows


def _case(place: str, case: Row, labels: Sequence[str], inputs: Sequence[str]) -> Row:
    """The case once checked, its text made visible."""
    for name in ("case_id", *inputs):
        if not isinstance(case.get(name), str):
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected text")
    if case.get("label") not in labels:
        raise TunediffError(f"{place}: label: found {shown(case.get('label'))}, expected one of {', '.join(labels)}")
    for name in ("base_prediction", "tuned_prediction"):
        if case.get(name, "") not in (None, *labels):
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected null or a label")
    if case.get("transition") not in TRANSITIONS:
        raise TunediffError(
            f"{place}: transition: found {shown(case.get('transition'))}, expected one of {', '.join(TRANSITIONS)}"
        )
    for name in ("base_log_probs", "tuned_log_probs"):
        scores = case.get(name)
        numbers = [score for score in scores if isinstance(score, int | float)] if isinstance(scores, list) else []
        if len(numbers) != len(labels) or not all(map(math.isfinite, numbers)):
            raise TunediffError(f"{place}: {name}: found {shown(scores)}, expected {len(labels)} numbers, one a label")
    tags = [visible(str(tag)) for tag in case.get("tags") or ()]
    return {**case, **{name: visible(case[name]) for name in inputs}, "tags": tags}


def _check_same_cases(paths: Mapping[str, Path], metrics: Mapping[str, Metrics], cases: Sequence[Row]) -> None:
    found: dict[str, int] = {"n": len(cases), **Counter(str(case["transition"]) for case in cases)}
    expected = [("diff_cases", key) for key in ("n", *TRANSITIONS)] + [("eval_base", "n"), ("eval_tuned", "n")]
    for name, key in expected:
        if metrics[name][key] != found.get(key, 0):
            raise TunediffError(
                f"{paths['cases']}: found {found.get(key, 0)} cases ({key}), but {paths[name]} says "
                f"{metrics[name][key]}; expected files of one run (dvc repro)"
            )
    if not cases:
        raise TunediffError(f"{paths['cases']}: has no case, expected at least one")
