"""Checks for results that look sound but are not; each is raised once.

    [check.code for check in raised_checks(comparison, metrics, tables, figures, run)]     # ["TD102"]

`tunediff.config.checks.CHECKS` explains each code. The stage diff_cases writes the raised checks, and the report prints
them. They cover faults of published comparisons: one label for over 95 % of the cases, reported as "F1 .71,
reasonable"; a base model that guesses; an F1 that equals the accuracy to six digits; a perplexity in the millions; a
ROUGE near 1e-5 although the F1 is not.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tunediff.compare.answer_checks import cut_answer_checks, evaluation_checks, invalid_answer_checks, label_checks
from tunediff.compare.raised import Figures, Models, Raised, Run, count_of, raise_check
from tunediff.runtime.files import read_json, read_text
from tunediff.stats.bootstrap import Floats, n_clusters

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison


# With fewer clusters, an interval depends on single ones (Cameron and Miller 2015, Journal of Human Resources 50,
# section VI.A: "few" may be anything from 20 to 50).
FEW_CLUSTERS = 20


def read_run(
    prepare: Path, base_model: Path, evaluations: Mapping[str, Path], train_log: Path, acknowledge: Mapping[str, str]
) -> Run:
    """Read the results of other stages.

    Args:
        prepare: metrics of the stage prepare.
        base_model: metrics of the stage base_model.
        evaluations: metrics of each model.
        train_log: losses by epoch.
        acknowledge: reasons by code.

    Raises:
        TunediffError: a file is missing or cannot be read.
    """
    return Run(
        prepare=read_json(prepare),
        base_model=read_json(base_model),
        evaluations={model: read_json(path) for model, path in evaluations.items()},
        train_log=[
            {key: float(row[key]) if row.get(key) else None for key in ("epoch", "train_loss", "validation_loss")}
            for row in csv.DictReader(io.StringIO(read_text(train_log)))
        ],
        acknowledge=acknowledge,
    )


def raised_checks(
    comparison: "Comparison",
    metrics: Figures,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figures],
    run: Run,
) -> list[Raised]:
    """Return the checks that the results fail, in the order of their codes.

    Args:
        comparison: the comparison of the two models.
        metrics: content of metrics/diff_cases.json.
        tables: tables of data/plots, by name.
        figures: content of separate metrics files, by name: contamination if leaks are known.
        run: results of other stages.
    """
    found = [
        *label_checks(comparison, run),
        *evaluation_checks(comparison, tables, run),
        *_about_classes(comparison),
        *_about_pretraining(run.base_model),
        *_about_baselines(metrics, run.models),
        *_about_data(comparison, metrics, figures, run.prepare),
        *invalid_answer_checks(comparison, run.models),
        *cut_answer_checks(comparison, run.models),
        *_about_noise(metrics, run.models),
        *_about_clusters(comparison),
        *environment_checks(*comparison.environments),
        *unchanged_checks(comparison.log_probs, run.models),
        *_about_training(run.train_log),
        *_about_files(comparison),
    ]
    ordered = sorted(found, key=lambda check: check.code)
    return [check._replace(acknowledged=run.acknowledge.get(check.code)) for check in ordered]


def _about_classes(comparison: "Comparison") -> Iterator[Raised]:
    """TD107: class metrics that cannot be compared."""
    if "classes" in comparison.task.compared and (reason := comparison.no_classes):
        yield raise_check("TD107", f"Balanced accuracy and macro F1 are left out: {reason}.")


def _about_pretraining(figures: Figures) -> Iterator[Raised]:
    if {"perplexity", "vocab_size"} <= set(figures):
        yield from perplexity_checks(figures["perplexity"], int(figures["vocab_size"]))


def perplexity_checks(perplexity: float, vocab_size: int) -> Iterator[Raised]:
    """TD105: a perplexity above the size of the vocabulary, which is that of a uniform guess.

    Args:
        perplexity: exp of the mean negative log-probability per token; may be infinite or NaN.
        vocab_size: size of the vocabulary.
    """
    if not perplexity <= vocab_size:
        yield raise_check(
            "TD105",
            f"The perplexity of {perplexity:,.0f} is above that of guessing evenly among {vocab_size:,} tokens: "
            "the model or the labels it is measured on are broken.",
        )


def _about_baselines(metrics: Figures, models: Models) -> Iterator[Raised]:
    best, tuned = metrics.get("baseline_best"), metrics["accuracy_tuned"]
    if best is None:
        return
    low, high = (100 * metrics[f"gain_over_baseline_{end}"] for end in ("low", "high"))
    if tuned <= best:
        sentence = (
            f"A trivial baseline scores {100 * best:.1f} % on these cases, the {models.tuned} {100 * tuned:.1f} %."
        )
        yield raise_check("TD201", sentence)
    elif low <= 0:
        sentence = (
            f"The paired interval of the advantage over the best trivial baseline, {low:+.1f} to "
            f"{high:+.1f} points, includes zero."
        )
        yield raise_check("TD202", sentence)


def _about_data(
    comparison: "Comparison", metrics: Figures, figures: Mapping[str, Figures], prepare: Figures
) -> Iterator[Raised]:
    task = comparison.task
    kinds = [
        ("leaked_pairs", "also occur in the training split"),
        ("near_duplicates", "have a near-duplicate in training"),
    ]
    if len(task.inputs) > 1:
        kinds.insert(1, ("shared_sources", f"share their {task.source_input} with training"))
    leaks = [f"{int(prepare[key]):,} {what}" for key, what in kinds if prepare.get(key)]
    if leaks:
        sentence = f"Of the {count_of(int(metrics['n']), 'test case')}, {', '.join(leaks)}."
        yield raise_check("TD203", f"{sentence} {_clean(figures.get('contamination', {}))}")


def _clean(figures: Figures) -> str:
    """A sentence about the difference without the cases that training has seen."""
    if not figures.get("clean_n"):
        return "Part of the tuned model's accuracy may be memorization."
    delta, low, high = (100 * figures[f"clean_accuracy_delta{end}"] for end in ("", "_low", "_high"))
    return (
        f"On the {count_of(int(figures['clean_n']), 'case')} with no duplicate or near-duplicate in training, the "
        f"difference is {delta:+.1f} points ({low:+.1f} to {high:+.1f} points)."
    )


def _about_noise(metrics: Figures, models: Models) -> Iterator[Raised]:
    floor, flips = metrics.get("noise_floor_flips"), metrics["repaired"] + metrics["broken"]
    if floor and floor >= flips / 2:
        yield raise_check(
            "TD205",
            f"The {models.base} alone flips {int(floor):,} cases when evaluated again at another batch size; "
            f"{models.change} flipped {int(flips):,}.",
        )


def _about_clusters(comparison: "Comparison") -> Iterator[Raised]:
    n = len(comparison)
    clusters = n_clusters(comparison.clusters, n)
    if clusters < min(n, FEW_CLUSTERS):
        yield raise_check(
            "TD208",
            f"The {count_of(n, 'case')} form {count_of(clusters, 'cluster')} of related cases. Intervals treat each "
            "cluster as one observation and are wide for so few; McNemar's test treats all cases as independent.",
        )


def environment_checks(base: Mapping[str, str], tuned: Mapping[str, str]) -> Iterator[Raised]:
    """TD206: environments of the two evaluations (see `tunediff.models.environment`) that differ.

    Args:
        base: environment of the evaluation of the base model; empty if unknown.
        tuned: environment of the evaluation of the tuned model.
    """
    names = [name for name in {**base, **tuned} if base.get(name) != tuned.get(name)] if base and tuned else []
    if names:
        changes = "; ".join(
            f"{name} {base.get(name, 'none')} before, {tuned.get(name, 'none')} after" for name in names
        )
        yield raise_check(
            "TD206",
            f"{changes}. Some flips may be due to rounding rather than to the change of the model; run tunediff "
            "verify to see whether the evaluations reproduce here.",
            "Environment changed between the evaluations",
        )


def unchanged_checks(log_probs: Mapping[str, Floats], models: Models) -> Iterator[Raised]:
    """TD207: a tuned model whose scores equal the base model's to the last digit.

    Args:
        log_probs: log-probabilities of base and tuned, of shape (n_cases, n_labels); empty if a case has none.
        models: names of the two.
    """
    if log_probs and np.array_equal(log_probs["base"], log_probs["tuned"]):
        yield raise_check(
            "TD207",
            f"All {log_probs['base'].size:,} log-probabilities of the {models.tuned} equal those of the "
            f"{models.base}: it was not applied, or it changes nothing.",
            f"{models.tuned.capitalize()} not applied",
        )


def _about_training(log: Iterable[Mapping[str, Any]]) -> Iterator[Raised]:
    rows = [row for row in log if row["train_loss"] is not None and row["validation_loss"] is not None]
    if len(rows) < 2:
        return
    best, last = min(rows, key=lambda row: row["validation_loss"]), rows[-1]
    if last["validation_loss"] > best["validation_loss"] and last["train_loss"] < best["train_loss"]:
        yield raise_check(
            "TD301",
            f"Validation loss was lowest in epoch {best['epoch']:g} ({best['validation_loss']:.3f}) and rose to "
            f"{last['validation_loss']:.3f} by epoch {last['epoch']:g}, while training loss kept falling.",
        )


def _about_files(comparison: "Comparison") -> Iterator[Raised]:
    """Checks that were raised when the files were read."""
    for code, sentence in comparison.pairs.checks if comparison.pairs else ():
        yield raise_check(code, sentence)
