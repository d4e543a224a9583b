"""The answers of two models to the same cases, from which every figure about a change is computed.

    comparison = compare_run(base, tuned, train, test, leaks, task, params.diff)      # the pipeline
    comparison = compare_files(before, after, names, confidence, folder)              # tunediff diff
    found = gather(comparison)                                                        # tunediff.compare.evidence

Pairs, task, clusters and confidence are kept here only, so that all figures use the same ones. Expensive intermediate
results, such as arrays of log-probabilities and their calibration, are computed once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from tunediff.compare.effects.differences import (
    CASES_PER_LABEL,
    FEW_LABELS,
    MOST_LABELS,
    ClassSums,
    class_sums,
    no_classes,
)
from tunediff.compare.effects.label_bias import calibrated
from tunediff.compare.effects.noise import answered_again, noise_floor
from tunediff.compare.effects.transitions import in_split_order, transition_metrics, transitions
from tunediff.compare.pairs.align import align
from tunediff.compare.pairs.predictions import SLICE, Fields, Predictions, from_table
from tunediff.compare.pairs.stored import Pairs, pair, store_both
from tunediff.config.diff import Diff
from tunediff.data.cases import INVALID, MODELS, OUTCOMES, Case
from tunediff.data.leaks import Leaks
from tunediff.metrics.calibration import log_prob_array
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Floats
from tunediff.tasks.families import Family, user_column, user_families
from tunediff.tasks.task import Tally, Task

CONFIDENCE: float = Diff.model_fields["confidence"].default


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases.

    Attributes:
        aligned: one row per case, as returned by `tunediff.compare.pairs.align.align`, or the columns of it that the
            metrics need.
        task: decides what is right, and names it.
        confidence: level of every interval.
        clusters: cluster of each case, such as its premise, of length n_cases; None: cases are independent.
        cases: the test cases, in the order of `aligned`; empty if only two prediction files are compared.
        train: the training cases; empty if unknown.
        leaks: overlap of test and training cases; None if unknown.
        settings: how slices and causes are made.
        user_slices: columns to slice by, each with the text of each case or None, in the order of `aligned`.
        environments: software and hardware that each model ran on, from its prediction file.
        pairs: the full content of two prediction files, in chunks.
    """

    aligned: pd.DataFrame
    task: Task
    confidence: float
    clusters: pd.Series | None = None
    cases: Sequence[Case] = ()
    train: Sequence[Case] = ()
    leaks: Leaks | None = None
    settings: Diff = field(default_factory=Diff)
    user_slices: Mapping[str, Sequence[str | None] | pd.Series] = field(default_factory=dict)
    environments: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.aligned)

    @cached_property
    def cells(self) -> pd.Series:
        """The transition of each case."""
        known: pd.Series | None = self.aligned.get("transition")
        return transitions(self.aligned) if known is None else known

    @cached_property
    def transition_metrics(self) -> dict[str, float]:
        """The result of `tunediff.compare.effects.transitions.transition_metrics` for all cases."""
        return transition_metrics(self.cells, self.confidence, self.clusters)

    @cached_property
    def gold(self) -> list[Any]:
        """The gold answer of each of `cases`, as the task grades against it."""
        return self.task.gold(self.cases)

    @cached_property
    def features(self) -> pd.DataFrame:
        """Features of the texts of each case, in the order of `cases`, and the user's own columns."""
        user_slices = {
            user_column(name): pd.Series(list(values), dtype=object) for name, values in self.user_slices.items()
        }
        if not self.cases:
            return pd.DataFrame(user_slices)
        texts = self.task.features(self.cases, self.train)
        return texts.assign(**{name: values.to_numpy() for name, values in user_slices.items()})

    @property
    def families(self) -> list[Family]:
        """How slices are made from `features`."""
        return [*self.task.families, *user_families(list(self.user_slices), self.task.families)]

    @cached_property
    def log_probs(self) -> dict[str, Floats]:
        """The log-probabilities of each model, of shape (n_cases, n_labels); empty if a case has none.

        Raises:
            TunediffError: they are not finite numbers, one per label.
        """
        columns = {model: self.aligned.get(f"log_probs_{model}") for model in MODELS}
        if any(column is None or column.isna().any() for column in columns.values()):
            return {}
        return {model: log_prob_array(column) for model, column in columns.items() if column is not None}

    @cached_property
    def calibrated(self) -> dict[str, Floats]:
        """The log-probabilities without each model's label bias."""
        return {model: calibrated(log_probs) for model, log_probs in self.log_probs.items()}

    @cached_property
    def partial_input_log_probs(self) -> dict[str, Floats]:
        """The log-probabilities of each model given only the partial input, if measured."""
        columns = {model: self.aligned.get(f"premise_free_log_probs_{model}") for model in MODELS}
        return {model: log_prob_array(column) for model, column in columns.items() if column is not None}

    @cached_property
    def noise_metrics(self) -> dict[str, float]:
        """Cases that flip without training: at another batch size, and with another new head, if measured."""
        metrics: dict[str, float] = {}
        for column, name in (("again_prediction_base", "noise_floor"), ("seed_prediction_base", "noise_floor_seed")):
            again = answered_again(self.aligned, column, self.task, self.gold)
            if again is not None:
                metrics |= noise_floor(again, name)
        return metrics

    @cached_property
    def labelled(self) -> pd.DataFrame:
        """The cases with each answer replaced by the label it stands for, None if it is invalid."""
        if self.task.answers_are_labels:
            return self.aligned
        columns = {}
        for model in MODELS:
            answers = self.task.classes(self.answers(model))
            columns[f"prediction_{model}"] = pd.Series(answers, self.aligned.index, dtype=object)
        return self.aligned.assign(**columns)

    @cached_property
    def no_classes(self) -> str | None:
        """The reason why class metrics cannot be compared, None if they can."""
        return no_classes(self.labelled, self.task.labels)

    @cached_property
    def class_sums(self) -> ClassSums | None:
        """The sums by label that all class metrics are computed from; None for a single case or cluster.

        Every gold label must be among the labels of the task.
        """
        return class_sums(self.labelled, self.task.labels, self.clusters)

    def answers(self, model: str) -> list[str | None]:
        """The answers of a model, None if invalid."""
        given = self.aligned[f"prediction_{model}"].astype(object)
        answers: list[str | None] = given.where(self.aligned[f"outcome_{model}"] != INVALID, None).tolist()
        return answers

    def tally(self, model: str) -> Tally:
        """The number of cases by gold label and the label that the model's answer stands for."""
        found = self.labelled.groupby(
            ["label", f"prediction_{model}", f"outcome_{model}"], observed=True, dropna=False
        ).size()
        known = set(self.task.labels)
        tally: Counter[tuple[str, str | None]] = Counter()
        for label, answer, outcome, cases in found.rename("cases").reset_index().itertuples(index=False):
            tally[str(label), answer if outcome != INVALID and answer in known else None] += int(cases)
        return tally


