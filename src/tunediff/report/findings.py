"""What the results say, in sentences a manager can read and a statistician will sign.

    found = findings(results, task, confidence=0.95)
    found.headline             # Fine-tuning raised accuracy from 41.0 % to 88.0 % on 100 test cases.
    found.cautions[0].name     # Base model at chance

A difference is called one only where the exact test rejects chance and the interval leaves zero out. Where
nothing was shown, the sentences say so, and what a test set of this size could have shown.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tunediff.metrics.classification import confusion, degenerate_reason
from tunediff.report.notation import (
    counted,
    decimal,
    interval,
    level,
    p_value,
    percent,
    points,
    points_interval,
    whole,
)
from tunediff.report.results import Metrics, Results
from tunediff.sections import Task
from tunediff.stats.intervals import clopper_pearson
from tunediff.stats.paired import minimum_detectable_difference

POWER = 0.8


class Caution(NamedTuple):
    """A reason to read the numbers with care: what is the matter, and a sentence or two."""

    name: str
    sentence: str


@dataclass(frozen=True)
class Findings:
    """The verdict in one line, the sentences that back it, what the test set cannot tell, the cautions, the counts."""

    headline: str
    sentences: tuple[str, ...]
    limits: tuple[str, ...]
    cautions: tuple[Caution, ...]
    parameters: str


def findings(results: Results, task: Task, confidence: float) -> Findings:
    """Put the results in words.

    Args:
        results: what the other stages wrote.
        task: names of labels and input fields.
        confidence: of every interval, in 0.5..1; one minus it is the level of the test.
    """
    return Findings(
        headline=_headline(results, confidence),
        sentences=(
            _accuracies(results, confidence),
            _difference(results.diff_cases, confidence),
            _flips(results.diff_cases),
            _baselines(results, task),
        ),
        limits=tuple(_limits(results, task, confidence)),
        cautions=tuple(_cautions(results, task)),
        parameters=_parameters(results.count_params),
    )


def shown(diff: Metrics, confidence: float) -> bool:
    """Whether a difference was shown: the exact test rejects chance and the interval leaves zero out."""
    return diff["mcnemar_p"] < 1 - confidence and not diff["accuracy_delta_low"] <= 0 <= diff["accuracy_delta_high"]


def _headline(results: Results, confidence: float) -> str:
    diff = results.diff_cases
    base, tuned = percent(diff["accuracy_base"]), percent(diff["accuracy_tuned"])
    cases = counted(int(diff["n"]), "test case")
    if not shown(diff, confidence):
        return f"No difference was shown between the base and the tuned model on {cases}."
    if diff["accuracy_delta"] < 0:
        return f"Fine-tuning made the model worse: accuracy fell from {base} to {tuned} on {cases}."
    gain = f"Fine-tuning raised accuracy from {base} to {tuned} on {cases}"
    return f"{gain}, no more than a cheap baseline scores." if _beaten(results) else f"{gain}."


def _accuracies(results: Results, confidence: float) -> str:
    base, tuned = results.eval_base, results.eval_tuned
    cases = "single case" if base["n"] == 1 else counted(int(base["n"]), "case")
    before, after = (interval(metrics["accuracy_low"], metrics["accuracy_high"]) for metrics in (base, tuned))
    return (
        f"Both models answered the same {cases}. The base model is right on {percent(base['accuracy'])} "
        f"({level(confidence)} interval {before}), the tuned model on {percent(tuned['accuracy'])} ({after})."
    )


def _difference(diff: Metrics, confidence: float) -> str:
    low, high, p = diff["accuracy_delta_low"], diff["accuracy_delta_high"], diff["mcnemar_p"]
    what = (
        f"The difference is {points(diff['accuracy_delta'])} ({level(confidence)} interval "
        f"{points_interval(low, high)}; exact McNemar test, {p_value(p)})"
    )
    if shown(diff, confidence):
        return f"{what}."
    if diff["repaired"] == diff["broken"] == 0:
        return f"{what}: not one case changed between right and wrong."
    if low <= 0 <= high:
        return f"{what}. The interval includes zero: chance alone can explain it, which is no proof of equality."
    return f"{what}. The interval leaves zero out, but the exact test does not rule out chance: too few cases changed."


def _flips(diff: Metrics) -> str:
    repaired, broken = int(diff["repaired"]), int(diff["broken"])
    right = int(diff["both_right"]) + broken
    changed = int(diff["both_wrong_changed"])
    wrong = int(diff["n"]) - right
    if wrong == 0:
        repairs = "The base model had no case wrong, so none could be repaired."
    else:
        still = wrong - repaired
        other = f", {whole(changed)} of them with another answer" if changed else ""
        rest = f"; {whole(still)} stayed wrong{other}" if still else ""
        repairs = (
            f"Of the {counted(wrong, 'case')} that the base model had wrong, fine-tuning repaired {whole(repaired)} "
            f"({percent(repaired / wrong)}){rest}."
        )
    if right == 0:
        return f"{repairs} The base model had no case right, so none could break."
    breaks = f"{whole(broken)} ({percent(broken / right)})" if broken else "none"
    return f"{repairs} Of the {whole(right)} that it had right, fine-tuning broke {breaks}."


def _baselines(results: Results, task: Task) -> str:
    tuned = results.eval_tuned["accuracy"]
    majority, words = results.baselines["majority_accuracy"], results.baselines["premise_free_accuracy"]
    alone = f" that reads only the {task.premise_free_input}" if len(task.inputs) > 1 else ""
    return (
        f"On the same cases, always giving the most frequent training label scores {percent(majority)}, and a "
        f"bag-of-words classifier{alone} scores {percent(words)}. Against these two the tuned model stands at "
        f"{points(tuned - majority)} and {points(tuned - words)}."
    )


def _limits(results: Results, task: Task, confidence: float) -> list[str]:
    """What this test set cannot tell."""
    diff, n = results.diff_cases, int(results.diff_cases["n"])
    flips, sure = int(diff["repaired"] + diff["broken"]), level(confidence)
    smallest = minimum_detectable_difference(n, flips / n, alpha=1 - confidence, power=POWER)
    sentences = []
    if flips == 0:
        sentences.append("No case changed between right and wrong, so nothing can be said about small differences.")
    elif smallest is None:
        sentences.append(
            f"With {whole(flips)} of {counted(n, 'case')} changed between right and wrong, no difference of any size "
            f"would be shown reliably ({level(POWER)} power)."
        )
    else:
        sentences.append(
            f"With {counted(n, 'case')}, of which {percent(flips / n)} changed between right and wrong, a true "
            f"difference below {decimal(100 * smallest, 1)} points would often go unseen "
            f"({level(POWER)} power, two-sided {level(1 - confidence)} level)."
        )
    right = int(diff["both_right"] + diff["broken"])
    if diff["broken"] == 0 and right:
        _, high = clopper_pearson(0, right, confidence)
        sentences.append(
            f"No broken case among {whole(right)} still allows for a true rate of up to {percent(high)} "
            f"(exact {sure} interval)."
        )
    if results.eval_tuned["accuracy"] == 1:
        sentences.append(
            "A tuned model without an error here may still be wrong in up to "
            f"{percent(1 - results.eval_tuned['accuracy_low'])} of such cases ({sure} interval)."
        )
    texts = len({case[task.source_input] for case in results.cases})
    if len(task.inputs) > 1 and texts < n:
        sentences.append(
            f"The {counted(n, 'case')} share {counted(texts, 'different ' + task.source_input)}. Intervals and test "
            "take each case as independent of the others, and may promise too much for that."
        )
    sentences.append("The model was trained once: how much another seed would change was not measured.")
    return sentences


def _beaten(results: Results) -> bool:
    """Whether a cheap baseline is at least as accurate as the tuned model."""
    return results.eval_tuned["accuracy"] <= max(
        results.baselines["majority_accuracy"], results.baselines["premise_free_accuracy"]
    )


def _cautions(results: Results, task: Task) -> list[Caution]:
    return [
        *_about_predictors(results, task),
        *_about_chance(results, task),
        *_about_data(results, task),
        *_about_answers(results),
        *_about_training(results),
    ]


def _about_predictors(results: Results, task: Task) -> list[Caution]:
    cautions = []
    gold = [case["label"] for case in results.cases]
    for who in ("base", "tuned"):
        counts = confusion(task.labels, gold, [case[f"{who}_prediction"] for case in results.cases])
        if reason := degenerate_reason(task.labels, counts):
            reason = reason.removeprefix("Degenerate predictor: ")
            cautions.append(Caution(f"Degenerate {who} model", f"Its answers need no reading of the case: {reason}"))
    return cautions


def _about_chance(results: Results, task: Task) -> list[Caution]:
    cautions, chance, tuned = [], 1 / len(task.labels), results.eval_tuned
    gold = {case["label"] for case in results.cases}
    if len(gold) == 1:
        cautions.append(
            Caution(
                "One gold label",
                f"Every test case has the gold label {gold.pop()}: this test set cannot tell a model that reads from "
                "one that always gives that label.",
            )
        )
    if results.eval_base["accuracy_low"] <= chance:
        cautions.append(
            Caution(
                "Base model at chance",
                f"Guessing among {counted(len(task.labels), 'label')} scores {percent(chance)}, and the base model is "
                "not shown to do better. A gain then measures learning of the task from nothing.",
            )
        )
    best = max(results.baselines["majority_accuracy"], results.baselines["premise_free_accuracy"])
    if _beaten(results):
        cautions.append(
            Caution(
                "No better than a cheap baseline",
                f"A baseline scores {percent(best)} on these cases, the tuned model {percent(tuned['accuracy'])}.",
            )
        )
    elif tuned["accuracy_low"] <= best:
        cautions.append(
            Caution(
                "Not clearly above the baselines",
                f"The interval of the tuned model reaches down to the {percent(best)} of a cheap baseline.",
            )
        )
    return cautions


def _about_data(results: Results, task: Task) -> list[Caution]:
    prepare = results.prepare
    kinds = [
        ("leaked_pairs", "stand in training with the same inputs"),
        ("near_duplicates", "have a near-duplicate in training"),
    ]
    if len(task.inputs) > 1:
        kinds.insert(1, ("shared_premises", f"share their {task.source_input} with training"))
    leaks = [f"{whole(prepare[key])} {what}" for key, what in kinds if prepare[key]]
    if not leaks:
        return []
    sentence = f"Of the {counted(int(prepare['test_n']), 'test case')}, {', '.join(leaks)}."
    return [Caution("Training knows test cases", f"{sentence} Part of what the tuned model has right may be memory.")]


def _about_answers(results: Results) -> list[Caution]:
    cautions, n = [], int(results.diff_cases["n"])
    for who, metrics, cell, change in (
        ("base", results.eval_base, "repaired", "gained"),
        ("tuned", results.eval_tuned, "broken", "lost"),
    ):
        if not metrics["invalid"]:
            continue
        count = counted(int(metrics["invalid"]), "answer")
        fit = "fits no label and counts" if metrics["invalid"] == 1 else "fit no label and count"
        text = f"{count} of the {who} model ({percent(metrics['invalid'] / n)}) {fit} as wrong."
        in_cell = sum(c["transition"] == cell and c[f"{who}_prediction"] is None for c in results.cases)
        if in_cell:
            text += (
                f" That is so for {whole(in_cell)} of the {counted(int(results.diff_cases[cell]), f'{cell} case')}: "
                f"what was {change} there may be no more than the form of the answer."
            )
        cautions.append(Caution(f"Invalid answers of the {who} model", text))
    return cautions


def _about_training(results: Results) -> list[Caution]:
    log = [row for row in results.train_log if row["train_loss"] is not None and row["validation_loss"] is not None]
    if len(log) < 2:
        return []
    best, last = min(log, key=lambda row: row["validation_loss"]), log[-1]
    if not (last["validation_loss"] > best["validation_loss"] and last["train_loss"] < best["train_loss"]):
        return []
    return [
        Caution(
            "Overfitting",
            f"Validation loss was lowest in epoch {best['epoch']:g} ({decimal(best['validation_loss'])}) and rose to "
            f"{decimal(last['validation_loss'])} by epoch {last['epoch']:g}, while training loss went on falling.",
        )
    ]


def _parameters(count: Metrics) -> str:
    share, stored_share = (percent(count[key] / 100, 3) for key in ("trainable_percent", "packed_trainable_percent"))
    total, stored = int(count["tuned_total"]), int(count["packed_total"])
    trained = f"Fine-tuning trains {whole(count['trainable'])} of {whole(total)} parameters, {share}."
    if total == stored:
        return f"{trained} No layer is packed: memory holds one element a parameter."
    return (
        f"{trained} Memory holds {whole(stored)} elements, because a 4-bit layer keeps two parameters in a byte. Tools "
        f"that count elements would print {stored_share}: that describes the storage, not the model."
    )
