"""Load the results of the other stages, and check that they belong together.

    results = read_results({"prepare": Path("metrics/prepare.json"), ...}, task, params.diff.confidence, params.cost)
    results.diff_cases["accuracy_delta"]       # 0.47

All figures of the report come from these files; `Results.sources` names the file of each. Anything that was not
requested (`diff.*` of params.yaml) or does not exist (training, if only two prediction files are compared) is empty.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.compare.effects.differences import Difference
from tunediff.compare.effects.retention import KEYS
from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.compare.raised import Models, Raised
from tunediff.config.cost import Cost
from tunediff.data.cases import MODELS
from tunediff.data.schemas import TABLES as SCHEMAS
from tunediff.data.schemas import names
from tunediff.models.parameters import ParameterRow
from tunediff.report.side_metrics import KINDS, run_hash, side_metrics
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import numbered_jsonl, read_json, read_text, shown, visible
from tunediff.tasks.task import Task

Metrics = Mapping[str, float]
Record = Mapping[str, Any]

# The earlier stages in the order of the pipeline. The cost of each is in metrics/cost/STAGE.json.
STAGES = (
    *("prepare", "base_model", "count_params", "predict_base", "eval_base", "features", "train", "predict_tuned"),
    *("eval_tuned", "diff_cases"),
)
# Stages that write their environment.
WITH_MODEL = ("predict_base", "train", "predict_tuned")

METRICS = {
    "base_model": (),  # perplexity and the like where it was trained from scratch
    "prepare": ("test_n", "dropped_unlabelled", "dropped_shared_sources"),
    "count_params": (
        *("base_total", "removed", "head_added", "base_with_head_total", "adapter_added", "tuned_total"),
        "packed_total",
    ),
    "eval_base": (),  # and the figures of the task
    "eval_tuned": (),
    "train": (),
    "diff_cases": (
        *("n", *TRANSITIONS, "accuracy_base", "accuracy_tuned"),
        *("accuracy_delta", "accuracy_delta_low", "accuracy_delta_high", "mcnemar_p"),
    ),
    "baselines": (),
    "calibration": (),
}
# Further columns of train_log.csv if a classification head was trained: on the validation split, shares in 0..1.
EPOCH_COLUMNS = ("validation_accuracy", "validation_precision", "validation_recall", "validation_f1")
# Present only if the model was trained by the pipeline.
TRAINING_KEYS = {
    "prepare": (
        *("train_n", "validation_n"),
        *("leaked_pairs", "shared_sources", "shared_partial_inputs", "near_duplicates"),
    ),
    "count_params": ("trainable", "trainable_percent", "packed_trainable_percent"),
    "train": ("epochs", "steps", "train_loss", "validation_loss"),
}
TABLES = {
    "pretrain_log": ("epoch", "step", "train_loss", "perplexity", "mlm_accuracy", "nsp_accuracy"),
    "train_log": ("epoch", "step", "train_loss", "validation_loss"),
    "parameters": ParameterRow._fields,
}
# In the folder of plots; missing if not requested.
PLOTS = {
    **{name: names(SCHEMAS[name]) for name in ("gain", "slices", "reliability", "coverage")},
    "worth": ("baseline", "accuracy", "gain", "low", "high"),
    **{name: names(SCHEMAS[name]) for name in ("contamination", "differences", "labels")},
    "retention": ("set", "measure", *KEYS, "p_holm"),
}
PLOTS["retention_slices"] = ("set", *PLOTS["slices"])
WORDS = {
    *("transition", "family", "value", "model", "baseline", "metric", "label", "set", "measure"),
    *("module", "parameter", "part", "kind", "shape", "dtype", "trainable"),
}
SOURCES = (*METRICS, *TABLES, "plots", "cases", "checks", "environments", "costs")


class Cell(NamedTuple):
    """The number of cases with one gold label and the same two answers; an answer without a label is None."""

    label: str
    before: str | None
    after: str | None
    cases: int


class Flow(NamedTuple):
    """The number of cases by outcome before and after: right, wrong or invalid."""

    before: str
    after: str
    transition: str
    cases: int


@dataclass(frozen=True)
class Results:
    """Metrics by key, tables as rows, and the file that each comes from.

    diff_cases, cases and flows are always present. Free-text predictions have no cells, and two prediction files have
    no results of other stages.
    """

    task: Task
    confidence: float  # level of every interval, in 0.5..1; one minus it is the level of the test
    diff_cases: Metrics
    cases: Sequence[Record]  # one row per case: all of them, or as many as the page shows
    flows: Sequence[Flow]
    cells: Sequence[Cell] = ()
    source_texts: int | None = None  # number of distinct source texts, such as premises
    models: Models = field(default_factory=Models)
    differences: Sequence[Difference] = ()
    base_model: Metrics = field(default_factory=dict)
    prepare: Metrics = field(default_factory=dict)
    count_params: Metrics = field(default_factory=dict)
    eval_base: Metrics = field(default_factory=dict)
    eval_tuned: Metrics = field(default_factory=dict)
    train: Metrics = field(default_factory=dict)  # empty, like train_log, if the model was not trained here
    baselines: Metrics = field(default_factory=dict)
    calibration: Metrics = field(default_factory=dict)
    pretrain_log: Sequence[Record] = ()  # one row per epoch; a decoder has no accuracies: None
    # One row per epoch, with EPOCH_COLUMNS for labels; a loss that was not measured is None.
    train_log: Sequence[Record] = ()
    parameters: Sequence[Record] = ()  # one row per tensor
    gain: Sequence[Record] = ()  # one row per part
    labels: Sequence[Record] = ()  # one row per label and metric
    slices: Sequence[Record] = ()  # one row per slice; p, q, delta_rest and departure may be None
    reliability: Sequence[Record] = ()  # one row per model and bin
    coverage: Sequence[Record] = ()  # one row per model and share of cases answered
    worth: Sequence[Record] = ()  # one row per baseline
    contamination: Sequence[Record] = ()  # one row per transition
    retention: Sequence[Record] = ()  # one row per further test set; None: not measured
    retention_slices: Sequence[Record] = ()  # one row per slice of a further test set
    controls: Record = field(default_factory=dict)  # results of `tunediff controls` for this run, if any
    checkpoints: Record = field(default_factory=dict)  # results of `tunediff checkpoints`
    perplexity: Record = field(default_factory=dict)  # results of `tunediff perplexity`
    clean: Metrics = field(default_factory=dict)  # without the cases that training has seen
    checks: Sequence[Raised] = ()
    price: Cost = field(default_factory=Cost)
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # software and hardware by stage
    loaded: Mapping[str, Record] = field(default_factory=dict)  # results of `tunediff.models.inspection` by stage
    costs: Mapping[str, Record] = field(default_factory=dict)  # seconds, peak_memory_bytes and device by stage
    sources: Mapping[str, str] = field(default_factory=dict)  # path by field name

    @property
    def untrained_head(self) -> bool:
        """Whether the base model has an untrained head; False if unknown."""
        return self.loaded.get("predict_base", {}).get("head") == "new"


def read_results(paths: Mapping[str, Path], task: Task, confidence: float, price: Cost) -> Results:
    """Read the results that the report shows.

    Args:
        paths: a path for each name in `SOURCES`; `costs` and `environments` are folders with one file per stage,
            `plots` is a folder with the requested tables.
        task: the task of the cases.
        confidence: level of the intervals.
        price: price of an hour of the machine.

    Raises:
        TunediffError: a file or a key is missing, a value has the wrong type, or two files belong to different cases.
    """
    scores = [
        f"{stem}_{end}" for stem in task.scores for end in ("base", "tuned", "delta", "delta_low", "delta_high", "p")
    ]
    scores += [f"{stem}_{end}" for stem in task.traits for end in ("base", "tuned", "delta", "p")]
    needed = METRICS | {"diff_cases": (*METRICS["diff_cases"], *scores)}
    needed |= dict.fromkeys(("eval_base", "eval_tuned"), task.figures)
    if read_json(paths["train"]) != {}:
        needed |= {name: (*needed[name], *keys) for name, keys in TRAINING_KEYS.items()}
    if read_json(paths["count_params"]) == {}:  # empty if a server has one of the models
        needed["count_params"] = ()
    metrics: dict[str, Any] = {name: _metrics(paths[name], keys) for name, keys in needed.items()}
    run = run_hash(metrics["eval_base"], metrics["eval_tuned"])
    for name in ("eval_base", "eval_tuned"):
        metrics[name] |= task.accuracy(metrics[name])
    tables: dict[str, Any] = {
        name: _table(paths[name], columns, EPOCH_COLUMNS if name == "train_log" else ())
        for name, columns in TABLES.items()
    }
    _check_logs(paths, metrics, tables)
    environments = {stage: _environment(paths["environments"] / f"{stage}.json") for stage in WITH_MODEL}
    plots, plot_sources = _plots(paths["plots"], task)
    side: dict[str, Any] = {name: side_metrics(paths["diff_cases"].with_name(f"{name}.json"), run) for name in KINDS}
    cases = [_case(f"{paths['cases']}, row {number}", row, task) for number, row in numbered_jsonl(paths["cases"])]
    _check_same_cases(paths, metrics, cases)
    return Results(
        task,
        confidence,
        **metrics,
        **tables,
        **plots,
        **side,
        cases=cases,
        flows=flows_of(cases),
        cells=cells_of(cases, task) if len(task.labels) > 1 else (),
        source_texts=len({case[task.source_input] for case in cases}),
        checks=_checks(paths["checks"]),
        environments={stage: values for stage, (values, _) in environments.items() if values},
        loaded={stage: model for stage, (_, model) in environments.items() if model},
        costs={stage: _cost(paths["costs"] / f"{stage}.json") for stage in STAGES},
        price=price,
        sources={name: str(paths[name]) for name in SOURCES}
        | plot_sources
        | {name: str(paths["diff_cases"].with_name(f"{name}.json")) for name in KINDS if side[name]},
    )


def _check_logs(paths: Mapping[str, Path], metrics: Mapping[str, Metrics], tables: Mapping[str, Any]) -> None:
    """Check that logs have rows, unless the model was trained elsewhere (train log) or is on a server (parameters)."""
    trained = bool(metrics["train"])
    expected = {"pretrain_log": False, "train_log": trained, "parameters": bool(metrics["count_params"])}
    for name, rows in tables.items():
        if not rows and expected[name]:
            raise TunediffError(f"{paths[name]}: found no row, expected at least one")
    if tables["train_log"] and not trained:
        raise TunediffError(
            f"{paths['train']}: found no {', '.join(TRAINING_KEYS['train'])}, but {paths['train_log']} has rows; "
            "expected files of one run (dvc repro)"
        )


def cells_of(cases: Sequence[Record], task: Task) -> list[Cell]:
    """Count the cases by gold label and by the labels that the two answers stand for."""
    before, after = (task.classes(case[f"{who}_prediction"] for case in cases) for who in MODELS)
    counts = Counter(zip((case["label"] for case in cases), before, after, strict=True))
    return [Cell(*key, count) for key, count in counts.items()]


def flows_of(cases: Sequence[Record]) -> list[Flow]:
    """Count the cases by outcome before and after."""
    counts = Counter((*_outcomes(case), str(case["transition"])) for case in cases)
    return [Flow(*key, cases=count) for key, count in counts.items()]


def _outcomes(case: Record) -> tuple[str, str]:
    right = {"base": ("both_right", "broken"), "tuned": ("both_right", "repaired")}
    before, after = (
        "right" if case["transition"] in names else "invalid" if case[f"{who}_prediction"] is None else "wrong"
        for who, names in right.items()
    )
    return before, after


def _plots(folder: Path, task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """The available tables of `PLOTS` and the figures of clean cases, and the file of each."""
    found: dict[str, Any] = {}
    sources = {}
    for name, columns in PLOTS.items():
        path = folder / ("baselines.csv" if name == "worth" else f"{name}.csv")
        if path.exists():
            wanted = tuple(f"same_{one}" for one in task.leak_inputs) if name == "contamination" else ()
            found[name], sources[name] = _table(path, columns, wanted), str(path)
    if "differences" in found:
        found["differences"] = [Difference(**row) for row in found["differences"]]
    clean = folder / "contamination.json"
    if clean.exists():
        found["clean"], sources["clean"] = _metrics(clean, ()), str(clean)
    return found, sources


def _checks(path: Path) -> list[Raised]:
    rows, keys = read_json(path), Raised._fields
    if not isinstance(rows, list) or any(not isinstance(row, dict) or set(keys) - set(row) for row in rows):
        raise TunediffError(f"{path}: found {shown(rows)}, expected a list of objects with {', '.join(keys)}")
    return [Raised(*(row[key] for key in keys)) for row in rows]


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


def _environment(path: Path) -> tuple[dict[str, str], Record]:
    """The environment of a stage's model, and the result of its inspection; empty if the stage has no model."""
    read = read_json(path)
    if read == {}:
        return {}, {}
    served = isinstance(read, dict) and read.get("engine") == "server"
    values = _object(path, () if served else ("torch", "device"))
    model = values.pop("model", {})
    if not isinstance(model, dict):
        raise TunediffError(f"{path}: model: found {shown(model)}, expected an object")
    return {visible(str(name)): visible(str(value)) for name, value in values.items()}, model


