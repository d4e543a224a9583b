"""What the other stages found, loaded and checked to belong together.

    results = read_results({"prepare": Path("metrics/prepare.json"), ...}, labels, inputs, source_input="premise")
    results.diff_cases["accuracy_delta"]       # 0.47

The report has no figure of its own: each comes from one of these files, and `Results.sources` names it. What was not
asked for (`diff.*` of params.yaml) or does not exist (two prediction files know of no training) is empty here.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.compare.transitions import TRANSITIONS
from tunediff.errors import TunediffError
from tunediff.files import numbered_jsonl, read_json, read_text, shown
from tunediff.ledger import ParameterRow
from tunediff.report.notation import visible

if TYPE_CHECKING:
    from tunediff.compare.differences import Difference

Metrics = Mapping[str, float]
Row = Mapping[str, Any]

# The stages before this one, in the order of the pipeline. A stage's cost is metrics/cost/STAGE.json.
STAGES = ("prepare", "base_model", "count_params", "eval_base", "train", "eval_tuned", "diff_cases")

_EVAL = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1"),
    *("invalid", "nll", "brier", "degenerate"),
)
METRICS = {
    "base_model": (),  # perplexity and the like where it was trained from scratch
    "prepare": (
        *("train_n", "validation_n", "test_n", "dropped_unlabelled", "dropped_shared_premises"),
        *("leaked_pairs", "shared_premises", "shared_hypotheses", "near_duplicates"),
    ),
    "count_params": (
        *("base_total", "removed", "head_added", "adapter_added", "tuned_total", "trainable", "trainable_percent"),
        *("packed_total", "packed_trainable_percent"),
    ),
    "eval_base": _EVAL,
    "eval_tuned": _EVAL,
    "train": ("epochs", "steps", "train_loss", "validation_loss"),
    "diff_cases": (
        *("n", *TRANSITIONS, "accuracy_base", "accuracy_tuned"),
        *("accuracy_delta", "accuracy_delta_low", "accuracy_delta_high", "mcnemar_p"),
    ),
    "baselines": ("majority_accuracy",),
    "calibration": (),
}
TABLES = {
    "pretrain_log": ("epoch", "step", "train_loss", "perplexity", "mlm_accuracy", "nsp_accuracy"),
    "train_log": ("epoch", "step", "train_loss", "validation_loss"),
    "parameters": ParameterRow._fields,
}
# In the folder of plots: there where the evidence was asked for.
PLOTS = {
    "gain": ("part", "cases", "points", "low", "high"),
    "slices": (
        *("family", "value", "n", "accuracy_base", "accuracy_tuned", "delta", "low", "high"),
        *("repaired", "broken", "p", "q", "delta_rest", "departure"),
    ),
    "reliability": ("model", "bin", "cases", "confidence", "accuracy", "low", "high"),
    "coverage": ("model", "coverage", "cases", "threshold", "accuracy"),
    "worth": ("baseline", "accuracy", "gain", "low", "high"),
    "contamination": ("transition", "cases", "same_inputs", "near_duplicates", "clean"),
}
WORDS = {
    *("transition", "family", "value", "model", "baseline"),
    *("module", "parameter", "part", "kind", "shape", "dtype", "trainable"),
}
SOURCES = (*METRICS, *TABLES, "plots", "cases", "costs")


class Models(NamedTuple):
    """How the sentences call the two models and what lies between them."""

    base: str = "base model"
    tuned: str = "tuned model"
    change: str = "fine-tuning"


class Shape(NamedTuple):
    """What a case is where no params.yaml says so: its inputs and its labels, as far as they are known."""

    inputs: Sequence[str]
    labels: Sequence[str]
    source_input: str  # what several cases may share
    premise_free_input: str


class Cell(NamedTuple):
    """Cases of one gold label that got the same two answers; an answer that names no label is None."""

    label: str
    before: str | None
    after: str | None
    cases: int


class Flow(NamedTuple):
    """Cases by their outcome before and after: right, wrong or invalid."""

    before: str
    after: str
    transition: str
    cases: int


@dataclass(frozen=True)
class Results:
    """Metrics by key, tables as rows, and the file that each came from.

    Always there: diff_cases, cases, flows. Of predictions in words there are no cells, and of two prediction files
    nothing that only a pipeline knows.
    """

    diff_cases: Metrics
    cases: Sequence[Row]  # a row a case: all of them, or as many as the page has room for
    flows: Sequence[Flow]
    cells: Sequence[Cell] = ()
    source_texts: int | None = None  # different texts that the cases are about, such as premises
    models: Models = field(default_factory=Models)
    differences: "Sequence[Difference]" = ()
    base_model: Metrics = field(default_factory=dict)
    prepare: Metrics = field(default_factory=dict)
    count_params: Metrics = field(default_factory=dict)
    eval_base: Metrics = field(default_factory=dict)
    eval_tuned: Metrics = field(default_factory=dict)
    train: Metrics = field(default_factory=dict)
    baselines: Metrics = field(default_factory=dict)
    calibration: Metrics = field(default_factory=dict)
    pretrain_log: Sequence[Row] = ()  # a row an epoch; a decoder has no accuracies: None
    train_log: Sequence[Row] = ()  # a row an epoch; a loss that was not measured is None
    parameters: Sequence[Row] = ()  # a row a tensor
    gain: Sequence[Row] = ()  # a row a part
    slices: Sequence[Row] = ()  # a row a slice; p, q, delta_rest and departure may be None
    reliability: Sequence[Row] = ()  # a row a model and bin
    coverage: Sequence[Row] = ()  # a row a model and share of cases answered
    worth: Sequence[Row] = ()  # a row a baseline
    contamination: Sequence[Row] = ()  # a row a transition
    clean: Metrics = field(default_factory=dict)  # without the cases that training has seen
    alarms: Sequence[Row] = ()
    costs: Mapping[str, Row] = field(default_factory=dict)  # seconds, peak_memory_bytes and device by stage
    sources: Mapping[str, str] = field(default_factory=dict)  # path by field name


def read_results(paths: Mapping[str, Path], labels: Sequence[str], inputs: Sequence[str], source_input: str) -> Results:
    """Read what the report shows.

    Args:
        paths: a file for each name in `SOURCES`; `costs` is a folder with a file per stage, `plots` one with the
            tables that were asked for.
        labels: the label list of the task.
        inputs: names of the input fields of a case.
        source_input: the input that several cases may share.

    Raises:
        TunediffError: a file or a key is missing, a value is of the wrong kind, or two files tell of different
            cases.
    """
    metrics: dict[str, Any] = {name: _metrics(paths[name], keys) for name, keys in METRICS.items()}
    tables: dict[str, Any] = {name: _table(paths[name], columns) for name, columns in TABLES.items()}
    for name, rows in tables.items():
        if not rows and name != "pretrain_log":  # which is empty where others trained the base
            raise TunediffError(f"{paths[name]}: found no row, expected at least one")
    plots, plot_sources = _plots(paths["plots"])
    cases = [
        _case(f"{paths['cases']}, row {number}", row, labels, inputs) for number, row in numbered_jsonl(paths["cases"])
    ]
    _check_same_cases(paths, metrics, cases)
    return Results(
        **metrics,
        **tables,
        **plots,
        cases=cases,
        flows=flows_of(cases),
        cells=cells_of(cases),
        source_texts=len({case[source_input] for case in cases}),
        costs={stage: _cost(paths["costs"] / f"{stage}.json") for stage in STAGES},
        sources={name: str(paths[name]) for name in SOURCES} | plot_sources,
    )


def cells_of(cases: Sequence[Row]) -> list[Cell]:
    """Return the cases counted by gold label and the two answers."""
    counts = Counter((case["label"], case["base_prediction"], case["tuned_prediction"]) for case in cases)
    return [Cell(*key, cases=count) for key, count in counts.items()]


def flows_of(cases: Sequence[Row]) -> list[Flow]:
    """Return the cases counted by outcome before and after."""
    counts = Counter((*_outcomes(case), str(case["transition"])) for case in cases)
    return [Flow(*key, cases=count) for key, count in counts.items()]


def _outcomes(case: Row) -> tuple[str, str]:
    right = {"base": ("both_right", "broken"), "tuned": ("both_right", "repaired")}
    before, after = (
        "right" if case["transition"] in names else "invalid" if case[f"{who}_prediction"] is None else "wrong"
        for who, names in right.items()
    )
    return before, after


def _plots(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What there is of `PLOTS`, the alarms and the figures of clean cases, and the file that each came from."""
    found: dict[str, Any] = {}
    sources = {}
    for name, columns in PLOTS.items():
        path = folder / ("baselines.csv" if name == "worth" else f"{name}.csv")
        if path.exists():
            found[name], sources[name] = _table(path, columns), str(path)
    clean, alarms = folder / "contamination.json", folder / "alarms.json"
    if clean.exists():
        found["clean"], sources["clean"] = _metrics(clean, ()), str(clean)
    if alarms.exists():
        found["alarms"], sources["alarms"] = _list(alarms, ("name", "sentence")), str(alarms)
    return found, sources


