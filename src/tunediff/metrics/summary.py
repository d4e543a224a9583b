"""What an evaluation stage prints at its end: the figures, their arithmetic, and what to beware of.

print(summary("base", task.labels, frame, score(...)))
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunediff.metrics.classification import confusion, degenerate_reason, per_class

if TYPE_CHECKING:
    import pandas as pd


def summary(name: str, labels: Sequence[str], frame: "pd.DataFrame", metrics: Mapping[str, float]) -> str:
    """A few lines about one model's predictions.

    Args:
        name: of the model.
        labels: the labels, in the order of the scores.
        frame: a prediction file's rows.
        metrics: what `classification.score` made of them.
    """
    n, right = int(metrics["n"]), int((frame["outcome"] == "right").sum())
    counts = confusion(labels, frame["label"], frame["prediction"])
    lines = [
        f"{name}: {right:,} of {n:,} right = {metrics['accuracy']:.1%} "
        f"({metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}), "
        f"balanced {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.3f}, "
        f"invalid {int(metrics['invalid']):,}, NLL {metrics['nll']:.3f}, Brier {metrics['brier']:.3f}"
    ]
    lines += [
        f"  {row['label']}: precision {row['precision']:.3f}, recall {row['recall']:.3f}, F1 {row['f1']:.3f}, "
        f"{row['support']:,} cases"
        for row in per_class(labels, counts)
    ]
    if cut := int(frame["truncated"].sum()):
        lines.append(f"  {cut:,} prompts were cut to fit the context")
    if reason := degenerate_reason(labels, counts):
        lines.append(f"  {reason}")
    return "\n".join(lines)