def compare_run(
    base: pd.DataFrame,
    tuned: pd.DataFrame,
    train: Sequence[Case],
    test: Sequence[Case],
    leaks: Leaks | None,
    task: Task,
    settings: Diff,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
    environments: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    user_slices: Mapping[str, Sequence[str | None]] = MappingProxyType({}),
) -> Comparison:
    """Compare the two prediction files of the pipeline.

    Args:
        base: predictions of the base model, as returned by `tunediff.data.cases.read_predictions`.
        tuned: predictions of the tuned model.
        train: the training cases; empty if unknown.
        test: the test cases.
        leaks: overlap of test and training cases; None if unknown.
        task: the task of the cases.
        settings: how to compare.
        labels: the label list that each file was written with; None: that of the task.
        environments: software and hardware that each model ran on, from its prediction file.
        user_slices: columns to slice by: the text of each test case or None, by column name.

    Raises:
        TunediffError: the files do not belong together, or their cases differ from the test split.
    """
    for name, values in user_slices.items():
        if len(values) != len(test):
            found = f"found {len(values):,} values for {len(test):,} test cases"
            raise TunediffError(f"slices by {name}: {found}, expected one per case (dvc repro)")
    aligned = in_split_order(align(base, tuned, labels=labels or (task.labels, task.labels)), test)
    aligned = task.with_gold(aligned.reset_index(drop=True), test)
    clusters = pd.Series([case.inputs[task.source_input] for case in test])
    about = settings, user_slices, environments
    return Comparison(aligned, task, settings.confidence, clusters, test, train, leaks, *about)


