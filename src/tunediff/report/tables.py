"""The rows behind the report's tables and pictures: accuracy by tag, example cases, parameters by module.

first = examples(cases, labels=["yes", "no"], each=5)["repaired"][0]
first.base_probability, first.tuned_probability      # 0.031, 0.974: of the gold label
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunediff.compare.transitions import TRANSITIONS
from tunediff.stats.intervals import wilson

Row = Mapping[str, Any]


class TagAccuracy(NamedTuple):
    """Accuracy before and after on the cases that carry a tag, in 0..1, with the interval of the tuned one."""

    tag: str
    n: int
    base: float
    tuned: float
    tuned_low: float
    tuned_high: float
    repaired: int
    broken: int


class Example(NamedTuple):
    """A case as the report shows it; the probabilities are those of the gold label, in 0..1."""

    case: Row
    base_probability: float
    tuned_probability: float


class Module(NamedTuple):
    """Parameters of all modules of one kind: logical before and after, stored elements, bytes."""

    module: str
    part: str
    dtype: str
    tensors: int
    base: int
    tuned: int
    stored: int
    bytes: int
    trainable: bool


def by_tag(cases: Sequence[Row], confidence: float = 0.95) -> list[TagAccuracy]:
    """Accuracy by tag, best tuned accuracy first; a case with several tags counts under each."""
    tagged = defaultdict(list)
    for case in cases:
        for tag in dict.fromkeys(case["tags"]):
            tagged[tag].append(case["transition"])
    rows = []
    for tag, transitions in tagged.items():
        n, repaired, broken = len(transitions), transitions.count("repaired"), transitions.count("broken")
        both_right = transitions.count("both_right")
        low, high = wilson(both_right + repaired, n, confidence)
        tuned = (both_right + repaired) / n
        rows.append(TagAccuracy(tag, n, (both_right + broken) / n, tuned, low, high, repaired, broken))
    return sorted(rows, key=lambda row: (-row.tuned, -row.base, row.tag))


def examples(cases: Sequence[Row], labels: Sequence[str], each: int) -> dict[str, list[Example]]:
    """The first `each` cases of every transition, those first whose gold label's log-probability changed most."""
    ranked = defaultdict(list)
    for case in cases:
        gold = list(labels).index(case["label"])
        base, tuned = case["base_log_probs"][gold], case["tuned_log_probs"][gold]
        ranked[case["transition"]].append((-abs(tuned - base), case["case_id"], case, base, tuned))
    return {
        transition: [
            Example(case, math.exp(base), math.exp(tuned))
            for _, _, case, base, tuned in sorted(ranked[transition], key=lambda entry: entry[:2])[:each]
        ]
        for transition in TRANSITIONS
    }


def by_module(parameters: Sequence[Row]) -> list[Module]:
    """The parameter table with the repeated layers of a model added up: `layers.0.mlp` is `layers.*.mlp`."""
    groups: dict[tuple[str, str, str, bool], list[Row]] = {}
    for row in parameters:
        module = re.sub(r"\.\d+(?=\.|$)", ".*", row["module"])
        key = (module, row["part"], row["dtype"], row["trainable"] == "True")
        groups.setdefault(key, []).append(row)
    return [
        Module(
            module,
            part,
            dtype,
            tensors=len(rows),
            base=_sum(rows, "base"),
            tuned=_sum(rows, "tuned"),
            stored=_sum(rows, "stored"),
            bytes=_sum(rows, "bytes"),
            trainable=trainable,
        )
        for (module, part, dtype, trainable), rows in groups.items()
    ]


def _sum(rows: Sequence[Row], column: str) -> int:
    return int(sum(row[column] or 0 for row in rows))
