"""Checks of the answers of each model, and of their metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from tunediff.compare.raised import Figures, Models, Raised, Run, count_of, raise_check
from tunediff.data.cases import INVALID, MODELS, RIGHT
from tunediff.stats.discordance import Flags
from tunediff.stats.intervals import wilson
from tunediff.tasks.answer_traits import CUT
from tunediff.tasks.task import Tally, Task

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison


# Minimum share of cases whose answers end at the token limit for TD209.
FEW_CUT = 0.05


def label_checks(comparison: "Comparison", run: Run) -> Iterator[Raised]:
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
        yield raise_check("TD101", sentence, f"Degenerate {who}")


def one_label_checks(task: Task, tally: Tally) -> Iterator[Raised]:
    """TD103: a test set that cannot distinguish a model that reads from one that does not."""
    if label := task.one_label(tally):
        yield raise_check(
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
        f"{count_of(n, 'case')}; {chance.words} scores {100 * chance.share:.1f} %."
    )
    if model == "base":
        sentence += " A gain over it then measures learning the task from scratch."
    yield raise_check("TD102", sentence, f"{who.capitalize()} at chance")


def _is_beatable(share: float, n: int, confidence: float) -> bool:
    """Whether `n` right answers to `n` cases would be significantly above `share`."""
    return wilson(n, n, confidence)[0] > share


def evaluation_checks(comparison: "Comparison", tables: Mapping[str, pd.DataFrame], run: Run) -> Iterator[Raised]:
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
        yield raise_check("TD104", sentence, f"Accuracy of the {who} repeated")


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
        yield raise_check("TD106", sentence, f"Text metrics of the {who} near zero")


def invalid_answer_checks(comparison: "Comparison", models: Models) -> Iterator[Raised]:
    """TD204: invalid answers, which count as wrong."""
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
            f"{count_of(count, 'answer')} of the {who} ({100 * count / n:.1f} %) {one if count == 1 else several} as "
            "wrong."
        )
        inside = comparison.cells == cell
        if within := int((invalid & inside).sum()):
            sentence += (
                f" They include {within:,} of the {count_of(int(inside.sum()), f'{cell} case')}: that {change} may be "
                "due to the answer format alone."
            )
        yield raise_check("TD204", sentence, f"Invalid answers of the {who}")


def cut_answer_checks(comparison: "Comparison", models: Models) -> Iterator[Raised]:
    """TD209: wrong answers that end at the token limit, for tasks with generated answers."""
    if CUT not in comparison.task.traits:
        return
    for model in MODELS:
        right = comparison.aligned[f"outcome_{model}"] == RIGHT
        cut = pd.to_numeric(comparison.aligned[f"{CUT}_{model}"]) == 1
        yield from cut_checks(right.to_numpy(), cut.to_numpy(), getattr(models, model))


def cut_checks(right: Flags, cut: Flags, who: str) -> Iterator[Raised]:
    """TD209: answers that are wrong and end at the token limit.

    Args:
        right: whether each answer is right, of shape (n_cases,).
        cut: whether each answer ends at the token limit, of shape (n_cases,).
        who: name of the model.
    """
    count = int((cut & ~right).sum())
    if count and count >= FEW_CUT * len(right):
        yield raise_check(
            "TD209",
            f"{count_of(count, 'wrong answer')} of the {who} ({100 * count / len(right):.1f} % of the cases) "
            f"{'ends' if count == 1 else 'end'} at the token limit.",
            f"Answers of the {who} cut off",
        )