def compare_tables(
    before: pd.DataFrame,
    after: pd.DataFrame,
    fields: Fields | None = None,
    names: tuple[str, str] = ("before", "after"),
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare two tables of predictions, one row per case.

    >>> before = pd.DataFrame({"case_id": list("abcd"), "label": ["yes", "no"] * 2, "prediction": ["yes"] * 4})
    >>> after = before.assign(prediction=["yes", "no", "yes", None])
    >>> compare_tables(before, after).cells.tolist()
    ['both_right', 'repaired', 'both_right', 'both_wrong_changed']

    Args:
        before: predictions of the base model.
        after: predictions of the tuned model, in any order of rows.
        fields: names of the columns; None: case_id, label, prediction.
        names: names of the two for error messages.
        confidence: level of the intervals, in 0.5..1.

    Raises:
        TunediffError: a column is missing, or the two differ in their cases, inputs, labels, prompts or scorers.
    """
    fields = fields or Fields()
    parts = [from_table(before, fields, names[0])], [from_table(after, fields, names[1])]
    return compare_files(*parts, names, confidence)


def compare_files(
    before: Iterable[Predictions],
    after: Iterable[Predictions],
    names: tuple[str, str] = ("before", "after"),
    confidence: float = CONFIDENCE,
    folder: Path | None = None,
    at_once: bool = False,
) -> Comparison:
    """Compare two models' predictions, as `tunediff.compare.pairs.prediction_files.read_predictions` reads them.

    Args:
        before: predictions of the base model, in chunks.
        after: predictions of the tuned model, in any order of rows.
        names: names of the two for error messages.
        confidence: level of the intervals, in 0.5..1.
        folder: where cases are kept in unnamed files meanwhile; None: the system's folder of temporary files.
        at_once: read both files in parallel, which pays off if they are large; neither iterator may have been started.

    Raises:
        TunediffError: see `compare_tables`.
    """
    if not 0.5 <= confidence < 1:
        raise TunediffError(f"confidence: found {confidence}, expected at least 0.5 and below 1")
    pairs = pair(*store_both(before, after, names, folder, at_once), names, folder)
    source = "context" if "context" in pairs.inputs else "text"
    task = replace(pairs.kind, inputs=pairs.inputs, labels=_labels(pairs), source_input=source)
    aligned = pd.concat([_small(part, task) for part in pairs], ignore_index=True)
    user_slices = {name: aligned[name] for name in map(str, aligned) if name.startswith(SLICE)}
    return Comparison(
        aligned.drop(columns=list(user_slices)),
        task,
        confidence,
        aligned.get("cluster"),
        user_slices={name.removeprefix(SLICE): values for name, values in user_slices.items()},
        environments=pairs.environments,
        pairs=pairs,
    )


def with_transitions(pairs: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield the chunks of `pairs` with the transition of each case."""
    for aligned in pairs:
        yield aligned.assign(transition=transitions(aligned))


def _labels(pairs: Pairs) -> tuple[str, ...]:
    """The labels of the cases, if listed by the files or few enough to be classes; else empty."""
    if pairs.labels is not None:
        return tuple(dict.fromkeys(pairs.labels))
    found: set[str] = set()
    for labels in pairs.before.column("label"):
        found |= set(labels.unique())
        if len(found) > MOST_LABELS:
            return ()
    return tuple(sorted(found)) if len(found) <= max(FEW_LABELS, len(pairs) // CASES_PER_LABEL) else ()


def _small(aligned: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The columns that the metrics need, as categories; free-text answers keep their text, which is measured too."""
    texts = {"outcome_base": OUTCOMES, "outcome_tuned": OUTCOMES, "label": tuple(task.labels)}
    if task.answers_are_labels:
        texts |= {f"prediction_{model}": tuple(task.labels) for model in MODELS}
    # From the texts, because the categories cannot distinguish two answers outside the label list.
    columns: dict[str, Any] = {"transition": transitions(aligned)}
    columns |= {
        name: pd.Categorical.from_codes(pd.Index(names).get_indexer(pd.Index(aligned[name])), pd.Index(names))
        for name, names in texts.items()
    }
    columns |= {name: aligned[name].astype(object) for name in map(str, aligned) if name.startswith(SLICE)}
    if "cluster" in aligned:
        # A hash of 64 bits: among ten million clusters, two collide with a probability of 3 in a million.
        keys = pd.util.hash_array(aligned["cluster"].astype(object).to_numpy(), categorize=False).view("int64")
        columns["cluster"] = pd.array(keys, dtype="Int64")
        columns["cluster"][aligned["cluster"].isna().to_numpy()] = pd.NA
    free_text = () if task.answers_are_labels else ("prediction", "log_probs")
    by_model = [f"{name}_{model}" for name in (*free_text, *task.scores, *task.traits) for model in MODELS]
    columns |= {name: aligned[name] for name in (*task.shared_columns, *by_model) if name in aligned}
    return pd.DataFrame(columns, index=aligned.index)
