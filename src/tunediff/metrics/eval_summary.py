"""What an evaluation stage prints at its end: the figures, their arithmetic, and what to beware of.

print(summary("base", params.task, frame, score(params.task, frame)))
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tunediff.config.task import Task
from tunediff.metrics.accuracy import confusion, degenerate_reason, per_class

if TYPE_CHECKING:
    import pandas as pd


def summary(name: str, task: Task, frame: "pd.DataFrame", metrics: Mapping[str, float]) -> str:
    """A few lines about one model's predictions.

    Args:
        name: of the model.
        task: its name and its labels, in the order of the scores.
        frame: a prediction file's rows.
        metrics: what `tunediff.metrics.scores.score` made of them.
    """
    asked = task.name == "question_answering"
    first, *rest = _answers(task, metrics) if asked else _labels(task, frame, metrics)
    right = int((frame["outcome"] == "right").sum())
    lines = [f"{name}: {right:,} of {int(metrics['n']):,} right = {first}", *rest]
    if cut := int(frame["truncated"].sum()):
        lines.append(f"{cut:,} prompts were cut to fit the context")
    return "\n  ".join(lines)


def _labels(task: Task, frame: "pd.DataFrame", metrics: Mapping[str, float]) -> Iterator[str]:
    counts = confusion(task.labels, frame["label"], frame["prediction"])
    yield (
        f"{metrics['accuracy']:.1%} ({metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}), "
        f"balanced {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.3f}, "
        f"invalid {int(metrics['invalid']):,}, NLL {metrics['nll']:.3f}, Brier {metrics['brier']:.3f}"
    )
    for row in per_class(task.labels, counts):
        yield (
            f"{row['label']}: precision {row['precision']:.3f}, recall {row['recall']:.3f}, F1 {row['f1']:.3f}, "
            f"{row['support']:,} cases"
        )
    if reason := degenerate_reason(task.labels, counts):
        yield reason


def _answers(task: Task, metrics: Mapping[str, float]) -> Iterator[str]:
    yield (
        f"exact match {metrics['exact']:.1f} % ({metrics['exact_low']:.1f} to {metrics['exact_high']:.1f} %), "
        f"F1 {metrics['f1']:.1f} %, invalid {int(metrics['invalid']):,}"
    )
    for key, words in (("HasAns", "with an answer"), ("NoAns", "without an answer")):
        if len(task.labels) > 1 and f"{key}_total" in metrics:
            yield (
                f"{words}: exact match {metrics[f'{key}_exact']:.1f} %, F1 {metrics[f'{key}_f1']:.1f} %, "
                f"{int(metrics[f'{key}_total']):,} questions"
            )
    for key, words in (("best", "best for these questions"), ("validated", "best on the validation split")):
        if f"{key}_exact" in metrics:
            yield (
                f"no answer above the threshold that is {words}: "
                f"exact match {metrics[f'{key}_exact']:.1f} % (above {metrics[f'{key}_exact_thresh']:.3f}), "
                f"F1 {metrics[f'{key}_f1']:.1f} % (above {metrics[f'{key}_f1_thresh']:.3f})"
            )
    if "bleu" in metrics:
        meteor = next(key for key in metrics if key.startswith("meteor"))
        rouge = ", ".join(f"{key.replace('rouge', 'ROUGE-')} {metrics[key]:.3f}" for key in metrics if "rouge" in key)
        named = meteor.replace("meteor", "METEOR").replace("_", " ")
        yield f"BLEU {metrics['bleu']:.1f}, {rouge}, {named} {metrics[meteor]:.3f}"
