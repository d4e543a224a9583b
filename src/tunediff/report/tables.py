"""The rows behind the report's tables and pictures: key numbers, accuracy by tag, example cases.

first = examples(cases, labels=["yes", "no"], each=5)["repaired"][0]
first.base_probability, first.tuned_probability      # 0.031, 0.974: of the gold label
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.report.notation import decimal, interval, level, percent, points, points_interval, signed, whole
from tunediff.report.results import Metrics, Results, Row
from tunediff.stats.paired import difference_interval, mcnemar_exact

UP, DOWN = "higher is better", "lower is better"
PROBABILITIES = {
    "nll": "Negative log-likelihood of the gold label, nats",
    "brier": "Brier score, 0 to 2",
    "ece": "Calibration error, 0 to 1",
}
# Of these an evaluation knows alone: the validation split is not at hand where two models are compared.
VALIDATED = {
    "validated_exact": "Exact match, no answer above the threshold of the validation split",
    "validated_f1": "F1, no answer above the threshold of the validation split",
}
ANSWER_PROBABILITIES = {key: f"{name}, of whether there is an answer" for key, name in PROBABILITIES.items()} | {
    "nll": "Negative log-likelihood of whether there is an answer, nats"
}


class Example(NamedTuple):
    """A case as the report shows it; the probabilities are those of the gold label, in 0..1, None where unknown."""

    case: Row
    base_probability: float | None
    tuned_probability: float | None


class Number(NamedTuple):
    """A line of the key numbers, as text: a metric before and after, and the interval of the change."""

    name: str
    better: str
    base: str
    tuned: str
    change: str
    interval: str


def by_tag(tagged: Iterable[tuple[Sequence[str], str]], confidence: float = 0.95) -> list[Row]:
    """Accuracy before and after by tag, largest first.

    Args:
        tagged: the tags and the transition of each case.
        confidence: of the intervals.

    Returns:
        Rows like those of `tunediff.compare.effects.slices.slices`, without a correction for their number (q) and
        without a comparison with the other cases (delta_rest, departure), which are None. A case with several tags
        counts under each; a tag that all cases carry is left out.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    cases = 0
    for tags, transition in tagged:
        cases += 1
        for tag in dict.fromkeys(tags):
            counts[tag][transition] += 1
    rows: list[Row] = []
    for tag, count in counts.items():
        if count.total() == cases:
            continue
        n, right, repaired, broken = count.total(), count["both_right"], count["repaired"], count["broken"]
        low, high = difference_interval(repaired, broken, n, confidence)
        rows.append(
            {
                **{"family": "tag", "value": tag, "n": n, "repaired": repaired, "broken": broken},
                **{"accuracy_base": (right + broken) / n, "accuracy_tuned": (right + repaired) / n},
                **{"delta": (repaired - broken) / n, "low": low, "high": high, "p": mcnemar_exact(repaired, broken)},
                **{"q": None, "delta_rest": None, "departure": None},
            }
        )
    return sorted(rows, key=lambda row: (-row["n"], row["value"]))


def examples(cases: Sequence[Row], labels: Sequence[str], each: int) -> dict[str, list[Example]]:
    """The first `each` cases of every transition, those first whose gold label's log-probability or F1 changed most."""
    ranked = defaultdict(list)
    for case in cases:
        base, tuned = (gold_log_prob(case, labels, who) for who in ("base", "tuned"))
        change = 0.0 if base is None or tuned is None else -abs(tuned - base)
        if "base_f1" in case:
            base, tuned, change = None, None, -abs(case["tuned_f1"] - case["base_f1"])
        ranked[case["transition"]].append((change, case["case_id"], case, base, tuned))
    return {
        transition: [
            Example(case, *(None if value is None else math.exp(value) for value in (base, tuned)))
            for _, _, case, base, tuned in sorted(ranked[transition], key=lambda entry: entry[:2])[:each]
        ]
        for transition in TRANSITIONS
    }


def gold_log_prob(case: Row, labels: Sequence[str], who: str) -> float | None:
    """The log-probability that a model gave the gold label; None where it is not known."""
    scores = case.get(f"{who}_log_probs")
    if scores is None or case["label"] not in labels:
        return None
    return float(scores[list(labels).index(case["label"])])


