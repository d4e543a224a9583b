"""Paired differences of all metrics of a task, with intervals and tests.

    [row.metric for row in metric_differences(comparison)]     # ["exact match", "F1", "best exact match", ...]

The first is the share of right cases; a task names the others (`tunediff.tasks.task.Task.compared`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunediff.compare.effects.corpus_differences import text_differences, threshold_differences
from tunediff.compare.effects.differences import Difference, class_differences, planned, score_difference
from tunediff.data.cases import MODELS, RIGHT

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison

ENDS = ("base", "tuned", "delta", "delta_low", "delta_high")


def _classes(comparison: "Comparison") -> list[Difference]:
    if comparison.no_classes or comparison.class_sums is None:
        return []
    return class_differences(comparison.class_sums, comparison.task.labels, comparison.confidence)


def _scores(comparison: "Comparison") -> list[Difference]:
    aligned, clusters = comparison.aligned, comparison.clusters
    return [
        score_difference(name, aligned[f"{stem}_base"], aligned[f"{stem}_tuned"], comparison.confidence, clusters)
        for stem, name in comparison.task.scores.items()
    ]


def _thresholds(comparison: "Comparison") -> list[Difference]:
    return threshold_differences(comparison.aligned, comparison.confidence, comparison.clusters)


def _texts(comparison: "Comparison") -> list[Difference]:
    aligned = comparison.aligned
    gold = [[answer.text for answer in answers] for answers in aligned["answers"]]
    before, after = (aligned[f"prediction_{model}"] for model in MODELS)
    return text_differences(gold, before, after, comparison.confidence, comparison.clusters)


# The names that a task can list in `compared`.
COMPARED: dict[str, Callable[["Comparison"], list[Difference]]] = {
    "classes": _classes,
    "scores": _scores,
    "thresholds": _thresholds,
    "texts": _texts,
}


def metric_differences(comparison: "Comparison") -> list[Difference]:
    """Return the difference of each metric, the share of right cases first, with p-values adjusted for their number."""
    metrics, task = comparison.transition_metrics, comparison.task
    base, tuned, delta, low, high = (metrics[f"accuracy_{end}"] for end in ENDS)
    p = metrics["mcnemar_p"]
    rows = [Difference(task.words.measure, base, tuned, delta, low, high, p, p)]
    for kind in task.compared:
        rows += COMPARED[kind](comparison)
    return planned(rows)


def score_metrics(comparison: "Comparison", differences: Sequence[Difference]) -> dict[str, float]:
    """Return metrics of the case scores and of the kinds of cases, as a flat dict; shares in 0..1.

    Args:
        comparison: the comparison of the two models.
        differences: the result of `metric_differences`.

    Returns:
        For each SCORE of the task: SCORE_base, SCORE_tuned, SCORE_delta with its paired bootstrap interval
        SCORE_delta_low and SCORE_delta_high, SCORE_p by the sign-flip test, both by cluster. If all of the task's kinds
        of cases occur, for each KIND: KIND_n, and KIND_exact and KIND_SCORE of base and tuned. If thresholds are
        compared, best_exact and best_f1 of base and tuned, and their difference with its interval.
    """
    aligned, task = comparison.aligned, comparison.task
    by_name = {row.metric: row for row in differences}

    def figures(key: str, name: str) -> dict[str, float]:
        row = by_name[name]
        return dict(zip((f"{key}_{end}" for end in (*ENDS, "p")), row[1:7], strict=True))

    metrics: dict[str, float] = {}
    for stem, name in task.scores.items():
        metrics |= figures(stem, name)
    if task.kinds and aligned["label"].nunique() == len(task.kinds):
        for kind, label in task.kinds.items():
            inside = aligned[aligned["label"] == label]
            metrics[f"{kind}_n"] = len(inside)
            for model in MODELS:
                metrics[f"{kind}_exact_{model}"] = float((inside[f"outcome_{model}"] == RIGHT).mean())
                for stem in task.scores:
                    metrics[f"{kind}_{stem}_{model}"] = float(inside[f"{stem}_{model}"].mean())
    for metric, key in (("best exact match", "best_exact"), ("best F1", "best_f1")):
        metrics |= figures(key, metric) if metric in by_name else {}
    return metrics