def _list(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list) or any(not isinstance(row, dict) or set(keys) - set(row) for row in rows):
        raise TunediffError(f"{path}: found {shown(rows)}, expected a list of objects with {', '.join(keys)}")
    return rows


def _metrics(path: Path, keys: Sequence[str]) -> dict[str, float]:
    values = _object(path, keys)
    for key in keys or values:
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
    rows = []
    for number, row in enumerate(reader, start=1):
        values: dict[str, Any] = {column: visible(row[column] or "") for column in columns if column in WORDS}
        for column in (name for name in columns if name not in WORDS):
            try:
                values[column] = float(row[column]) if row[column] else None
            except ValueError:
                raise TunediffError(
                    f"{path}, row {number}: {column}: found {shown(row[column])}, expected a number"
                ) from None
        if values.get("model", "base") not in ("base", "tuned"):
            raise TunediffError(f"{path}, row {number}: model: found {shown(row['model'])}, expected base or tuned")
        rows.append(values)
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
    for name in ("base_margin", "tuned_margin"):
        if not isinstance(case.get(name, 0.0), int | float) or not math.isfinite(case.get(name, 0.0)):
            raise TunediffError(f"{place}: {name}: found {shown(case[name])}, expected a number of nats")
    marks = {name: [visible(str(mark)) for mark in case.get(name) or ()] for name in ("tags", "slices") if name in case}
    return {"tags": [], **case, **{name: visible(case[name]) for name in inputs}, **marks}


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
