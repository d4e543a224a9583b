"""A chain of variants of a model on the same cases: how each step changes the answers.

    chain = make_chain([Answered("base", base), Answered("NF4 base", nf4), Answered("tuned", tuned)], 0.95)
    chain.steps[0]["flips"], chain.steps[0]["changed"]     # 2, 3: two of three changed answers flip
    chain.steps[-1]["before"], chain.steps[-1]["after"]    # "base", "tuned": from the first to the last variant

A flip is a case that is right under one variant and not under the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from tunediff.compare.board import Answered, check_names, in_common_order
from tunediff.compare.effects.transitions import changes, delta_interval, transitions
from tunediff.data.cases import INVALID, RIGHT
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.discordance import pair_tests
from tunediff.stats.intervals import clopper_pearson, wilson
from tunediff.stats.multiple import holm
from tunediff.stats.shares import share_interval

CHANGED = ("repaired", "broken", "both_wrong_changed")


@dataclass(frozen=True)
class Chain:
    """Variants in the order of the chain, and its steps.

    Attributes:
        measure: name of the share of right cases, such as "accuracy".
        confidence: level of every interval.
        variants: name, n, accuracy, accuracy_low, accuracy_high (Wilson) and invalid (cases) of each variant.
        steps: see `_step`; with more than two variants, the last step is from the first variant to the last.
        n: number of cases.
        there_and_back: cases that flip on the way and end as they began.
        notes: anything unusual about the variants.
        frames: the answers of each variant, with cases in the same order.
    """

    measure: str
    confidence: float
    variants: Sequence[dict[str, Any]]
    steps: Sequence[dict[str, Any]]
    n: int
    there_and_back: int
    notes: Sequence[str]
    frames: Sequence[pd.DataFrame]

    @property
    def names(self) -> list[str]:
        """The names of the variants."""
        return [str(variant["name"]) for variant in self.variants]


def make_chain(variants: Sequence[Answered], confidence: float) -> Chain:
    """Compare each variant with the next one, and the first with the last.

    Args:
        variants: at least two, in the order of the chain.
        confidence: level of every interval, in 0.5..1.

    Raises:
        TunediffError: fewer than two variants, two of the same name, or variants with different cases, labels or
            measures.
    """
    check_names(variants, "chain")
    frames, notes = in_common_order(variants)
    clusters = next((frame["cluster"] for frame in frames if "cluster" in frame), None)
    right = np.stack([(frame["outcome"] == RIGHT).to_numpy(dtype=bool) for frame in frames])
    last = len(frames) - 1
    pairs = [*pairwise(range(len(frames))), *([(0, last)] if last > 1 else [])]
    p = pair_tests(right, clusters)
    adjusted = holm([float(p[pair]) for pair in pairs])
    flipped = (right[1:] != right[:-1]).any(axis=0)
    return Chain(
        variants[0].measure,
        confidence,
        [
            {
                "name": variant.name,
                "n": right.shape[1],
                "accuracy": float(right[at].mean()),
                **_ends("accuracy", share_interval(right[at], wilson, confidence, clusters)),
                "invalid": int((frames[at]["outcome"] == INVALID).sum()),
            }
            for at, variant in enumerate(variants)
        ],
        [
            {
                **_step((frames[a], frames[b]), (variants[a].name, variants[b].name), confidence, clusters),
                "p": float(p[a, b]),
                "p_adjusted": one,
            }
            for (a, b), one in zip(pairs, adjusted, strict=True)
        ],
        right.shape[1],
        int((flipped & (right[0] == right[last])).sum()),
        notes,
        frames,
    )


def _step(
    frames: tuple[pd.DataFrame, pd.DataFrame], names: tuple[str, str], confidence: float, clusters: Clusters
) -> dict[str, Any]:
    """The changes from one variant to the next, as a flat dict.

    Returns:
        before, after: the names. n: number of cases. changed: cases with a different answer; two right answers count as
        the same. flips, repaired (not right, then right), broken (right, then not): cases, each with _low and _high,
        the interval of its share of the cases in 0..1 (Clopper and Pearson 1934). difference: of the accuracies, in
        -1..1, with _low and _high (Tango 1998). All intervals account for clusters. p, p_adjusted: McNemar's exact
        test, alone and adjusted over all steps (Holm 1979).
    """
    cells = transitions(_pair(*frames))
    change = changes(cells)
    found: dict[str, Any] = {"before": names[0], "after": names[1], "n": len(cells)}
    found["changed"] = int(cells.isin(CHANGED).sum())
    for name, flags in (("flips", change != 0), ("repaired", change > 0), ("broken", change < 0)):
        found |= {name: int(flags.sum())} | _ends(name, share_interval(flags, clopper_pearson, confidence, clusters))
    return found | {
        "difference": float(change.mean()),
        **_ends("difference", delta_interval(cells, confidence, clusters)),
    }


def _pair(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Two variants in the form that `transitions` takes."""
    return pd.DataFrame(
        {
            f"{column}_{side}": frame[column]
            for side, frame in (("base", before), ("tuned", after))
            for column in ("outcome", "prediction")
        }
    )


def _ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def changed_cases(chain: Chain, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the cases that any step changes: case_id, label and NAME_prediction of each variant (None if invalid).

    Args:
        chain: the chain.
        names: names of the variants to consider, in the order of the chain; None: all.
    """
    chosen = [
        (name, frame) for name, frame in zip(chain.names, chain.frames, strict=True) if names is None or name in names
    ]
    changed = np.zeros(chain.n, dtype=bool)
    for (_, before), (_, after) in pairwise(chosen):
        changed |= transitions(_pair(before, after)).isin(CHANGED).to_numpy()
    first = chain.frames[0]
    return [
        {
            "case_id": str(first["case_id"].iloc[row]),
            "label": _text(first["label"].iloc[row]),
            **{f"{name}_prediction": _text(frame["prediction"].iloc[row]) for name, frame in chosen},
        }
        for row in np.flatnonzero(changed)
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
