"""A chain of variants of a model on the same cases: what each step from one to the next did to the answers.

    chain = make_chain([Answered("base", base), Answered("NF4 base", nf4), Answered("tuned", tuned)], 0.95)
    chain.steps[0]["flips"], chain.steps[0]["changed"]     # 2, 3: of three other answers two crossed the line of right
    chain.steps[-1]["before"], chain.steps[-1]["after"]    # "base", "tuned": the whole way

Flips are cases that are right under one variant and not under the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from tunediff.compare.board import Answered, check_names, in_one_order
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
    """Variants in the order of the chain, and its steps; of more than two variants the last step is the whole way.

    Attributes:
        measure: what the share of right cases is called.
        confidence: of every interval.
        variants: of each its name, n, accuracy, accuracy_low, accuracy_high (Wilson) and invalid, in cases.
        steps: see `_step`.
        n: cases.
        there_and_back: cases that flip on the way and end as they began.
        notes: what is unusual about the variants.
        frames: the answers of each variant, in one order of the cases.
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
        """Of the variants."""
        return [str(variant["name"]) for variant in self.variants]


def make_chain(variants: Sequence[Answered], confidence: float) -> Chain:
    """Compare each variant with the next one, and the first with the last.

    Args:
        variants: at least two, in the order of the chain.
        confidence: of every interval, in 0.5..1.

    Raises:
        TunediffError: fewer than two, two of one name, or variants that answered other cases, have other labels or
            other measures.
    """
    check_names(variants, "chain")
    frames, notes = in_one_order(variants)
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
    """How many cases the second of two variants answers differently, flat.

    Returns:
        before, after: the names. n: cases. changed: cases with another answer, two right answers being the same one.
        flips, repaired (not right, then right), broken (right, then not): cases, each with _low and _high, the interval
        of its share of the cases in 0..1 (Clopper and Pearson 1934). difference: of the accuracies, in -1..1, with _low
        and _high (Tango 1998). Where cases share a cluster, every interval allows for it. p, p_adjusted: McNemar's
        exact test, alone and adjusted over all steps (Holm 1979).
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
    """Two variants side by side, as `transitions` takes them."""
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
    """The cases that a step changes: case_id, label and NAME_prediction of each variant (None: invalid).

    Args:
        chain: the chain.
        names: the names of the variants to look at, in the order of the chain; None: all.
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
