"""Two models' predictions on the same cases, compared: the library call behind `tunediff diff`.

>>> import pandas as pd
>>> before = pd.DataFrame({"case_id": list("abcd"), "label": ["yes", "no"] * 2, "prediction": ["yes"] * 4})
>>> after = before.assign(prediction=["yes", "no", "yes", None])
>>> found = diff(before, after)
>>> found.metrics["repaired"], found.metrics["broken"], found.metrics["became_invalid"]
(1, 0, 1)
>>> found.cases["transition"].tolist()
['both_right', 'repaired', 'both_right', 'both_wrong_changed']
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tunediff.compare.align import align
from tunediff.compare.answers import answer_differences, answer_metrics, threshold_metrics
from tunediff.compare.differences import Difference, classification_differences
from tunediff.compare.power import power_sentence
from tunediff.compare.predictions import Fields, Predictions, from_table
from tunediff.compare.sanity import Alarm, environment_alarm
from tunediff.compare.scores import Scored, match_scores
from tunediff.compare.transitions import (
    NegativeFlips,
    cube,
    negative_flips,
    transition_metrics,
    transitions,
    validity_metrics,
)
from tunediff.errors import TunediffError


@dataclass(frozen=True)
class Diff:
    """What changed between two models on the same cases.

    cases: a row a case: case_id, inputs, label, prediction_base and prediction_tuned (null where invalid), outcomes,
    transition, and where there are any cluster, log_probs_base and log_probs_tuned, answers, f1_base and f1_tuned.
    """

    metrics: dict[str, float]  # the keys of metrics/diff_cases.json, as far as two prediction files have them
    cases: pd.DataFrame
    cube: pd.DataFrame  # gold, before, after, cases
    differences: list[Difference]  # accuracy first, p-values adjusted by Holm
    negative_flips: NegativeFlips
    power: str  # what so many cases can show, in a sentence or two
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None  # in the order of the log-probabilities
    alarms: list[Alarm]  # what the files say themselves that should make one doubt a figure


def diff(
    before: pd.DataFrame,
    after: pd.DataFrame,
    fields: Fields | None = None,
    names: tuple[str, str] = ("before", "after"),
    confidence: float = 0.95,
) -> Diff:
    """Compare two tables of predictions, a row a case.

    Args:
        before: predictions of the base model.
        after: predictions of the tuned model, in any order of rows.
        fields: what the columns are called; None: case_id, label, prediction.
        names: what to call the two in an error.
        confidence: of the intervals, in 0.5..1.

    Raises:
        TunediffError: a column is missing, or the two differ in their cases, inputs, labels, prompts or scorers.
    """
    fields = fields or Fields()
    return compare(from_table(before, fields, names[0]), from_table(after, fields, names[1]), names, confidence)


def compare(
    before: Predictions, after: Predictions, names: tuple[str, str] = ("before", "after"), confidence: float = 0.95
) -> Diff:
    """Compare two models' predictions, as `tunediff.compare.prediction_files.read_predictions` reads them.

    Raises:
        TunediffError: see `diff`.
    """
    if not 0.5 <= confidence < 1:
        raise TunediffError(f"confidence: found {confidence}, expected at least 0.5 and below 1")
    if before.inputs != after.inputs or before.same != after.same:
        raise TunediffError(
            f"{names[0]} and {names[1]}: found files of two kinds, with inputs {', '.join(before.inputs) or 'none'} "
            f"and {', '.join(after.inputs) or 'none'}, expected two of one kind"
        )
    frames, labels = _scored(before, after, names)
    same = (*before.inputs, *before.same)
    aligned = align(frames[0], frames[1], names, same, (before.labels, after.labels))
    cells = transitions(aligned)
    clusters = aligned.get("cluster")
    metrics = transition_metrics(cells, confidence, clusters) | validity_metrics(aligned)
    if "f1_base" in aligned:
        metrics |= answer_metrics(aligned, confidence, clusters)
        differences = answer_differences(aligned, metrics, confidence, clusters)
        metrics |= threshold_metrics(differences)
    else:
        names_of_labels = labels or sorted(aligned["label"].unique())
        differences = classification_differences(aligned, metrics, names_of_labels, confidence, clusters)
    flips = int(metrics["repaired"]), int(metrics["broken"])
    return Diff(
        metrics=metrics,
        cases=aligned.assign(transition=cells),
        cube=cube(aligned),
        differences=differences,
        negative_flips=negative_flips(cells, confidence),
        power=power_sentence(len(aligned), *flips, alpha=1 - confidence),
        inputs=before.inputs,
        labels=labels,
        alarms=[alarm for alarm in [environment_alarm(before.environment, after.environment)] if alarm],
    )


def _scored(
    before: Predictions, after: Predictions, names: tuple[str, str]
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], tuple[str, ...] | None]:
    """The frames with log_probs where both have scores, and the labels that these are in the order of.

    Scores in one file alone have nothing to be compared with and are left out.
    """
    if before.scores is None or after.scores is None:
        return (before.frame, after.frame), before.labels or after.labels
    first, second, labels = match_scores(
        Scored(before.scores, before.frame["prediction"], before.labels),
        Scored(after.scores, after.frame["prediction"], after.labels),
        names,
    )
    return (before.frame.assign(log_probs=list(first)), after.frame.assign(log_probs=list(second))), labels


def case_lines(found: Diff) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready record a case, in the form of data/cases.jsonl."""
    cases = found.cases
    names = {"case_id": "case_id", **{name: name for name in found.inputs}, "label": "label"}
    names |= {"base_prediction": "prediction_base", "tuned_prediction": "prediction_tuned", "transition": "transition"}
    optional = {"base_log_probs": "log_probs_base", "tuned_log_probs": "log_probs_tuned"}
    optional |= {"base_f1": "f1_base", "tuned_f1": "f1_tuned", "cluster": "cluster"}
    names |= {key: column for key, column in optional.items() if column in cases}
    columns: list[Iterable[Any]] = []
    for column in names.values():
        if column.startswith("log_probs_"):
            columns.append(row.tolist() for row in cases[column])
        else:
            columns.append(cases[column].astype(object).where(cases[column].notna(), None))
    keys = tuple(names)
    if "answers" in cases:
        keys = (*keys, "answers")
        columns.append([answer._asdict() for answer in answers] for answers in cases["answers"])
    for values in zip(*columns, strict=True):
        yield dict(zip(keys, values, strict=True))
