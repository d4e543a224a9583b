"""Reasons to read the numbers with care: each with a name, and a sentence or two with the figures.

    [caution.name for caution in cautions(results, task, confidence=0.95)]     # ["Base model at chance"]

Those of `tunediff.compare.checks` first, which judge a model's answers; then the stage's own alarms, then what the
baselines, the data, the answers and the training say.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tunediff.compare.checks import (
    chance_alarm,
    degenerate_alarm,
    guessing,
    never_answering,
    one_kind_alarm,
    perplexity_alarm,
    repeated_alarm,
    text_alarm,
)
from tunediff.config.task import Task
from tunediff.metrics.accuracy import confusion
from tunediff.report.notation import counted, decimal, percent, points, points_interval, whole
from tunediff.report.results import Flow, Results, Shape


class Caution(NamedTuple):
    """A reason to read the numbers with care: what is the matter, and a sentence or two."""

    name: str
    sentence: str


def cautions(results: Results, task: Task | Shape, confidence: float) -> list[Caution]:
    """Return the reasons to read the results with care.

    Args:
        results: of the experiment.
        task: names of labels and input fields.
        confidence: of every interval.
    """
    own = [
        *_about_models(results, task, confidence),
        *_about_scores(results, task),
        *_about_pretraining(results),
        *_about_gold(results),
        *_about_baselines(results),
        *_about_data(results, task),
        *_about_answers(results),
        *_about_noise(results),
        *_about_training(results),
    ]
    names = {caution.name for caution in own}
    # The stage that measured knows of more, and of some of the same.
    told = [Caution(row["name"], row["sentence"]) for row in results.alarms if row["name"] not in names]
    return [*told, *own]


def best_baseline(results: Results) -> float | None:
    """The accuracy of the best trivial baseline, in 0..1; None where none was measured."""
    return max((value for key, value in results.baselines.items() if key.endswith("_accuracy")), default=None)


def beaten(results: Results) -> bool:
    """Whether a trivial baseline is at least as accurate as the tuned model."""
    best = best_baseline(results)
    return best is not None and results.diff_cases["accuracy_tuned"] <= best


def _about_models(results: Results, task: Task | Shape, confidence: float) -> list[Caution]:
    if not results.cells:
        return []
    gold = [cell.label for cell in results.cells for _ in range(cell.cases)]
    answers = {
        results.models.base: [cell.before for cell in results.cells for _ in range(cell.cases)],
        results.models.tuned: [cell.after for cell in results.cells for _ in range(cell.cases)],
    }
    asked = results.of_questions
    alarms = [
        one_kind_alarm(gold, given, who) if asked else degenerate_alarm(task.labels, gold, given, who)
        for who, given in answers.items()
    ]
    n, right = int(results.diff_cases["n"]), int(results.diff_cases["both_right"] + results.diff_cases["broken"])
    found = [Caution(alarm.name, alarm.sentence) for alarm in alarms if alarm]
    chance = never_answering(gold) if asked else guessing(task.labels)
    if alarm := chance_alarm(right, n, chance, results.models.base, confidence):
        found.append(Caution(alarm.name, f"{alarm.sentence} A gain then measures learning of the task from nothing."))
    return found


def _about_scores(results: Results, task: Task | Shape) -> list[Caution]:
    """Scores of a metrics file that only repeat the accuracy, or that are of other texts than its F1."""
    found = []
    for who, metrics, side in (
        (results.models.base, results.eval_base, "before"),
        (results.models.tuned, results.eval_tuned, "after"),
    ):
        if results.of_questions:
            texts = {name: value for name, value in metrics.items() if name.startswith(("rouge", "meteor"))}
            # They are of the questions that have an answer.
            alarm = text_alarm(metrics.get("HasAns_f1", metrics.get("f1", 0)) / 100, texts, who)
        elif results.cells and "macro_f1" in metrics:
            rows = [(cell.label, getattr(cell, side)) for cell in results.cells for _ in range(cell.cases)]
            gold, given = zip(*rows, strict=True)
            alarm = repeated_alarm(metrics, task.labels, confusion(task.labels, gold, given), who)
        else:
            alarm = None
        if alarm:
            found.append(Caution(alarm.name, alarm.sentence))
    return found


def _about_pretraining(results: Results) -> list[Caution]:
    figures = results.base_model
    if not {"perplexity", "vocab_size"} <= set(figures):
        return []
    alarm = perplexity_alarm(figures["perplexity"], int(figures["vocab_size"]))
    return [Caution(alarm.name, alarm.sentence)] if alarm else []


def _about_gold(results: Results) -> list[Caution]:
    gold = {cell.label for cell in results.cells}
    if len(gold) != 1 or results.of_questions:
        return []
    return [
        Caution(
            "One gold label",
            f"Every test case has the gold label {gold.pop()}: this test set cannot tell a model that reads from "
            "one that always gives that label.",
        )
    ]


def _about_baselines(results: Results) -> list[Caution]:
    best, tuned = best_baseline(results), results.diff_cases["accuracy_tuned"]
    if best is None:
        return []
    if beaten(results):
        return [
            Caution(
                "No better than a trivial baseline",
                f"A baseline scores {percent(best)} on these cases, the {results.models.tuned} {percent(tuned)}.",
            )
        ]
    low = results.diff_cases.get("gain_over_baseline_low")
    if low is not None and low <= 0:
        ends = points_interval(low, results.diff_cases["gain_over_baseline_high"])
        sentence = f"The paired interval of the advantage over the best one, {ends}, includes zero."
        return [Caution("Not clearly above the baselines", sentence)]
    if low is None and results.eval_tuned.get("accuracy_low", 1.0) <= best:
        sentence = (
            f"The interval of the {results.models.tuned} reaches down to the {percent(best)} of a trivial baseline."
        )
        return [Caution("Not clearly above the baselines", sentence)]
    return []


def _about_data(results: Results, task: Task | Shape) -> list[Caution]:
    prepare = results.prepare
    kinds = [
        ("leaked_pairs", "stand in training with the same inputs"),
        ("near_duplicates", "have a near-duplicate in training"),
    ]
    if len(task.inputs) > 1:
        kinds.insert(1, ("shared_sources", f"share their {task.source_input} with training"))
    leaks = [f"{whole(prepare[key])} {what}" for key, what in kinds if prepare.get(key)]
    if not leaks:
        return []
    sentence = f"Of the {counted(int(prepare['test_n']), 'test case')}, {', '.join(leaks)}."
    return [Caution("Training knows test cases", f"{sentence} {_clean(results)}")]


def _clean(results: Results) -> str:
    """What is left of the difference without the cases that training has seen."""
    clean = results.clean
    if not clean.get("clean_n"):
        return "Part of what the tuned model has right may be memory."
    ends = points_interval(clean["clean_accuracy_delta_low"], clean["clean_accuracy_delta_high"])
    return (
        f"On the {counted(int(clean['clean_n']), 'case')} whose inputs training has neither seen nor nearly seen, the "
        f"difference is {points(clean['clean_accuracy_delta'])} ({ends})."
    )


def _about_answers(results: Results) -> list[Caution]:
    found, n = [], int(results.diff_cases["n"])
    sides = (("base", "before", "repaired", "gained"), ("tuned", "after", "broken", "lost"))
    for who, side, cell, change in sides:
        model: str = getattr(results.models, who)
        invalid = _invalid(results.flows, side)
        if not invalid:
            continue
        if results.of_questions:
            fit = "could not be read and counts" if invalid == 1 else "could not be read and count"
        else:
            fit = "names no label and counts" if invalid == 1 else "name no label and count"
        text = f"{counted(invalid, 'answer')} of the {model} ({percent(invalid / n)}) {fit} as wrong."
        in_cell = _invalid([flow for flow in results.flows if flow.transition == cell], side)
        if in_cell:
            text += (
                f" That is so for {whole(in_cell)} of the {counted(int(results.diff_cases[cell]), f'{cell} case')}: "
                f"what was {change} there may be no more than the form of the answer."
            )
        found.append(Caution(f"Invalid answers of the {model}", text))
    return found


def _invalid(flows: Sequence[Flow], side: str) -> int:
    return sum(flow.cases for flow in flows if getattr(flow, side) == "invalid")


def _about_noise(results: Results) -> list[Caution]:
    diff = results.diff_cases
    floor, flips = diff.get("noise_floor_flips"), diff["repaired"] + diff["broken"]
    if floor is None or floor == 0 or floor < flips / 2:
        return []
    return [
        Caution(
            "Flips within the noise",
            f"The {results.models.base} alone flips {whole(floor)} cases when it answers again at another batch size; "
            f"{results.models.change} flipped {whole(flips)}.",
        )
    ]


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
