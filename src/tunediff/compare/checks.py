"""Results that look like figures and are none: named, before anybody draws a conclusion from them.

Each function judges what a run wrote, and answers with an `Alarm` or with None. They are the ways in which published
comparisons went wrong:

    degenerate_alarm    one label for over 95 % of the cases, reported as "F1 .71, reasonable"
    chance_alarm        a base model that guesses, so that the gain is learning from nothing
    repeated_alarm      an F1 that is the accuracy to six digits
    perplexity_alarm    a perplexity in the millions
    environment_alarm   two models that answered on other machines or with other libraries
    vocabulary_alarm    answers that are called otherwise than the labels: LABEL_0 for entailment
    text_alarm          ROUGE near 1e-5 beside an F1 that is not: predictions and references were not aligned
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.metrics.accuracy import ONE_LABEL_SHARE, Counts, confusion, degenerate_reason, per_class
from tunediff.runtime.files import shown
from tunediff.stats.intervals import wilson


class Alarm(NamedTuple):
    """A reason not to trust a figure: what is the matter, and a sentence that says so with the numbers."""

    name: str
    sentence: str


def degenerate_alarm(
    labels: Sequence[str], gold: Iterable[str], predictions: Iterable[str | None], who: str
) -> Alarm | None:
    """Name a predictor that needs no reading of the case.

    Args:
        labels: the label list of the task.
        gold: the right label of each case.
        predictions: the predicted label of each case, None where invalid.
        who: what to call it, such as "tuned model".

    Raises:
        TunediffError: a label outside `labels`.
    """
    reason = degenerate_reason(labels, confusion(labels, gold, predictions))
    if reason is None:
        return None
    # The name of the alarm says already what the sentence begins with.
    words = reason.removeprefix("Degenerate predictor: ")
    return Alarm(f"Degenerate {who}", words[0].upper() + words[1:])


def one_kind_alarm(gold: Sequence[str], kinds: Sequence[str | None], who: str) -> Alarm | None:
    """Name a model that answers nearly every question, or nearly none, where the questions are not of one kind.

    Args:
        gold: answerable or unanswerable, of each question.
        kinds: the same of the model's answers, None where invalid.
        who: what to call it, such as "tuned model".
    """
    for kind, said in ((ANSWERABLE, "an answer to"), (UNANSWERABLE, "no answer to")):
        share, true = (list(values).count(kind) / len(gold) for values in (kinds, gold))
        if share > ONE_LABEL_SHARE >= true:
            return Alarm(
                f"Degenerate {who}",
                f"It gives {said} {100 * share:.1f} % of {_counted(len(gold), 'question')}; "
                f"{100 * true:.1f} % are {kind}.",
            )
    return None


class Chance(NamedTuple):
    """What is right without reading a case, as a share in 0..1, and in words."""

    share: float
    words: str


def guessing(labels: Sequence[str]) -> Chance:
    """Return what guessing among the labels scores."""
    return Chance(1 / len(labels), f"guessing among {len(labels)} labels")


def never_answering(gold: Iterable[str]) -> Chance:
    """Return what giving no answer to any question scores, given whether each is answerable or unanswerable."""
    labels = list(gold)
    return Chance(labels.count(UNANSWERABLE) / len(labels), "never answering")


def chance_alarm(right: int, n: int, chance: Chance, who: str = "base model", confidence: float = 0.95) -> Alarm | None:
    """Name a model that is not shown to do better than chance.

    Args:
        right: cases it has right.
        n: cases.
        chance: what `guessing` or `never_answering` returns.
        who: what to call it.
        confidence: of the Wilson interval that has to lie above chance.
    """
    low, high = wilson(right, n, confidence)
    if low > chance.share:
        return None
    return Alarm(
        f"{who.capitalize()} at chance",
        f"The {who} is right on {100 * right / n:.1f} % ({100 * low:.1f} to {100 * high:.1f} %) of "
        f"{_counted(n, 'case')}; "
        f"{chance.words} scores {100 * chance.share:.1f} %.",
    )


def repeated_alarm(
    metrics: Mapping[str, float], labels: Sequence[str], counts: Counts, who: str = "model"
) -> Alarm | None:
    """Name F1 scores, precision or recall that repeat the accuracy to six digits where the counts say otherwise.

    Args:
        metrics: figures as reported, in 0..1, among them any of accuracy, macro_f1, precision, recall, f1 (the last
            three of the last label, the positive one of two).
        labels: the label list of the task.
        counts: what `tunediff.metrics.accuracy.confusion` returns for the predictions.
        who: what to call it.
    """
    rows = per_class(labels, counts)
    there = [row["f1"] for row, column in zip(rows, counts.sum(axis=0), strict=False) if row["support"] or column]
    true = {"macro_f1": sum(there) / len(there), **{name: rows[-1][name] for name in ("precision", "recall", "f1")}}
    accuracy = metrics["accuracy"]
    repeated = [
        f"{name} (by the counts {true[name]:.6f})"
        for name in true
        if name in metrics and abs(metrics[name] - accuracy) < 5e-7 and abs(true[name] - metrics[name]) >= 5e-7
    ]
    if not repeated:
        return None
    return Alarm(
        f"Accuracy of the {who} repeated", f"The accuracy {accuracy:.6f} also stands as {', '.join(repeated)}."
    )


def perplexity_alarm(perplexity: float, vocab_size: int) -> Alarm | None:
    """Name a perplexity above the size of the vocabulary, which guessing every token evenly would reach.

    Args:
        perplexity: exp of the mean negative log-probability of a token; may be infinite or not a number.
        vocab_size: tokens that the model chooses among.
    """
    if perplexity <= vocab_size:
        return None
    return Alarm(
        "Perplexity above the vocabulary",
        f"The perplexity of {perplexity:,.0f} is above that of guessing evenly among {vocab_size:,} tokens: "
        "the model or the labels it is measured on are broken.",
    )


def text_alarm(f1: float, text_metrics: Mapping[str, float], who: str = "model") -> Alarm | None:
    """Name text metrics near zero beside a token F1 that is not: they score other texts than it does.

    Args:
        f1: token F1 in 0..1.
        text_metrics: BLEU, ROUGE, METEOR and the like in 0..1, by name, from the same predictions. BLEU is truly 0
            where no four words in a row are right, and ROUGE-2 where all answers have one word, so these two alone
            raise no alarm.
        who: what to call it.
    """
    low = {name: value for name, value in text_metrics.items() if not value >= f1 / 100}
    telling = [name for name in low if not name.lower().replace("-", "").startswith(("bleu", "rouge2"))]
    if f1 < 0.01 or not telling:
        return None
    figures = ", ".join(f"{name} {value:.2g}" for name, value in low.items())
    return Alarm(
        f"Text metrics of the {who} near zero",
        f"Beside a token F1 of {f1:.3f} stand {figures}: predictions and references are probably not aligned.",
    )


def vocabulary_alarm(labels: Sequence[str], answers: Sequence[str], foreign: int, n: int, who: str) -> Alarm:
    """Name a file whose answers are not called as its labels are.

    Args:
        labels: the first of them.
        answers: those that are none of the labels, the most frequent first.
        foreign: how many answers are none of the labels.
        n: how many answers there are.
        who: the file.
    """
    some, other = (", ".join(shown(one, 40) for one in sorted(names)) for names in (labels, answers))
    how = f"None of the {_counted(n, 'answer')}" if foreign == n else f"Only {n - foreign:,} of the {n:,} answers"
    return Alarm(
        f"Answers of {who} are none of the labels",
        f"{how} of {who} {'is' if foreign == n or n - foreign == 1 else 'are'} among its labels. Labels: {some}; "
        f"answers: {other}. Unless the model truly answers so, give both the same names.",
    )


def environment_alarm(base: Mapping[str, str], tuned: Mapping[str, str]) -> Alarm | None:
    """Name what differs between the environments of two evaluations, as `tunediff.models.environment` describes them.

    Args:
        base: of the evaluation before; empty where nobody wrote it down.
        tuned: of the one after.
    """
    if not base or not tuned:
        return None
    names = [name for name in {**base, **tuned} if base.get(name) != tuned.get(name)]
    if not names:
        return None
    changes = "; ".join(f"{name} {base.get(name, 'none')} before, {tuned.get(name, 'none')} after" for name in names)
    return Alarm(
        "Environment changed between the evaluations",
        f"{changes}. Some of the flipped cases may be rounding and not what changed the model; tunediff verify says "
        "whether the evaluations give the same here.",
    )


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
