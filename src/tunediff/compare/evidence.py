"""Everything that two prediction files and the splits say of the difference, put together to be written.

    found = gather(base, tuned, train, test, leaks, task, diff)
    found.metrics["gain_cue"]              # the keys of metrics/diff_cases.json
    found.tables["slices"]                 # data/plots/slices.csv
    next(found.records)                    # a line of data/cases.jsonl

What was not measured is left out: without free text there is no format in the gain, without a second run of the base
model no noise floor. Question answering has the same keys and tables, with the exact match as accuracy, F1 besides, and
in the place of predicted labels whether there is an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from tunediff.compare.checks import (
    Alarm,
    chance_alarm,
    degenerate_alarm,
    environment_alarm,
    guessing,
    never_answering,
    one_kind_alarm,
)
from tunediff.compare.effects.answer_differences import (
    answer_differences,
    answer_metrics,
    as_labels,
    text_alarms,
    threshold_metrics,
    with_answers,
)
from tunediff.compare.effects.baselines import answer_baselines, trivial_baselines, worth, worth_metrics
from tunediff.compare.effects.contamination import clean_metrics, contamination
from tunediff.compare.effects.decomposition import answer_steps, gain_metrics, gain_parts, gain_steps
from tunediff.compare.effects.differences import classification_differences
from tunediff.compare.effects.evaluation_settings import MODELS, answered_again, most_likely, setting_answers
from tunediff.compare.effects.noise import noise_floor, stable
from tunediff.compare.effects.probabilities import NOT_MEASURED, calibration
from tunediff.compare.effects.slices import slices, slices_of_cases
from tunediff.compare.effects.transitions import (
    case_records,
    in_split_order,
    transition_metrics,
    transitions,
    validity_metrics,
)
from tunediff.compare.explanations.answer_causes import answer_causes
from tunediff.compare.explanations.causes import FLIPS, causes
from tunediff.compare.explanations.question_wording import question_wording
from tunediff.compare.explanations.wording import wording
from tunediff.compare.pairs.align import align
from tunediff.config.diff import Diff
from tunediff.config.task import QUESTION_ANSWERING, Task
from tunediff.data.cases import INVALID, RIGHT, Case
from tunediff.data.leaks import Leaks
from tunediff.metrics.calibration import Floats, gold_margins, label_codes, log_prob_array
from tunediff.metrics.squad import exact_match

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
    environments: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Evidence:
    """Compare two prediction files in every way there is.

    Args:
        base: predictions before, as `tunediff.data.cases.read_predictions` gives them.
        tuned: predictions after.
        train: the training cases.
        test: the test cases.
        leaks: of the test cases against the training cases.
        task: names of inputs and labels.
        diff: how to compare.
        labels: the label list that each file was written with; None: that of the task.
        environments: what each model computed with, as its file says.

    Raises:
        TunediffError: the files do not belong together, or hold other cases than the test split.
    """
    aligned = in_split_order(align(base, tuned, labels=labels or (task.labels, task.labels)), test)
    aligned = aligned.reset_index(drop=True)
    asked = task.name == QUESTION_ANSWERING
    if asked:
        aligned = with_answers(aligned, test)
    cells = transitions(aligned)
    clusters = pd.Series([case.inputs[task.source_input] for case in test])
    metrics = transition_metrics(cells, diff.confidence, clusters) | validity_metrics(aligned)
    if asked:
        metrics |= answer_metrics(aligned, diff.confidence, clusters)
        differences = answer_differences(aligned, metrics, diff.confidence, clusters)
        metrics |= threshold_metrics(differences)
    else:
        differences = classification_differences(aligned, metrics, task.labels, diff.confidence, clusters)
    steps = answer_steps(aligned) if asked else gain_steps(setting_answers(aligned, task.labels))
    parts = gain_parts(steps, diff.confidence, clusters)
    metrics |= gain_metrics(parts)
    again = answered_again(base)
    if again is not None:
        metrics |= noise_floor(again)
        aligned["stable_base"] = aligned["case_id"].map(stable(again))
    other_head = answered_again(base, "seed_prediction")
    if other_head is not None:
        metrics |= noise_floor(other_head, "noise_floor_seed")
    by_baseline = _worth(aligned, train, test, task, diff.confidence)
    metrics |= worth_metrics(by_baseline)
    sure = calibration(aligned, task.labels, diff.confidence) if _scored(aligned) else NOT_MEASURED
    texts = question_wording(test) if asked else wording(test, task, train)
    by_slice = slices(aligned, test, texts, diff.confidence, diff.slice_min_cases)
    changed = [alarm for alarm in [environment_alarm(*environments)] if alarm]
    return Evidence(
        metrics=metrics,
        baselines={f"{name}_accuracy": float(by_baseline.loc[name, "accuracy"]) for name in sorted(by_baseline.index)},
        calibration=sure.metrics,
        clean=clean_metrics(aligned, cells, leaks, task, diff.confidence),
        alarms=[*changed, *_alarms(aligned, task, diff.confidence), *text_alarms(aligned, differences)],
        tables={
            **_counts(as_labels(aligned) if asked else aligned, cells),
            "gain": parts,
            "slices": by_slice,
            "reliability": sure.reliability,
            "coverage": sure.coverage,
            "baselines": _with_interval(by_baseline),
            "contamination": contamination(aligned, cells, leaks, task),
            "differences": pd.DataFrame(differences),
        },
        records=_records(aligned, cells, train, test, task, diff, slices_of_cases(aligned, test, texts, by_slice)),
    )


def _scored(aligned: pd.DataFrame) -> bool:
    """Whether both models gave a probability to each label of every case."""
    return all(aligned[f"log_probs_{model}"].notna().all() for model in MODELS)


def _worth(
    aligned: pd.DataFrame, train: Sequence[Case], test: Sequence[Case], task: Task, confidence: float
) -> pd.DataFrame:
    """What `worth` returns, by the name of the baseline."""
    tuned = _valid(aligned, "tuned")
    if task.name == QUESTION_ANSWERING:
        answers = answer_baselines(test, task.labels, _valid(aligned, "base"))
        gold = [[answer.text for answer in case.answers] for case in test]
        return worth(gold, tuned, answers, confidence, exact_match).set_index("baseline")
    few_shot = None
    if "few_shot_log_probs_base" in aligned:
        few_shot = most_likely(log_prob_array(aligned["few_shot_log_probs_base"]), task.labels)
    answers = trivial_baselines(train, test, task, log_prob_array(aligned["log_probs_base"]), few_shot)
    return worth(aligned["label"].tolist(), tuned, answers, confidence).set_index("baseline")


def _valid(aligned: pd.DataFrame, model: str) -> list[str | None]:
    """The predictions of a model, None where one is invalid."""
    given: list[str | None] = (
        aligned[f"prediction_{model}"].astype(object).where(aligned[f"outcome_{model}"] != INVALID, None).tolist()
    )
    return given


def _with_interval(by_baseline: pd.DataFrame) -> pd.DataFrame:
    """baseline, its accuracy, and what the tuned model adds to it with the interval of that."""
    gain = by_baseline[["accuracy", "gain", "gain_low", "gain_high", "repaired", "broken", "p"]]
    return gain.rename(columns={"gain_low": "low", "gain_high": "high"}).reset_index()


def _alarms(aligned: pd.DataFrame, task: Task, confidence: float) -> list[Alarm]:
    found, gold = [], aligned["label"].tolist()
    asked = task.name == QUESTION_ANSWERING
    chance = never_answering(gold) if asked else guessing(task.labels)
    given = as_labels(aligned) if asked else aligned
    for model in MODELS:
        right, answers, who = int((aligned[f"outcome_{model}"] == RIGHT).sum()), _valid(given, model), f"{model} model"
        found += [
            chance_alarm(right, len(aligned), chance, who, confidence),
            one_kind_alarm(gold, answers, who) if asked else degenerate_alarm(task.labels, gold, answers, who),
        ]
    return [alarm for alarm in found if alarm]


def _counts(aligned: pd.DataFrame, cells: pd.Series) -> dict[str, pd.DataFrame]:
    """Cases by transition, and answers by gold label (a row a case)."""
    tables = {"transitions": cells.value_counts(sort=False).rename("cases").rename_axis("transition").reset_index()}
    for model in MODELS:
        answers = aligned[f"prediction_{model}"].where(aligned[f"outcome_{model}"] != INVALID, INVALID)
        tables[f"confusion_{model}"] = pd.DataFrame({"label": aligned["label"], "prediction": answers})
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
    if task.name == QUESTION_ANSWERING:
        own, change = {}, aligned["f1_tuned"] - aligned["f1_base"]
        why = answer_causes(aligned, cells.where(_clearest(cells, change, diff.causes_limit)), test, train)
    else:
        own = _margins(aligned, task)
        change = pd.Series(own["tuned_margin"] - own["base_margin"], index=aligned.index)
        aligned = aligned.assign(**_alone(aligned, task))
        why = causes(aligned, cells.where(_clearest(cells, change, diff.causes_limit)), test, task, train)
    told = {cause["case_id"]: _told(cause) for cause in why}
    for at, record in enumerate(case_records(aligned, cells, test)):
        margins = {name: float(values[at]) for name, values in own.items()}
        yield record | margins | {"slices": member_of[at]} | told.get(record["case_id"], {})


def _margins(aligned: pd.DataFrame, task: Task) -> dict[str, Floats]:
    """base_margin and tuned_margin of each case."""
    gold = label_codes(task.labels, aligned["label"])
    return {f"{model}_margin": gold_margins(log_prob_array(aligned[f"log_probs_{model}"]), gold) for model in MODELS}


def _alone(aligned: pd.DataFrame, task: Task) -> dict[str, list[str]]:
    """The answers from the partial-input input alone, where it was asked."""
    asked = {model: aligned.get(f"premise_free_log_probs_{model}") for model in MODELS}
    return {
        f"partial_input_{model}": most_likely(log_prob_array(scores), task.labels)
        for model, scores in asked.items()
        if scores is not None
    }


def _told(cause: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in cause.items() if name not in _OF_THE_RECORD and value is not None}
    return {"evidence": fields, "clauses": cause["clauses"], "explanation": cause["explanation"]}


def _clearest(cells: pd.Series, change: pd.Series, limit: int) -> pd.Series:
    """Whether a case is one of the `limit` flips that changed most, repaired and broken in turn."""
    flips = change[cells.isin(FLIPS)].abs().sort_values(ascending=False, kind="stable")
    turn = flips.groupby(cells[flips.index], observed=True).cumcount().sort_values(kind="stable")
    return pd.Series(cells.index.isin(turn.index[:limit]), index=cells.index)