def margin(case: Row, labels: Sequence[str], who: str) -> float | None:
    """By how many nats a model puts the gold label before the best other one; None where it is not known."""
    if f"{who}_margin" in case:
        return float(case[f"{who}_margin"])
    gold = gold_log_prob(case, labels, who)
    if gold is None or len(labels) < 2:
        return None
    place = list(labels).index(case["label"])
    others = (score for at, score in enumerate(case[f"{who}_log_probs"]) if at != place)
    return gold - float(max(others))


def key_numbers(results: Results, confidence: float) -> list[Number]:
    """The metrics of both models, with an interval of the difference where there is one."""
    diff, base, tuned = results.diff_cases, results.eval_base, results.eval_tuned
    delta = points_interval(diff["accuracy_delta_low"], diff["accuracy_delta_high"])
    before, after = diff["accuracy_base"], diff["accuracy_tuned"]
    name = results.measure.capitalize()
    rows = [Number(name, UP, percent(before), percent(after), points(diff["accuracy_delta"]), delta)]
    if base and tuned:
        own, other = (interval(metrics["accuracy_low"], metrics["accuracy_high"]) for metrics in (base, tuned))
        rows.append(Number(f"{level(confidence)} interval of the {results.measure}", "", own, other, "", ""))
    # Its accuracy is in the first line.
    for row in results.differences[1:]:
        # A threshold that was chosen on the cases it is measured on flatters.
        told = ", threshold chosen on these cases" if row.metric.startswith("best ") else ""
        name = row.metric[0].upper() + row.metric[1:] + told
        rows.append(_share(name, UP, row.base, row.tuned, (row.low, row.high)))
    for key, name in _kinds(diff):
        rows.append(_share(name, UP, diff[f"{key}_base"], diff[f"{key}_tuned"]))
    for key, name in VALIDATED.items() if results.of_questions else ():
        if key in base and key in tuned:
            rows.append(_share(name, UP, base[key] / 100, tuned[key] / 100))
    for key, name in (ANSWER_PROBABILITIES if results.of_questions else PROBABILITIES).items():
        pair = [results.calibration.get(f"{key}_{who}", metrics.get(key)) for who, metrics in
                (("base", base), ("tuned", tuned))]  # fmt: skip
        ends = [results.calibration.get(f"{key}_delta_{end}") for end in ("low", "high")]
        if pair[0] is not None and pair[1] is not None:
            known = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
            rows.append(_number(name, DOWN, pair[0], pair[1], known))
    if base and tuned:
        before, after = base["invalid"], tuned["invalid"]
        rows.append(Number("Invalid answers", DOWN, whole(before), whole(after), signed(after - before, 0), ""))
    return rows


def _kinds(diff: Metrics) -> list[tuple[str, str]]:
    """The metrics of questions with and without an answer, where there are both."""
    if "has_answer_n" not in diff:
        return []
    kinds = {"has_answer": "questions with an answer", "no_answer": "questions without one"}
    return [
        (f"{kind}_{key}", f"{metric}, {whole(diff[f'{kind}_n'])} {words}")
        for kind, words in kinds.items()
        for key, metric in (("exact", "Exact match"), ("f1", "F1"))
    ]


def _number(name: str, better: str, base: float, tuned: float, ends: tuple[float, float] | None = None) -> Number:
    between = f"{signed(ends[0], 3)} to {signed(ends[1], 3)}" if ends else ""
    return Number(name, better, decimal(base), decimal(tuned), signed(tuned - base, 3), between)


def _share(name: str, better: str, base: float, tuned: float, ends: tuple[float, float] | None = None) -> Number:
    between = points_interval(*ends) if ends else ""
    return Number(name, better, percent(base), percent(tuned), points(tuned - base), between)


def environments(results: Results) -> list[tuple[str, str]]:
    """Stages that computed with a model, those of one environment together, and that environment in words."""
    stages: dict[str, list[str]] = {}
    for stage, values in results.environments.items():
        stages.setdefault(", ".join(f"{name} {value}" for name, value in values.items()), []).append(stage)
    return [(", ".join(names), words) for words, names in stages.items()]
