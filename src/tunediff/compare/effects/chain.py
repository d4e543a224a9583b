"""What a step from one model to another did to the answers, such as from the tuned model to the merged one.

    steps = [step_flips(frames[a], frames[b], (a, b)) for a, b in [("base", "tuned"), ("tuned", "merged")]]
    steps[1]["flips"], steps[1]["changed"]            # 2, 3: of three other answers two crossed the line of right

Flips are cases that are right under one model and not under the other.
"""

from typing import Any

import pandas as pd

from tunediff.compare.effects.transitions import transitions
from tunediff.compare.pairs.align import align
from tunediff.data.cases import MODELS
from tunediff.stats.intervals import clopper_pearson


def step_flips(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str], confidence: float) -> dict[str, Any]:
    """Return how many cases another model answers differently, flat.

    Args:
        before: prediction rows of one model (`tunediff.data.cases.PREDICTION_COLUMNS`).
        after: those of the other one on the same cases, in any order.
        names: what to call the two.
        confidence: of the intervals (Clopper and Pearson 1934).

    Returns:
        before, after: the names. n: cases. changed: cases with another answer, two right answers being the same one.
        flips, repaired (not right, then right), broken (right, then not): cases, each with _low and _high, the exact
        interval of its share of the cases in 0..1.

    Raises:
        TunediffError: the two are not of the same cases, labels, prompts and scorer.
    """
    cells = transitions(align(before, after, names))
    repaired, broken = int((cells == "repaired").sum()), int((cells == "broken").sum())
    n, counts = len(cells), {"flips": repaired + broken, "repaired": repaired, "broken": broken}
    found: dict[str, Any] = {"before": names[0], "after": names[1], "n": n}
    found["changed"] = repaired + broken + int((cells == "both_wrong_changed").sum())
    for name, count in counts.items():
        low, high = clopper_pearson(count, n, confidence)
        found |= {name: count, f"{name}_low": low, f"{name}_high": high}
    return found


def changed_cases(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the cases that `step_flips` counts as changed: case_id, label, and both predictions (None: invalid)."""
    both = align(before, after, names)
    cells = transitions(both)
    changed = both[cells.isin(["repaired", "broken", "both_wrong_changed"])]
    return [
        {
            "case_id": row["case_id"],
            "label": row["label"],
            **{
                f"{name}_prediction": value if isinstance(value := row[f"prediction_{side}"], str) else None
                for name, side in zip(names, MODELS, strict=True)
            },
        }
        for row in changed.to_dict("records")
    ]