def _object(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    values = read_json(path)
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise TunediffError(f"{path}: found no {', '.join(missing)}, expected the output of its stage (dvc repro)")
    return dict(values)


def _table(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a CSV file, with numbers parsed and empty cells as None."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = [*columns, *(column for column in optional if column in (reader.fieldnames or ()))]
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
        if values.get("model", "base") not in MODELS:
            raise TunediffError(f"{path}, row {number}: model: found {shown(row['model'])}, expected base or tuned")
        rows.append(values)
    return rows


def _case(place: str, case: Record, task: Task) -> Record:
    """The checked case, with invisible characters in its texts made visible."""
    for name in ("case_id", *task.inputs):
        if not isinstance(case.get(name), str):
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected text")
    if case.get("label") not in task.labels:
        expected = ", ".join(task.labels)
        raise TunediffError(f"{place}: label: found {shown(case.get('label'))}, expected one of {expected}")
    if case.get("transition") not in TRANSITIONS:
        raise TunediffError(
            f"{place}: transition: found {shown(case.get('transition'))}, expected one of {', '.join(TRANSITIONS)}"
        )
    checked = task.checked_record(case, place)
    marks = {name: [visible(str(mark)) for mark in case.get(name) or ()] for name in ("tags", "slices") if name in case}
    return {"tags": [], **checked, **{name: visible(case[name]) for name in task.inputs}, **marks}


def _check_same_cases(paths: Mapping[str, Path], metrics: Mapping[str, Metrics], cases: Sequence[Record]) -> None:
    found: dict[str, int] = {"n": len(cases), **Counter(str(case["transition"]) for case in cases)}
    expected = [("diff_cases", key) for key in ("n", *TRANSITIONS)] + [("eval_base", "n"), ("eval_tuned", "n")]
    for name, key in expected:
        if metrics[name][key] != found.get(key, 0):
            raise TunediffError(
                f"{paths['cases']}: found {found.get(key, 0)} cases ({key}), but {paths[name]} has "
                f"{metrics[name][key]}; expected files of one run (dvc repro)"
            )
    if not cases:
        raise TunediffError(f"{paths['cases']}: has no case, expected at least one")
