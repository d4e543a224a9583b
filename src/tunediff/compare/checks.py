"""Checks for results that look sound but are not; each is raised once.

    [check.code for check in raised_checks(comparison, metrics, tables, figures, run)]     # ["TD102"]

`tunediff.config.checks.CHECKS` explains each code. The stage diff_cases writes the raised checks, and the report prints
them. They cover faults of published comparisons: one label for over 95 % of the cases, reported as "F1 .71,
reasonable"; a base model that guesses; an F1 that equals the accuracy to six digits; a perplexity in the millions; a
ROUGE near 1e-5 although the F1 is not.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.differences import no_classes
from tunediff.config.checks import CHECKS
from tunediff.data.cases import INVALID, MODELS, RIGHT
from tunediff.metrics.calibration import Floats
from tunediff.runtime.files import read_json, read_text
from tunediff.stats.bootstrap import cluster_codes
from tunediff.stats.intervals import wilson
from tunediff.tasks.answer_traits import CUT
from tunediff.tasks.task import Tally, Task

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison

Figures = Mapping[str, float]
Mask = npt.NDArray[np.bool_]

# With fewer clusters, an interval depends on single ones (Cameron and Miller 2015, Journal of Human Resources 50,
# section VI.A: "few" may be anything from 20 to 50).
FEW_CLUSTERS = 20

# Minimum share of cases whose answers end at the token limit for TD209.
FEW_CUT = 0.05


class Raised(NamedTuple):
    """A failed check: its code, its name, a sentence with the numbers, and the reason if it is acknowledged."""

    code: str
    name: str
    sentence: str
    acknowledged: str | None = None


class Models(NamedTuple):
    """Names of the two models and of the change between them, for sentences."""

    base: str = "base model"
    tuned: str = "tuned model"
    change: str = "fine-tuning"


DEFAULT_MODELS = Models()


@dataclass(frozen=True)
class Run:
    """Results of other stages that the checks need; empty if only two prediction files are compared."""

    models: Models = DEFAULT_MODELS
    prepare: Figures = field(default_factory=dict)
    base_model: Figures = field(default_factory=dict)
    evaluations: Mapping[str, Figures] = field(default_factory=dict)  # by model: base, tuned
    train_log: Sequence[Mapping[str, float | None]] = ()  # one row per epoch
    acknowledge: Mapping[str, str] = field(default_factory=dict)  # reason by code


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
        *_about_answers(comparison, run),
        *_about_evaluations(comparison, tables, run),
        *_about_classes(comparison),
        *_about_pretraining(run.base_model),
        *_about_baselines(metrics, run.models),
        *_about_data(comparison, metrics, figures, run.prepare),
        *_about_invalid_answers(comparison, run.models),
        *_about_cut_answers(comparison, run.models),
        *_about_noise(metrics, run.models),
        *_about_clusters(comparison),
        *environment_checks(*comparison.environments),
        *unchanged_checks(comparison.log_probs, run.models),
        *_about_training(run.train_log),
        *_about_files(comparison),
    ]
    ordered = sorted(found, key=lambda check: check.code)
    return [check._replace(acknowledged=run.acknowledge.get(check.code)) for check in ordered]


def _raised(code: str, sentence: str, name: str | None = None) -> Raised:
    return Raised(code, name or CHECKS[code].name, sentence)


def _about_answers(comparison: "Comparison", run: Run) -> Iterator[Raised]:
    """TD101 to TD103: models that need not read the case or do no better than chance; a test set with one label."""
    if not comparison.task.labels:
        return
    for model in MODELS:
        tally, who = comparison.tally(model), getattr(run.models, model)
        right = int((comparison.aligned[f"outcome_{model}"] == RIGHT).sum())
        if not _is_of_labels(comparison.task, tally, right):
            return
        if model == "base":
            yield from one_label_checks(comparison.task, tally)
        # Answers without a label are neither constant nor guessed; TD204 and TD401 cover them.
        if 2 * sum(n for (_, answer), n in tally.items() if answer is None) < len(comparison):
            yield from degenerate_checks(comparison.task, tally, who, comparison.confidence)
            yield from chance_checks(comparison.task, tally, right, model, who, comparison.confidence)


def _is_of_labels(task: Task, tally: Tally, right: int) -> bool:
    """Whether outcomes follow from the labels; in files of other tools, they may follow from another metric."""
    return not task.answers_are_labels or right == sum(n for (label, answer), n in tally.items() if label == answer)


def degenerate_checks(task: Task, tally: Tally, who: str, confidence: float) -> Iterator[Raised]:
    """TD101: a model that need not read the case, provided there are enough cases to show it.

    Args:
        task: the task of the cases.
        tally: the model's answers by gold label.
        who: name of the model, such as "tuned model".
        confidence: as for `chance_checks`.
    """
    gold: Counter[str] = Counter()
    for (label, _), cases in tally.items():
        gold[label] += cases
    if not _is_beatable(max(gold.values()) / gold.total(), gold.total(), confidence):
        return
    if sentence := task.degenerate(tally):
        yield _raised("TD101", sentence, f"Degenerate {who}")


def one_label_checks(task: Task, tally: Tally) -> Iterator[Raised]:
    """TD103: a test set that cannot distinguish a model that reads from one that does not."""
    if label := task.one_label(tally):
        yield _raised(
            "TD103",
            f"Every test case has the gold label {label}: this test set cannot distinguish a model that reads from "
            "one that always gives that label.",
        )


def chance_checks(task: Task, tally: Tally, right: int, model: str, who: str, confidence: float) -> Iterator[Raised]:
    """TD102: a model not shown to do better than chance, provided there are enough cases to show it.

    Args:
        task: the task of the cases.
        tally: the model's answers by gold label.
        right: number of cases that the model has right.
        model: base or tuned.
        who: name of the model.
        confidence: level of the Wilson interval that must lie above chance.
    """
    n, chance = sum(tally.values()), task.chance(tally)
    if chance is None or not _is_beatable(chance.share, n, confidence):
        return
    low, high = wilson(right, n, confidence)
    if low > chance.share:
        return
    sentence = (
        f"The {who} is right on {100 * right / n:.1f} % ({100 * low:.1f} to {100 * high:.1f} %) of "
        f"{_counted(n, 'case')}; {chance.words} scores {100 * chance.share:.1f} %."
    )
    if model == "base":
        sentence += " A gain over it then measures learning the task from scratch."
    yield _raised("TD102", sentence, f"{who.capitalize()} at chance")


def _is_beatable(share: float, n: int, confidence: float) -> bool:
    """Whether `n` right answers to `n` cases would be significantly above `share`."""
    return wilson(n, n, confidence)[0] > share


def _about_evaluations(comparison: "Comparison", tables: Mapping[str, pd.DataFrame], run: Run) -> Iterator[Raised]:
    """TD104 and TD106: figures of an evaluation that repeat each other, or that score different texts."""
    for model in MODELS:
        who, evaluation = getattr(run.models, model), run.evaluations.get(model, {})
        if evaluation and comparison.task.labels:
            yield from repeated_checks(comparison.task, evaluation, comparison.tally(model), who)
        measured = {str(name): float(one) for name, one in tables["differences"].set_index("metric")[model].items()}
        texts = {name: one for name, one in measured.items() if name.startswith(("BLEU", "ROUGE", "METEOR"))}
        f1 = _answerable_f1(comparison, model) if texts else None
        written = comparison.task.text_scores(evaluation)
        pairs = [pair for pair in (written, None if f1 is None else (f1, texts)) if pair is not None]
        yield from next(filter(None, (list(text_checks(*pair, who)) for pair in pairs)), [])


def _answerable_f1(comparison: "Comparison", model: str) -> float | None:
    """The mean F1 of the cases with a reference text, on which text metrics are computed."""
    stem = next(iter(comparison.task.scores), None)
    kind = next(iter(comparison.task.kinds.values()), None)
    if stem is None or kind is None:
        return None
    return float(comparison.aligned[f"{stem}_{model}"][comparison.aligned["label"] == kind].mean())


def repeated_checks(task: Task, metrics: Figures, tally: Tally, who: str) -> Iterator[Raised]:
    """TD104: scores that equal the accuracy to six digits although the counts disagree."""
    if repeated := task.repeated(metrics, tally):
        sentence = f"The accuracy {metrics['accuracy']:.6f} is also reported as {', '.join(repeated)}."
        yield _raised("TD104", sentence, f"Accuracy of the {who} repeated")


def text_checks(f1: float, texts: Figures, who: str) -> Iterator[Raised]:
    """TD106: text metrics near zero although the token F1 is not: they score different texts.

    Args:
        f1: token F1 in 0..1.
        texts: BLEU, ROUGE, METEOR and the like in 0..1, by name, for the same predictions. BLEU is 0 if no four
            consecutive words are right, and ROUGE-2 if all answers have one word, so these two alone raise nothing.
        who: name of the model.
    """
    low = {name: value for name, value in texts.items() if not value >= f1 / 100}
    telling = [name for name in low if not name.lower().replace("-", "").startswith(("bleu", "rouge2"))]
    if f1 >= 0.01 and telling:
        listed = ", ".join(f"{name} {value:.2g}" for name, value in low.items())
        sentence = f"The token F1 is {f1:.3f}, yet {listed}: predictions and references are probably misaligned."
        yield _raised("TD106", sentence, f"Text metrics of the {who} near zero")


def _about_classes(comparison: "Comparison") -> Iterator[Raised]:
    """TD107: class metrics that cannot be compared."""
    task = comparison.task
    if "classes" in task.compared and (reason := no_classes(comparison.aligned, task.labels)):
        yield _raised("TD107", f"Balanced accuracy and macro F1 are left out: {reason}.")


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
        yield _raised(
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
        yield _raised("TD201", sentence)
    elif low <= 0:
        sentence = (
            f"The paired interval of the advantage over the best trivial baseline, {low:+.1f} to "
            f"{high:+.1f} points, includes zero."
        )
        yield _raised("TD202", sentence)


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
        sentence = f"Of the {_counted(int(metrics['n']), 'test case')}, {', '.join(leaks)}."
        yield _raised("TD203", f"{sentence} {_clean(figures.get('contamination', {}))}")


def _clean(figures: Figures) -> str:
    """A sentence about the difference without the cases that training has seen."""
    if not figures.get("clean_n"):
        return "Part of the tuned model's accuracy may be memorization."
    delta, low, high = (100 * figures[f"clean_accuracy_delta{end}"] for end in ("", "_low", "_high"))
    return (
        f"On the {_counted(int(figures['clean_n']), 'case')} with no duplicate or near-duplicate in training, the "
        f"difference is {delta:+.1f} points ({low:+.1f} to {high:+.1f} points)."
    )


def _about_invalid_answers(comparison: "Comparison", models: Models) -> Iterator[Raised]:
    n = len(comparison)
    # The writer of a file may have marked an answer as invalid for any reason.
    from_files = comparison.pairs is not None
    one, several = ("is invalid and counts", "are invalid and count") if from_files else comparison.task.words.invalid
    for model, cell, change in (("base", "repaired", "gain"), ("tuned", "broken", "loss")):
        invalid = comparison.aligned[f"outcome_{model}"] == INVALID
        count, who = int(invalid.sum()), getattr(models, model)
        if not count:
            continue
        sentence = (
            f"{_counted(count, 'answer')} of the {who} ({100 * count / n:.1f} %) {one if count == 1 else several} as "
            "wrong."
        )
        inside = comparison.cells == cell
        if within := int((invalid & inside).sum()):
            sentence += (
                f" They include {within:,} of the {_counted(int(inside.sum()), f'{cell} case')}: that {change} may be "
                "due to the answer format alone."
            )
        yield _raised("TD204", sentence, f"Invalid answers of the {who}")


def _about_cut_answers(comparison: "Comparison", models: Models) -> Iterator[Raised]:
    if CUT not in comparison.task.traits:
        return
    for model in MODELS:
        right = comparison.aligned[f"outcome_{model}"] == RIGHT
        cut = pd.to_numeric(comparison.aligned[f"{CUT}_{model}"]) == 1
        yield from cut_checks(right.to_numpy(), cut.to_numpy(), getattr(models, model))


def cut_checks(right: Mask, cut: Mask, who: str) -> Iterator[Raised]:
    """TD209: answers that are wrong and end at the token limit.

    Args:
        right: whether each answer is right, of shape (n_cases,).
        cut: whether each answer ends at the token limit, of shape (n_cases,).
        who: name of the model.
    """
    count = int((cut & ~right).sum())
    if count and count >= FEW_CUT * len(right):
        yield _raised(
            "TD209",
            f"{_counted(count, 'wrong answer')} of the {who} ({100 * count / len(right):.1f} % of the cases) "
            f"{'ends' if count == 1 else 'end'} at the token limit.",
            f"Answers of the {who} cut off",
        )


def _about_noise(metrics: Figures, models: Models) -> Iterator[Raised]:
    floor, flips = metrics.get("noise_floor_flips"), metrics["repaired"] + metrics["broken"]
    if floor and floor >= flips / 2:
        yield _raised(
            "TD205",
            f"The {models.base} alone flips {int(floor):,} cases when evaluated again at another batch size; "
            f"{models.change} flipped {int(flips):,}.",
        )


def _about_clusters(comparison: "Comparison") -> Iterator[Raised]:
    if comparison.clusters is None or comparison.clusters.empty:
        return
    n, clusters = len(comparison), int(cluster_codes(comparison.clusters).max()) + 1
    if clusters < min(n, FEW_CLUSTERS):
        yield _raised(
            "TD208",
            f"The {_counted(n, 'case')} form {_counted(clusters, 'cluster')} of related cases. Intervals treat each "
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
        yield _raised(
            "TD206",
            f"{changes}. Some flips may be due to rounding rather than to the change of the model; run tunediff "
            "verify to see whether the evaluations reproduce here.",
            "Environment changed between the evaluations",
        )


def unchanged_checks(log_probs: Mapping[str, Floats], models: Models = DEFAULT_MODELS) -> Iterator[Raised]:
    """TD207: a tuned model whose scores equal the base model's to the last digit.

    Args:
        log_probs: log-probabilities of base and tuned, of shape (n_cases, n_labels); empty if a case has none.
        models: names of the two.
    """
    if log_probs and np.array_equal(log_probs["base"], log_probs["tuned"]):
        yield _raised(
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
        yield _raised(
            "TD301",
            f"Validation loss was lowest in epoch {best['epoch']:g} ({best['validation_loss']:.3f}) and rose to "
            f"{last['validation_loss']:.3f} by epoch {last['epoch']:g}, while training loss kept falling.",
        )


def _about_files(comparison: "Comparison") -> Iterator[Raised]:
    """Checks that were raised when the files were read."""
    for code, sentence in comparison.pairs.checks if comparison.pairs else ():
        yield _raised(code, sentence)


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
