"""All effects of a comparison, gathered for the files that are written.

    found = gather(comparison)
    found.metrics["gain_partial_input"]    # the keys of metrics/diff_cases.json
    found.tables["slices"]                 # data/plots/slices.csv

`EFFECTS` lists the effects. Those that a comparison has no data for are omitted: without free text there is no
answer_format in the gain, without a second run of the base model no noise floor, without test cases no slices by text.
To add a figure, add a function of a `Comparison` to this list and a sentence to `tunediff.report.findings.SENTENCES`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.checks import raised_checks
from tunediff.compare.comparison import Comparison, with_transitions
from tunediff.compare.effects.answer_changes import trait_metrics
from tunediff.compare.effects.contamination import clean_metrics, contamination
from tunediff.compare.effects.decomposition import choices_accuracies, gain_metrics, gain_parts, gain_steps, kind_steps
from tunediff.compare.effects.evaluation_settings import most_likely, setting_answers
from tunediff.compare.effects.health import signal_to_noise, suspected_labels
from tunediff.compare.effects.label_bias import likeliest
from tunediff.compare.effects.label_rates import label_rates
from tunediff.compare.effects.metric_differences import metric_differences, score_metrics
from tunediff.compare.effects.noise import answered_again, stable
from tunediff.compare.effects.probabilities import NOT_MEASURED, calibration
from tunediff.compare.effects.retention import KEYS, retention
from tunediff.compare.effects.slices import slices, slices_of_cases, tag_slices
from tunediff.compare.effects.transitions import changes, validity_metrics
from tunediff.compare.effects.worth import worth, worth_metrics
from tunediff.compare.raised import Figures, Raised, Run
from tunediff.compare.records import case_lines, case_records
from tunediff.data.cases import INVALID, MODELS
from tunediff.metrics.calibration import log_prob_array
from tunediff.stats.multiple import holm


class Effect(NamedTuple):
    """The result of one kind of analysis.

    metrics: keys of metrics/diff_cases.json. tables: by name of the file in data/plots. figures: content of separate
    metrics files, by name: baselines, calibration, contamination.
    """

    metrics: Figures = MappingProxyType({})
    tables: Mapping[str, pd.DataFrame] = MappingProxyType({})
    figures: Mapping[str, Figures] = MappingProxyType({})


@dataclass(frozen=True)
class Evidence:
    """All results of the comparison of two models on the same cases."""

    comparison: Comparison
    metrics: dict[str, float]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figures]
    checks: list[Raised]
    retained: Mapping[str, Figures] = field(default_factory=dict)
    """The result of `retention` for each further test set, and p_holm: p adjusted over all of them."""

    @property
    def records(self) -> Iterator[dict[str, Any]]:
        """One record per test case, as in cases.jsonl."""
        found = self.comparison
        if not found.cases:
            return case_lines(found)
        task = found.task
        members = slices_of_cases(found.aligned, found.cases, found.features, found.families, self.tables["slices"])
        again = answered_again(found.aligned, "again_prediction_base", task, found.gold)
        return case_records(found, members, None if again is None else stable(again))

    @cached_property
    def cases(self) -> pd.DataFrame:
        """All cases as one table in memory.

        One row per case: case_id, inputs, label, prediction_base and prediction_tuned (null if invalid), outcomes,
        transition, and if available cluster, log_probs_base and log_probs_tuned, and the task's columns.
        """
        found = self.comparison
        parts = [found.aligned] if found.pairs is None else found.pairs
        return pd.concat(with_transitions(parts))


def gather(
    comparison: Comparison, run: Run | None = None, further: Mapping[str, Comparison] = MappingProxyType({})
) -> Evidence:
    """Compute all effects of a comparison, and raise the checks.

    Args:
        comparison: the comparison of the two models.
        run: results of other stages, for the checks; None if only two prediction files are compared.
        further: the same two models on further test sets, by name.

    Raises:
        TunediffError: log-probabilities are not finite numbers, one per label.
    """
    effects = [effect(comparison) for effect in EFFECTS.values()]
    metrics = {key: value for effect in effects for key, value in effect.metrics.items()}
    tables = {name: table for effect in effects for name, table in effect.tables.items()}
    figures = {name: values for effect in effects for name, values in effect.figures.items()}
    run = run or Run()
    checks = raised_checks(comparison, metrics, tables, figures, run)
    retained = {name: retention(one) for name, one in further.items()}
    adjusted = holm([one["p"] for one in retained.values()])
    retained = {name: one | {"p_holm": p} for (name, one), p in zip(retained.items(), adjusted, strict=True)}
    if retained:
        rows = [{"set": name, "measure": further[name].task.words.measure, **one} for name, one in retained.items()]
        tables["retention"] = pd.DataFrame(rows, columns=["set", "measure", *KEYS, "p_holm"])
        each = {name: _slices(one).tables.get("slices") for name, one in further.items()}
        found = [table.assign(set=name) for name, table in each.items() if table is not None and len(table)]
        tables |= {"retention_slices": pd.concat(found, ignore_index=True)} if found else {}
    return Evidence(comparison, metrics, tables, figures, checks, retained)


def _transitions(comparison: Comparison) -> Effect:
    """Transitions of the cases, and answers by gold label (one row per case)."""
    cells, labelled = comparison.cells, comparison.labelled
    metrics = comparison.transition_metrics | validity_metrics(comparison.aligned)
    tables = {"transitions": cells.value_counts(sort=False).rename("cases").rename_axis("transition").reset_index()}
    for model in MODELS if comparison.cases else ():
        answers = labelled[f"prediction_{model}"].where(labelled[f"outcome_{model}"] != INVALID, INVALID)
        tables[f"confusion_{model}"] = pd.DataFrame({"label": labelled["label"], "prediction": answers})
    return Effect(metrics, tables)


def _differences(comparison: Comparison) -> Effect:
    """Every metric of the task before and after."""
    rows = metric_differences(comparison)
    return Effect(score_metrics(comparison, rows), {"differences": pd.DataFrame(rows)})


def _labels(comparison: Comparison) -> Effect:
    """Precision, recall and F1 of each label before and after, if there are several labels."""
    task, labelled = comparison.task, comparison.labelled
    if task.answers_are_labels and comparison.no_classes:
        return Effect()
    if len(task.labels) < 2 or not labelled["label"].isin(task.labels).all():
        return Effect()
    return Effect(tables={"labels": label_rates(comparison.class_sums, task.labels, comparison.confidence)})


def _gain(comparison: Comparison) -> Effect:
    """The parts of the gain, by kind of case or by evaluation setting."""
    kinds = comparison.task.kinds
    if not comparison.cases or not (kinds or comparison.log_probs):
        return Effect()
    answers = None if kinds else setting_answers(comparison)
    steps = kind_steps(comparison.aligned, kinds) if answers is None else gain_steps(answers)
    parts = gain_parts(steps, comparison.confidence, comparison.clusters)
    chosen = {} if answers is None else choices_accuracies(answers)
    return Effect(gain_metrics(parts) | chosen, {"gain": parts})


def _health(comparison: Comparison) -> Effect:
    """The signal-to-noise ratio of the test set, and the labels that both models contradict with the same answer."""
    ratio = signal_to_noise(changes(comparison.cells), comparison.clusters, comparison.noise_metrics)
    metrics: dict[str, float] = {} if ratio is None else {"signal_to_noise": ratio}
    aligned = comparison.aligned
    frames = []
    for model in MODELS:
        columns = {"case_id": "case_id", "label": "label"}
        columns |= {f"{name}_{model}": name for name in ("prediction", "outcome")}
        frame = aligned.reindex(columns=list(columns)).rename(columns=columns)
        if comparison.log_probs:
            frame = frame.assign(confidence=np.exp(comparison.log_probs[model]).max(axis=1))
        frames.append(frame)
    suspected = suspected_labels(frames)
    metrics["agreed_against_label"] = len(suspected)
    return Effect(metrics, {"labels_to_review": suspected} if comparison.cases else {})


def _worth(comparison: Comparison) -> Effect:
    """What the tuned model adds to trivial baselines."""
    if not comparison.cases:
        return Effect()
    task, aligned = comparison.task, comparison.aligned
    base: dict[str, Any] = {"base": comparison.answers("base")}
    if comparison.calibrated:
        base["calibrated_base"] = likeliest(comparison.calibrated["base"], task.labels).tolist()
    if "few_shot_log_probs_base" in aligned:
        base["few_shot_base"] = most_likely(log_prob_array(aligned["few_shot_log_probs_base"]), task.labels)
    answers = task.baselines(comparison.train, comparison.cases, base)
    if not answers:
        return Effect(figures={"baselines": {}})
    tuned = comparison.answers("tuned")
    table = worth(comparison.gold, tuned, answers, task.right, comparison.confidence, comparison.clusters)
    accuracies = {
        f"{name}_accuracy": float(one) for name, one in zip(table["baseline"], table["accuracy"], strict=True)
    }
    gain = table[["baseline", "accuracy", "gain", "gain_low", "gain_high", "repaired", "broken", "p"]]
    gain = gain.rename(columns={"gain_low": "low", "gain_high": "high"})
    return Effect(worth_metrics(table), {"baselines": gain}, {"baselines": dict(sorted(accuracies.items()))})


def _calibration(comparison: Comparison) -> Effect:
    """Calibration of the probabilities."""
    if not comparison.cases:
        return Effect()
    found = NOT_MEASURED
    if comparison.log_probs:
        gold, labels = comparison.aligned["label"], comparison.task.labels
        found = calibration(gold, comparison.log_probs, labels, comparison.confidence, comparison.clusters)
    tables = {"reliability": found.reliability, "coverage": found.coverage}
    return Effect(tables=tables, figures={"calibration": found.metrics})


def _contamination(comparison: Comparison) -> Effect:
    """Test cases that training has seen, and the difference without them."""
    leaks = comparison.leaks
    if leaks is None:
        return Effect()
    aligned, cells, task = comparison.aligned, comparison.cells, comparison.task
    clean = clean_metrics(aligned, cells, leaks, task, comparison.confidence, comparison.clusters)
    return Effect(
        tables={"contamination": contamination(aligned, cells, leaks, task)}, figures={"contamination": clean}
    )


def _slices(comparison: Comparison) -> Effect:
    """The change on each slice of the test set; by kind of case if nothing else is known."""
    task, confidence, clusters = comparison.task, comparison.confidence, comparison.clusters
    if comparison.cases or comparison.user_slices:
        texts, least = comparison.features, comparison.settings.slice_min_cases
        table = slices(comparison.aligned, comparison.cases, texts, comparison.families, confidence, least, clusters)
    elif task.kinds:
        kinds = ([label] for label in comparison.aligned["label"])
        table = tag_slices(kinds, comparison.cells, "tag", confidence, clusters)
    else:
        return Effect()
    return Effect(tables={"slices": table})


# In the order of the keys of metrics/diff_cases.json.
EFFECTS: dict[str, Callable[[Comparison], Effect]] = {
    "transitions": _transitions,
    "differences": _differences,
    "labels": _labels,
    "traits": lambda comparison: Effect(trait_metrics(comparison)),
    "gain": _gain,
    "noise": lambda comparison: Effect(comparison.noise_metrics),
    "health": _health,
    "worth": _worth,
    "calibration": _calibration,
    "contamination": _contamination,
    "slices": _slices,
}
