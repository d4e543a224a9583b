"""What the other stages found, loaded and checked to belong together.

    results = read_results({"prepare": Path("metrics/prepare.json"), ...}, params.task)
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
from typing import Any, NamedTuple

from tunediff.compare.effects.differences import Difference
from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.config.task import QUESTION_ANSWERING, Task
from tunediff.data.cases import answered
from tunediff.models.parameters import ParameterRow
from tunediff.runtime.files import visible
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import numbered_jsonl, read_json, read_text, shown

Metrics = Mapping[str, float]
Row = Mapping[str, Any]

# The stages before this one, in the order of the pipeline. A stage's cost is metrics/cost/STAGE.json.
STAGES = ("prepare", "base_model", "count_params", "eval_base", "features", "train", "eval_tuned", "diff_cases")
# Those that write what they computed with.
WITH_MODEL = ("eval_base", "train", "eval_tuned")

_EVAL = (
    *("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1"),
    *("invalid", "nll", "brier", "degenerate"),
)
METRICS = {
    "base_model": (),  # perplexity and the like where it was trained from scratch
    "prepare": (
        *("train_n", "validation_n", "test_n", "dropped_unlabelled", "dropped_shared_sources"),
        *("leaked_pairs", "shared_sources", "shared_partial_inputs", "near_duplicates"),
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
# What differs where the cases are questions; exact match is in 0..100 there, as in SQuAD's own script.
ANSWER_METRICS = {
    "eval_base": ("n", "exact", "exact_low", "exact_high", "f1", "invalid"),
    "eval_tuned": ("n", "exact", "exact_low", "exact_high", "f1", "invalid"),
    "diff_cases": (*METRICS["diff_cases"], "f1_base", "f1_tuned", "f1_delta", "f1_delta_low", "f1_delta_high", "f1_p"),
    "baselines": ("base_accuracy",),
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
    "differences": ("metric", "base", "tuned", "delta", "low", "high", "p", "p_holm"),
}
# Columns of theirs that only questions have.
ANSWER_COLUMNS = {"contamination": ("same_context", "same_question")}
WORDS = {
    *("transition", "family", "value", "model", "baseline", "metric"),
    *("module", "parameter", "part", "kind", "shape", "dtype", "trainable"),
}
PREDICTIONS = ("base_prediction", "tuned_prediction")
SOURCES = (*METRICS, *TABLES, "plots", "cases", "environments", "costs")


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
    partial_input: str


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
    differences: Sequence[Difference] = ()
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
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # what a stage's model computed with
    costs: Mapping[str, Row] = field(default_factory=dict)  # seconds, peak_memory_bytes and device by stage
    sources: Mapping[str, str] = field(default_factory=dict)  # path by field name

    @property
    def of_questions(self) -> bool:
        """Whether the cases are questions, which a model answers in words of the text."""
        return "f1_delta" in self.diff_cases

    @property
    def measure(self) -> str:
        """What the share of right cases is called."""
        return "exact match" if self.of_questions else "accuracy"


def read_results(paths: Mapping[str, Path], task: Task) -> Results:
    """Read what the report shows.

    Args:
        paths: a file for each name in `SOURCES`; `costs` and `environments` are folders with a file per stage, `plots`
            one with the tables that were asked for.
        task: names of labels and input fields.

    Raises:
        TunediffError: a file or a key is missing, a value is of the wrong kind, or two files tell of different
            cases.
    """
    asked = task.name == QUESTION_ANSWERING
    needed = METRICS | (ANSWER_METRICS if asked else {})
    metrics: dict[str, Any] = {name: _metrics(paths[name], keys) for name, keys in needed.items()}
    for name in ("eval_base", "eval_tuned") if asked else ():
        metrics[name] |= {f"accuracy{end}": metrics[name][f"exact{end}"] / 100 for end in ("", "_low", "_high")}
    tables: dict[str, Any] = {name: _table(paths[name], columns) for name, columns in TABLES.items()}
    for name, rows in tables.items():
        if not rows and name != "pretrain_log":  # which is empty where others trained the base
            raise TunediffError(f"{paths[name]}: found no row, expected at least one")
    plots, plot_sources = _plots(paths["plots"])
    cases = [_case(f"{paths['cases']}, row {number}", row, task) for number, row in numbered_jsonl(paths["cases"])]
    _check_same_cases(paths, metrics, cases)
    return Results(
        **metrics,
        **tables,
        **plots,
        cases=cases,
        flows=flows_of(cases),
        # Of questions that all have an answer there is nothing to confuse.
        cells=cells_of(cases) if len(task.labels) > 1 else (),
        source_texts=len({case[task.source_input] for case in cases}),
        environments={stage: _environment(paths["environments"] / f"{stage}.json") for stage in WITH_MODEL},
        costs={stage: _cost(paths["costs"] / f"{stage}.json") for stage in STAGES},
        sources={name: str(paths[name]) for name in SOURCES} | plot_sources,
    )


def cells_of(cases: Sequence[Row]) -> list[Cell]:
    """Return the cases counted by gold label and the two answers; of questions, by whether there is an answer."""
    counts = Counter((case["label"], *(_as_label(case, name) for name in PREDICTIONS)) for case in cases)
    return [Cell(label, before, after, count) for (label, before, after), count in counts.items()]


def _as_label(case: Row, name: str) -> str | None:
    given: str | None = case[name]
    return answered(given) if "base_f1" in case else given


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
            found[name], sources[name] = _table(path, columns, ANSWER_COLUMNS.get(name, ())), str(path)
    if "differences" in found:
        found["differences"] = [Difference(**row) for row in found["differences"]]
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


def _environment(path: Path) -> dict[str, str]:
    values = _object(path, ("torch", "device"))
    return {visible(str(name)): visible(str(value)) for name, value in values.items()}


def _object(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    values = read_json(path)
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise TunediffError(f"{path}: found no {', '.join(missing)}, expected the output of its stage (dvc repro)")
    return dict(values)


def _table(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a CSV file: numbers as numbers, an empty cell as None."""
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
        if values.get("model", "base") not in ("base", "tuned"):
            raise TunediffError(f"{path}, row {number}: model: found {shown(row['model'])}, expected base or tuned")
        rows.append(values)
    return rows


