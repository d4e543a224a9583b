"""Rows of the report's tables: key numbers, example cases.

first = examples(cases, task, each=5)["repaired"][0]
first.base_probability, first.tuned_probability      # 0.031, 0.974: of the gold label
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.data.cases import MODELS
from tunediff.report.notation import (
    capitalised,
    decimal,
    interval,
    level,
    percent,
    points,
    points_interval,
    signed,
    whole,
)
from tunediff.report.results import Metrics, Record, Results
from tunediff.tasks.task import Task

UP, DOWN = "higher is better", "lower is better"


class Example(NamedTuple):
    """A case of the report, with the probabilities of the gold label in 0..1, None if unknown."""

    case: Record
    base_probability: float | None
    tuned_probability: float | None


class Number(NamedTuple):
    """A row of the key numbers, as text: a metric before and after, and the interval of the change."""

    name: str
    better: str
    base: str
    tuned: str
    change: str
    interval: str


def examples(cases: Sequence[Record], task: Task, each: int) -> dict[str, list[Example]]:
    """Return the first `each` cases of every transition.

    Cases are sorted by the change of the gold label's log-probability, or of the task's first score, largest first.
    """
    ranked = defaultdict(list)
    for case in cases:
        base, tuned = (gold_log_prob(case, task.labels, who) for who in MODELS)
        change = 0.0 if base is None or tuned is None else -abs(tuned - base)
        for stem in list(task.scores)[: not task.answers_are_labels]:
            base, tuned, change = None, None, -abs(case[f"tuned_{stem}"] - case[f"base_{stem}"])
        ranked[case["transition"]].append((change, case["case_id"], case, base, tuned))
    return {
        transition: [
            Example(case, *(None if value is None else math.exp(value) for value in (base, tuned)))
            for _, _, case, base, tuned in sorted(ranked[transition], key=lambda entry: entry[:2])[:each]
        ]
        for transition in TRANSITIONS
    }


def gold_log_prob(case: Record, labels: Sequence[str], who: str) -> float | None:
    """Return the log-probability of the gold label under a model; None if unknown."""
    scores = case.get(f"{who}_log_probs")
    if scores is None or case["label"] not in labels:
        return None
    return float(scores[list(labels).index(case["label"])])


def margin(case: Record, labels: Sequence[str], who: str) -> float | None:
    """Return the lead of the gold label over the best other label under a model, in nats; None if unknown."""
    if f"{who}_margin" in case:
        return float(case[f"{who}_margin"])
    gold = gold_log_prob(case, labels, who)
    if gold is None or len(labels) < 2:
        return None
    place = list(labels).index(case["label"])
    others = (score for at, score in enumerate(case[f"{who}_log_probs"]) if at != place)
    return gold - float(max(others))


def key_numbers(results: Results) -> list[Number]:
    """Return the metrics of both models, with the interval of the difference if there is one."""
    diff, base, tuned = results.diff_cases, results.eval_base, results.eval_tuned
    delta = points_interval(diff["accuracy_delta_low"], diff["accuracy_delta_high"])
    before, after = diff["accuracy_base"], diff["accuracy_tuned"]
    task, measure = results.task, results.task.words.measure
    rows = [Number(capitalised(measure), UP, percent(before), percent(after), points(diff["accuracy_delta"]), delta)]
    if base and tuned:
        first, second = (interval(metrics["accuracy_low"], metrics["accuracy_high"]) for metrics in (base, tuned))
        rows.append(Number(f"{level(results.confidence)} interval of the {measure}", "", first, second, "", ""))
    # The first difference is the accuracy, which is in the first row.
    for row in results.differences[1:]:
        # A threshold that is chosen on the test cases overestimates.
        note = ", threshold chosen on these cases" if row.metric.startswith("best ") else ""
        rows.append(_share(capitalised(row.metric) + note, UP, row.base, row.tuned, (row.low, row.high)))
    for stem, trait in task.traits.items():
        several = f"{stem}_delta_low" in diff
        ends = (diff[f"{stem}_delta_low"], diff[f"{stem}_delta_high"]) if several else None
        of_kind = _share if trait.is_share else _number
        rows.append(of_kind(capitalised(trait.name), "", diff[f"{stem}_base"], diff[f"{stem}_tuned"], ends))
    for key, name in _kinds(diff, task):
        rows.append(_share(name, UP, diff[f"{key}_base"], diff[f"{key}_tuned"]))
    for key, name in task.evaluated.items():
        if key in base and key in tuned:
            rows.append(_share(name, UP, base[key] / 100, tuned[key] / 100))
    for key, name in task.probabilities.items():
        pair = [results.calibration.get(f"{key}_{who}", metrics.get(key)) for who, metrics in
                (("base", base), ("tuned", tuned))]  # fmt: skip
        low, high = (results.calibration.get(f"{key}_delta_{end}") for end in ("low", "high"))
        if pair[0] is not None and pair[1] is not None:
            known = None if low is None or high is None else (low, high)
            rows.append(_number(name, DOWN, pair[0], pair[1], known))
    if base and tuned:
        before, after = base["invalid"], tuned["invalid"]
        rows.append(Number("Invalid answers", DOWN, whole(before), whole(after), signed(after - before, 0), ""))
    return rows


def _kinds(diff: Metrics, task: Task) -> list[tuple[str, str]]:
    """The metrics of each kind of cases, if all kinds occur."""
    metrics = {"exact": task.words.measure, **task.scores}
    return [
        (f"{kind}_{key}", f"{capitalised(name)}, {whole(diff[f'{kind}_n'])} {task.words.cases} {words}")
        for kind, (_, words) in task.kind_words.items()
        if f"{kind}_n" in diff
        for key, name in metrics.items()
    ]


def _number(name: str, better: str, base: float, tuned: float, ends: tuple[float, float] | None = None) -> Number:
    between = f"{signed(ends[0], 3)} to {signed(ends[1], 3)}" if ends else ""
    return Number(name, better, decimal(base), decimal(tuned), signed(tuned - base, 3), between)


def _share(name: str, better: str, base: float, tuned: float, ends: tuple[float, float] | None = None) -> Number:
    between = points_interval(*ends) if ends else ""
    return Number(name, better, percent(base), percent(tuned), points(tuned - base), between)


def environments(results: Results) -> list[tuple[str, str]]:
    """Return the stages with a model, grouped by environment, with a description of the environment."""
    stages: dict[str, list[str]] = {}
    for stage, values in results.environments.items():
        stages.setdefault(", ".join(f"{name} {value}" for name, value in values.items()), []).append(stage)
    return [(", ".join(names), words) for words, names in stages.items()]
