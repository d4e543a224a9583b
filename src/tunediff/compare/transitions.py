"""What became of each case: its outcome before, its outcome after, and the numbers that follow.

    right -> right      both_right
    not right -> right  repaired
    right -> not right  broken, a negative flip
    not right twice     both_wrong_same where prediction and outcome stayed, else both_wrong_changed

An invalid answer is not right: invalid twice is both_wrong_same, wrong then invalid is both_wrong_changed.
`transitions` takes what `tunediff.compare.align.align` returns.

    >>> cells = pd.Series(["both_right"] * 39 + ["repaired"] * 49 + ["broken"] * 2 + ["both_wrong_same"] * 10)
    >>> metrics = transition_metrics(cells)
    >>> metrics["accuracy_base"], metrics["accuracy_tuned"], f"{metrics['mcnemar_p']:.3g}"
    (0.41, 0.88, '1.18e-12')
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tunediff.cases import INVALID, RIGHT, Case
from tunediff.errors import TunediffError
from tunediff.stats.paired import difference_interval, mcnemar_exact

TRANSITIONS = ("both_right", "repaired", "broken", "both_wrong_same", "both_wrong_changed")


def transitions(aligned: pd.DataFrame) -> pd.Series:
    """Return the transition of each case, a categorical series on the index of `aligned`."""
    before, after = aligned["outcome_base"], aligned["outcome_tuned"]
    right_before, right_after = before == RIGHT, after == RIGHT
    same = (before == after) & ((before == INVALID) | (aligned["prediction_base"] == aligned["prediction_tuned"]))
    names = np.select([right_before & right_after, right_after, right_before, same], TRANSITIONS[:4], TRANSITIONS[4])
    return pd.Series(pd.Categorical(names, categories=TRANSITIONS), index=aligned.index, name="transition")


def transition_metrics(cells: pd.Series, confidence: float = 0.95) -> dict[str, float]:
    """Return the counts of the transitions and what they say about the difference, flat.

    Args:
        cells: the transition of each case, of length n_cases, at least 1.
        confidence: of the interval of the difference.

    Returns:
        n and the five transitions: cases. accuracy_base, accuracy_tuned: 0..1. accuracy_delta: tuned minus
        base, in -1..1, with accuracy_delta_low and accuracy_delta_high (Tango 1998). mcnemar_p: two-sided
        exact p-value.
    """
    tally = cells.value_counts()
    counts = {name: int(tally.get(name, 0)) for name in TRANSITIONS}
    n, repaired, broken = len(cells), counts["repaired"], counts["broken"]
    low, high = difference_interval(repaired, broken, n, confidence)
    return {
        "n": n,
        **counts,
        "accuracy_base": (counts["both_right"] + broken) / n,
        "accuracy_tuned": (counts["both_right"] + repaired) / n,
        "accuracy_delta": (repaired - broken) / n,
        "accuracy_delta_low": low,
        "accuracy_delta_high": high,
        "mcnemar_p": mcnemar_exact(repaired, broken),
    }


def case_records(aligned: pd.DataFrame, cells: pd.Series, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready record a case, in the order of `cases` (the test split).

    Args:
        aligned: what `align` returns, with log_probs_base and log_probs_tuned.
        cells: the transition of each row of `aligned`.
        cases: the test split.

    Yields:
        case_id, the input fields (such as premise and hypothesis), label, base_prediction and tuned_prediction
        (None where invalid), transition, base_log_probs, tuned_log_probs (natural logarithms, in the order of the
        label list), tags.

    Raises:
        TunediffError: predictions and test split hold different cases or labels.
    """
    places = pd.Index(aligned["case_id"]).get_indexer(pd.Index([case.case_id for case in cases]))
    if (places < 0).any() or len(places) != len(aligned):
        raise TunediffError(
            f"test split and predictions: found {len(cases)} and {len(aligned)} cases, "
            f"{int((places >= 0).sum())} of them in both, expected the same cases"
        )
    rows = aligned.assign(transition=cells).iloc[places]
    relabelled = [case.case_id for case, label in zip(cases, rows["label"], strict=True) if case.label != label]
    if relabelled:
        raise TunediffError(
            f"test split and predictions: label: found different ones for {len(relabelled)} of {len(cases)} cases "
            f"(the first: {relabelled[0]}), expected the same in both"
        )
    columns = ["prediction_base", "prediction_tuned", "transition", "log_probs_base", "log_probs_tuned"]
    # A table may store a missing prediction as NaN, which JSON does not have.
    values = [rows[name].astype(object).where(rows[name].notna(), None) for name in columns]
    for case, before, after, transition, log_probs_before, log_probs_after in zip(cases, *values, strict=True):
        yield {
            "case_id": case.case_id,
            **case.inputs,
            "label": case.label,
            "base_prediction": before,
            "tuned_prediction": after,
            "transition": transition,
            "base_log_probs": [float(value) for value in log_probs_before],
            "tuned_log_probs": [float(value) for value in log_probs_after],
            "tags": list(case.tags),
        }