def _case(place: str, case: Row, task: Task) -> Row:
    """The case once checked, its text made visible."""
    labels, asked = task.labels, task.name == QUESTION_ANSWERING
    for name in ("case_id", *task.inputs):
        if not isinstance(case.get(name), str):
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected text")
    if case.get("label") not in labels:
        raise TunediffError(f"{place}: label: found {shown(case.get('label'))}, expected one of {', '.join(labels)}")
    for name in PREDICTIONS:
        given = case.get(name, 0)
        if not (given is None or (isinstance(given, str) and (asked or given in labels))):
            expected = "text" if asked else "a label"
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected null or {expected}")
    if case.get("transition") not in TRANSITIONS:
        raise TunediffError(
            f"{place}: transition: found {shown(case.get('transition'))}, expected one of {', '.join(TRANSITIONS)}"
        )
    for name in ("base_log_probs", "tuned_log_probs"):
        scores = case.get(name)
        if asked and scores is None:
            continue
        numbers = [score for score in scores if isinstance(score, int | float)] if isinstance(scores, list) else []
        if len(numbers) != len(labels) or not all(map(math.isfinite, numbers)):
            raise TunediffError(f"{place}: {name}: found {shown(scores)}, expected {len(labels)} numbers, one a label")
    measured = ("base_f1", "tuned_f1") if asked else ()
    for name in (*measured, *(name for name in ("base_margin", "tuned_margin") if name in case)):
        if not isinstance(case.get(name), int | float) or not math.isfinite(case[name]):
            unit = "in 0..1" if asked else "of nats"
            raise TunediffError(f"{place}: {name}: found {shown(case.get(name))}, expected a number {unit}")
    marks = {name: [visible(str(mark)) for mark in case.get(name) or ()] for name in ("tags", "slices") if name in case}
    gold = {"answers": _answers(place, case)} if asked else {}
    return {"tags": [], **case, **{name: visible(case[name]) for name in task.inputs}, **marks, **gold}


def _answers(place: str, case: Row) -> list[dict[str, Any]]:
    """The gold answers, each at its place in the visible context."""
    answers = case.get("answers")
    if not isinstance(answers, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in answers
    ):
        raise TunediffError(f"{place}: answers: found {shown(answers)}, expected a list of texts and their places")
    return [marked_answer(case["context"], one["text"], one.get("start")) for one in answers]


def marked_answer(context: str, text: str, start: int | None) -> dict[str, Any]:
    """A gold answer and where it stands once the context is visible; None where it does not stand there."""
    there = isinstance(start, int) and start >= 0 and context.startswith(text, start)
    return {"text": visible(text), "start": len(visible(context[:start])) if there else None}


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
