"""What the stage diff_cases prints at its end: the figures with their arithmetic, and what to beware of.

print(diff_summary(gather(...), task, confidence=0.95))
"""

from tunediff.compare.evidence import Evidence
from tunediff.config.task import Task

_PARTS = {
    "format": "form of the answer",
    "prior": "preference among the labels",
    "cue": "cue in the {alone}",
    "rest": "the rest",
    "has_answer": "questions with an answer",
    "no_answer": "questions without one",
}


def diff_summary(found: Evidence, task: Task, confidence: float) -> str:
    """A few lines about what changed.

    Args:
        found: what `tunediff.compare.evidence.gather` returns.
        task: names of the inputs.
        confidence: of the intervals.
    """
    metrics = found.metrics
    n, repaired, broken = (int(metrics[name]) for name in ("n", "repaired", "broken"))
    measure = "exact match" if "f1_delta" in metrics else "accuracy"
    lines = [
        f"diff_cases: {measure} {metrics['accuracy_base']:.1%} -> {metrics['accuracy_tuned']:.1%} on {n:,} cases: "
        f"{repaired:,} repaired - {broken:,} broken = {repaired - broken:+,}",
        f"  difference {_points(metrics, 'accuracy_delta')} points, {confidence:.0%} interval, exact McNemar "
        f"p = {metrics['mcnemar_p']:.3g}; {n:,} cases show {100 * metrics['minimum_detectable_delta']:.1f} or more",
    ]
    if "f1_delta" in metrics:
        lines.append(
            f"  F1 {metrics['f1_base']:.1%} -> {metrics['f1_tuned']:.1%}: {_points(metrics, 'f1_delta')} points, "
            f"sign-flip p = {metrics['f1_p']:.3g}"
        )
    parts = found.tables["gain"]
    told = [
        f"{_PARTS[part].format(alone=task.partial_input)} {cases:+,}"
        for part, cases in zip(parts["part"], parts["cases"], strict=True)
    ]
    lines.append(f"  net cases by what the gain consists of: {', '.join(told)} = {int(parts['cases'].sum()):+,}")
    if "noise_floor_flips" in metrics:
        lines.append(f"  without training, at another batch size, {int(metrics['noise_floor_flips']):,} cases flip")
    if "noise_floor_seed_flips" in metrics:
        lines.append(
            f"  without training, with another new head, {int(metrics['noise_floor_seed_flips']):,} cases flip"
        )
    best = found.tables["baselines"].iloc[0]
    lines.append(
        f"  over the best trivial baseline ({best['baseline'].replace('_', ' ')}, {best['accuracy']:.1%}): "
        f"{_points(metrics, 'gain_over_baseline')} points"
    )
    if leaked := int(found.clean["leaked"]):
        repaired = int(found.clean["repaired_leaked"])
        lines.append(f"  training has seen {leaked:,} cases or nearly so, {repaired:,} of them repaired")
    alarms = [f"  {alarm.name}: {alarm.sentence}" for alarm in found.alarms]
    return "\n".join([*lines, *alarms])


def _points(metrics: dict[str, float], key: str) -> str:
    value, low, high = (100 * metrics[f"{key}{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
