"""Everything that two prediction files and the splits say of the difference, put together to be written.

    found = gather(base, tuned, train, test, leaks, task, diff)
    found.metrics["gain_cue"]              # the keys of metrics/diff_cases.json
    found.tables["slices"]                 # data/plots/slices.csv
    next(found.records)                    # a line of data/cases.jsonl

What was not measured is left out: without free text there is no format in the gain, without a second run of the base
model no noise floor.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from tunediff.cases import INVALID, RIGHT, Case
from tunediff.compare.align import align
from tunediff.compare.baselines import cheap_baselines, worth, worth_metrics
from tunediff.compare.calibration import calibration
from tunediff.compare.causes import FLIPS, causes
from tunediff.compare.contamination import clean_metrics, contamination
from tunediff.compare.gain import gain_metrics, gain_parts
from tunediff.compare.noise import noise_floor, stable
from tunediff.compare.protocols import MODELS, answered_again, most_likely, protocol_answers
from tunediff.compare.sanity import Alarm, chance_alarm, degenerate_alarm
from tunediff.compare.slices import slices, slices_of_cases
from tunediff.compare.transitions import (
    case_records,
    cube,
    in_split_order,
    transition_metrics,
    transitions,
    validity_metrics,
)
from tunediff.compare.wording import wording
from tunediff.leaks import Leaks
from tunediff.metrics.calibration import gold_margins, label_codes, log_prob_array
from tunediff.sections import Diff, Task

# Fields of a cause that the record of its case has by another name or already.
_OF_THE_RECORD = ("case_id", "transition", "label", "base_prediction", "tuned_prediction", "clauses", "explanation")


class Evidence(NamedTuple):
    """What there is to write about two models on the same cases."""

    metrics: dict[str, float]
    baselines: dict[str, float]  # accuracy of each, as NAME_accuracy
    calibration: dict[str, float]
    clean: dict[str, float]  # without the cases that training has seen
    alarms: list[Alarm]
    tables: dict[str, pd.DataFrame]  # by the name of the file in data/plots
    records: Iterator[dict[str, Any]]  # a test case each


def gather(
    base: pd.DataFrame,
    tuned: pd.DataFrame,
    train: Sequence[Case],
    test: Sequence[Case],
    leaks: Leaks,
    task: Task,
    diff: Diff,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Evidence:
    """Compare two prediction files in every way there is.

    Args:
        base: predictions before, as `tunediff.cases.read_predictions` gives them.
        tuned: predictions after.
        train: the training cases.
        test: the test cases.
        leaks: of the test cases against the training cases.
        task: names of inputs and labels.
        diff: how to compare.
        labels: the label list that each file was written with; None: that of the task.

    Raises:
        TunediffError: the files do not belong together, or hold other cases than the test split.
    """
    aligned = in_split_order(align(base, tuned, labels=labels or (task.labels, task.labels)), test)
    aligned = aligned.reset_index(drop=True)
    cells = transitions(aligned)
    clusters = pd.Series([case.inputs[task.source_input] for case in test])
    metrics = transition_metrics(cells, diff.confidence, clusters) | validity_metrics(aligned)
    parts = gain_parts(protocol_answers(aligned, task.labels), diff.confidence, clusters)
    metrics |= gain_metrics(parts)
    again = answered_again(base)
    if again is not None:
        metrics |= noise_floor(again)
        aligned["stable_base"] = aligned["case_id"].map(stable(again))
    by_baseline = _baselines(aligned, train, test, task, diff.confidence)
    metrics |= worth_metrics(by_baseline)
    sure = calibration(aligned, task.labels, diff.confidence)
    texts = wording(test, task, train)
    by_slice = slices(aligned, test, texts, diff.confidence, diff.slice_min_cases)
    return Evidence(
        metrics=metrics,
        baselines={f"{name}_accuracy": float(by_baseline.loc[name, "accuracy"]) for name in sorted(by_baseline.index)},
        calibration=sure.metrics,
        clean=clean_metrics(aligned, cells, leaks, diff.confidence),
        alarms=_alarms(aligned, task.labels, diff.confidence),
        tables={
            **_counts(aligned, cells),
            "gain": parts,
            "slices": by_slice,
            "reliability": sure.reliability,
            "coverage": sure.coverage,
            "baselines": _with_interval(by_baseline),
            "contamination": contamination(aligned, cells, leaks),
        },
        records=_records(aligned, cells, train, test, task, diff, slices_of_cases(aligned, test, texts, by_slice)),
    )


def _baselines(
    aligned: pd.DataFrame, train: Sequence[Case], test: Sequence[Case], task: Task, confidence: float
) -> pd.DataFrame:
    """What `worth` returns, by the name of the baseline."""
    few_shot = None
    if "few_shot_log_probs_base" in aligned:
        few_shot = most_likely(log_prob_array(aligned["few_shot_log_probs_base"]), task.labels)
    answers = cheap_baselines(train, test, task, log_prob_array(aligned["log_probs_base"]), few_shot)
    tuned = aligned["prediction_tuned"].astype(object).where(aligned["outcome_tuned"] != INVALID, None).tolist()
    return worth(aligned["label"].tolist(), tuned, answers, confidence).set_index("baseline")


def _with_interval(by_baseline: pd.DataFrame) -> pd.DataFrame:
    """baseline, its accuracy, and what the tuned model adds to it with the interval of that."""
    gain = by_baseline[["accuracy", "gain", "gain_low", "gain_high", "repaired", "broken", "p"]]
    return gain.rename(columns={"gain_low": "low", "gain_high": "high"}).reset_index()


def _alarms(aligned: pd.DataFrame, labels: Sequence[str], confidence: float) -> list[Alarm]:
    found = []
    for model in MODELS:
        outcomes = aligned[f"outcome_{model}"]
        answers = aligned[f"prediction_{model}"].where(outcomes != INVALID, None)
        found += [
            chance_alarm(int((outcomes == RIGHT).sum()), len(aligned), len(labels), f"{model} model", confidence),
            degenerate_alarm(labels, aligned["label"], answers, f"{model} model"),
        ]
    return [alarm for alarm in found if alarm]


def _counts(aligned: pd.DataFrame, cells: pd.Series) -> dict[str, pd.DataFrame]:
    """Cases by transition, answers by gold label (a row a case), and the cube of both."""
    tables = {"transitions": cells.value_counts(sort=False).rename("cases").rename_axis("transition").reset_index()}
    for model in MODELS:
        answers = aligned[f"prediction_{model}"].where(aligned[f"outcome_{model}"] != INVALID, INVALID)
        tables[f"confusion_{model}"] = pd.DataFrame({"label": aligned["label"], "prediction": answers})
    # No label is called "invalid": the answers alone tell the outcomes.
    tables["cube"] = cube(aligned).rename(columns={"gold": "label"})[["label", "before", "after", "cases"]]
    return tables


def _records(
    aligned: pd.DataFrame,
    cells: pd.Series,
    train: Sequence[Case],
    test: Sequence[Case],
    task: Task,
    diff: Diff,
    member_of: Sequence[Sequence[str]],
) -> Iterator[dict[str, Any]]:
    """The lines of data/cases.jsonl; `aligned` and the slices of each case are in the order of `test`."""
    gold = label_codes(task.labels, aligned["label"])
    margins = {f"{model}_margin": gold_margins(log_prob_array(aligned[f"log_probs_{model}"]), gold) for model in MODELS}
    for model in MODELS:
        if f"premise_free_log_probs_{model}" in aligned:
            alone = log_prob_array(aligned[f"premise_free_log_probs_{model}"])
            aligned = aligned.assign(**{f"premise_free_{model}": most_likely(alone, task.labels)})
    change = pd.Series(margins["tuned_margin"] - margins["base_margin"], index=aligned.index)
    explained = cells.where(_clearest(cells, change, diff.causes_limit))
    why = {cause["case_id"]: _told(cause) for cause in causes(aligned, explained, test, task, train)}
    for at, record in enumerate(case_records(aligned, cells, test)):
        own = {name: float(values[at]) for name, values in margins.items()}
        yield record | own | {"slices": member_of[at]} | why.get(record["case_id"], {})


def _told(cause: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in cause.items() if name not in _OF_THE_RECORD}
    return {"evidence": fields, "clauses": cause["clauses"], "explanation": cause["explanation"]}


def _clearest(cells: pd.Series, change: pd.Series, limit: int) -> pd.Series:
    """Whether a case is one of the `limit` flips with the greatest change of margin, repaired and broken in turn."""
    flips = change[cells.isin(FLIPS)].abs().sort_values(ascending=False, kind="stable")
    turn = flips.groupby(cells[flips.index], observed=True).cumcount().sort_values(kind="stable")
    return pd.Series(cells.index.isin(turn.index[:limit]), index=cells.index)
