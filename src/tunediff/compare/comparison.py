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
from pathlib import Path
from typing import Any

import pandas as pd

from tunediff.compare.checks import Alarm, environment_alarm
from tunediff.compare.effects.answer_differences import answer_differences, answer_metrics, as_labels, threshold_metrics
from tunediff.compare.effects.differences import MOST_LABELS, Difference, classification_differences
from tunediff.compare.effects.evaluation_settings import MODELS
from tunediff.compare.effects.power import power_sentence
from tunediff.compare.effects.transitions import (
    NegativeFlips,
    cube,
    negative_flips,
    transition_metrics,
    transitions,
    validity_metrics,
)
from tunediff.compare.pairs.align import OUTCOMES
from tunediff.compare.pairs.predictions import Fields, Predictions, from_table
from tunediff.compare.pairs.stored import Pairs, pair, store
from tunediff.runtime.errors import TunediffError


@dataclass(frozen=True)
class Diff:
    """What changed between two models on the same cases."""

    metrics: dict[str, float]  # the keys of metrics/diff_cases.json, as far as two prediction files have them
    outcomes: pd.DataFrame  # a row a case in small columns: transition, outcomes, label, cluster (a number)
    cube: pd.DataFrame  # gold, before, after, cases; an answer that is none of the classes is null
    differences: list[Difference]  # accuracy first, p-values adjusted by Holm
    negative_flips: NegativeFlips
    power: str  # what so many cases can show, in a sentence or two
    inputs: tuple[str, ...]
    labels: tuple[str, ...] | None  # in the order of the log-probabilities
    alarms: list[Alarm]  # what the files say themselves that should make one doubt a figure
    classes: tuple[str, ...]  # the labels, where they are known or few; none where answers are in words
    pairs: Pairs  # everything that is known of the cases, some at a time

    @property
    def cases(self) -> pd.DataFrame:
        """All cases at once, where they fit memory.

        A row a case: case_id, inputs, label, prediction_base and prediction_tuned (null where invalid), outcomes,
        transition, and where there are any cluster, log_probs_base and log_probs_tuned, answers, f1_base and f1_tuned.
        """
        return pd.concat(with_transitions(self.pairs))


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
    parts = [from_table(before, fields, names[0])], [from_table(after, fields, names[1])]
    return compare(*parts, names, confidence)


def compare(
    before: Iterable[Predictions],
    after: Iterable[Predictions],
    names: tuple[str, str] = ("before", "after"),
    confidence: float = 0.95,
    folder: Path | None = None,
) -> Diff:
    """Compare two models' predictions, as `tunediff.compare.pairs.prediction_files.read_predictions` reads them.

    Args:
        before: predictions of the base model, some cases at a time.
        after: predictions of the tuned model, in any order of rows.
        names: what to call the two in an error.
        confidence: of the intervals, in 0.5..1.
        folder: where cases lie meanwhile, in files without a name; None: where the system has its temporary files.

    Raises:
        TunediffError: see `diff`.
    """
    if not 0.5 <= confidence < 1:
        raise TunediffError(f"confidence: found {confidence}, expected at least 0.5 and below 1")
    pairs = pair(store(before, names[0], folder), store(after, names[1], folder), names, folder)
    labels, classes = pairs.labels, _classes(pairs)
    aligned = pd.concat([_small(part, classes) for part in with_transitions(pairs)], ignore_index=True)
    cells, clusters = aligned["transition"], aligned.get("cluster")
    metrics = transition_metrics(cells, confidence, clusters) | validity_metrics(aligned)
    asked = "f1_base" in aligned
    if asked:
        metrics |= answer_metrics(aligned, confidence, clusters)
        differences = answer_differences(aligned, metrics, confidence, clusters)
        metrics |= threshold_metrics(differences)
    else:
        differences = classification_differences(aligned, metrics, classes, confidence, clusters)
    flips = int(metrics["repaired"]), int(metrics["broken"])
    kept = ["transition", "outcome_base", "outcome_tuned", "label", *(["cluster"] if clusters is not None else [])]
    return Diff(
        metrics=metrics,
        outcomes=aligned[kept],
        cube=cube(as_labels(aligned) if asked else aligned),
        differences=differences,
        negative_flips=negative_flips(cells, confidence),
        power=power_sentence(len(aligned), *flips, alpha=1 - confidence),
        inputs=pairs.inputs,
        labels=labels,
        alarms=[*pairs.alarms, *([alarm] if (alarm := environment_alarm(*pairs.environments)) else [])],
        classes=classes,
        pairs=pairs,
    )


def with_transitions(pairs: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield the cases some at a time, as `pairs` does, with their transition."""
    for aligned in pairs:
        yield aligned.assign(transition=transitions(aligned))


def _classes(pairs: Pairs) -> tuple[str, ...]:
    """The labels of the cases, where they are known or no more than `MOST_LABELS`."""
    if pairs.labels:
        return tuple(dict.fromkeys(pairs.labels))
    found: set[str] = set()
    for labels in pairs.before.column("label"):
        found |= set(labels.unique())
        if len(found) > MOST_LABELS:
            return ()
    return tuple(sorted(found))


def _small(aligned: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """What the metrics need of the cases, in numbers; of questions the texts too, which metrics of text are made of."""
    texts = {"outcome_base": OUTCOMES, "outcome_tuned": OUTCOMES, "label": classes}
    if "f1_base" not in aligned:
        texts |= {"prediction_base": classes, "prediction_tuned": classes}
    columns: dict[str, Any] = {"transition": aligned["transition"]}
    columns |= {
        name: pd.Categorical.from_codes(pd.Index(names).get_indexer(pd.Index(aligned[name])), pd.Index(names))
        for name, names in texts.items()
    }
    if "cluster" in aligned:
        # By a hash of 64 bits: of ten million clusters two are taken for one with a chance of 3 in a million.
        keys = pd.util.hash_array(aligned["cluster"].astype(object).to_numpy(), categorize=False).view("int64")
        columns["cluster"] = pd.array(keys, dtype="Int64")
        columns["cluster"][aligned["cluster"].isna().to_numpy()] = pd.NA
    if "f1_base" in aligned:
        kept = [f"{name}_{who}" for name in ("prediction", "f1", "log_probs") for who in MODELS]
        columns |= {name: aligned[name] for name in ("answers", *kept) if name in aligned}
    return pd.DataFrame(columns, index=aligned.index)


def case_lines(found: Diff) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready record a case, in the form of data/cases.jsonl."""
    for part in with_transitions(found.pairs):
        yield from _lines(part, found.inputs)


def _lines(cases: pd.DataFrame, inputs: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    names = {"case_id": "case_id", **{name: name for name in inputs}, "label": "label"}
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
