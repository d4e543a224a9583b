"""Transitions: the outcome of each case before and after, and the metrics that follow.

    right -> right      both_right
    not right -> right  repaired
    right -> not right  broken, a negative flip
    not right twice     both_wrong_same if prediction and outcome are the same, else both_wrong_changed

An invalid answer is not right: invalid twice is both_wrong_same, wrong then invalid is both_wrong_changed. So the five
sum to the number of cases. `validity_metrics` counts across them: became_valid are cases of repaired and
both_wrong_changed whose first answer is invalid, became_invalid those of broken and both_wrong_changed whose second
answer is invalid.

    >>> cells = pd.Series(["both_right"] * 39 + ["repaired"] * 49 + ["broken"] * 2 + ["both_wrong_same"] * 10)
    >>> metrics = transition_metrics(cells, confidence=0.95, clusters=None)
    >>> metrics["accuracy_base"], metrics["accuracy_tuned"], f"{metrics['mcnemar_p']:.3g}"
    (0.41, 0.88, '1.18e-12')
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.cases import INVALID, RIGHT, Case
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters, mean_interval, n_clusters
from tunediff.stats.intervals import clopper_pearson
from tunediff.stats.paired import difference_interval, mcnemar_exact, mcnemar_midp, smallest_detectable

TRANSITIONS = ("both_right", "repaired", "broken", "both_wrong_same", "both_wrong_changed")


class NegativeFlips(NamedTuple):
    """Broken cases as a share of all cases, with its exact interval, and of those that the base has right."""

    broken: int
    n: int
    rate: float
    low: float
    high: float
    base_right: int
    rate_of_right: float
    expected_if_independent: float  # broken cases expected for independent models with these accuracies


def transitions(aligned: pd.DataFrame) -> pd.Series:
    """Return the transition of each case, a categorical series on the index of `aligned`."""
    before, after = aligned["outcome_base"], aligned["outcome_tuned"]
    right_before, right_after = before == RIGHT, after == RIGHT
    first, second = aligned["prediction_base"], aligned["prediction_tuned"]
    # In a file of outcomes alone, changes of wrong answers are unknown.
    unknown = first.isna() & second.isna()
    same = (before == after) & ((before == INVALID) | unknown | (first == second))
    names = np.select([right_before & right_after, right_after, right_before, same], TRANSITIONS[:4], TRANSITIONS[4])
    return pd.Series(pd.Categorical(names, categories=TRANSITIONS), index=aligned.index, name="transition")


def cube(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return the cases counted by gold label, answer before and answer after: the non-empty cells, largest first.

    Returns:
        gold, before, after (a prediction, or "invalid" where the outcome is), outcome_base, outcome_tuned, cases.
    """
    columns = {"label": "gold", "prediction_base": "before", "prediction_tuned": "after"}
    found = [*columns, "outcome_base", "outcome_tuned"]
    cells = aligned.groupby(found, observed=True, dropna=False).size().rename("cases").reset_index()
    # As objects, because categories cannot hold "invalid".
    cells = cells.rename(columns=columns).astype(dict.fromkeys([*columns.values(), *found[-2:]], object))
    for name, who in (("before", "base"), ("after", "tuned")):
        cells[name] = cells[name].where(cells[f"outcome_{who}"] != INVALID, INVALID)
    names = [*columns.values(), *found[-2:]]
    # An answer may read "invalid" and be none: the outcomes keep the two apart.
    counted = cells.groupby(names, dropna=False)["cases"].sum().reset_index()
    return counted.sort_values(["cases", *names], ascending=[False] + [True] * len(names), ignore_index=True)


def transition_metrics(cells: pd.Series, confidence: float, clusters: Clusters) -> dict[str, float]:
    """Return the counts of the transitions and the metrics of the difference, as a flat dict.

    Args:
        cells: the transition of each case, of length n_cases, at least 1.
        confidence: level of the intervals; one minus it is the level of the minimum detectable difference.
        clusters: cluster of each case, such as its premise, of length n_cases, for the interval of the difference.

    Returns:
        n and the five transitions: cases. accuracy_base, accuracy_tuned: 0..1. accuracy_delta: tuned minus base, in
        -1..1, with accuracy_delta_low and accuracy_delta_high (Tango 1998; see `delta_interval`). mcnemar_p,
        mcnemar_midp: two-sided exact and mid-p value. churn: share of cases whose answer changed; two right answers
        count as the same. negative_flip_rate: share of broken cases, with the exact interval negative_flip_rate_low,
        negative_flip_rate_high. minimum_detectable_delta: the smallest difference that this number of cases and flips
        detects with 80 % power, in 0..1.
    """
    tally = cells.value_counts()
    counts = {name: int(tally.get(name, 0)) for name in TRANSITIONS}
    n, repaired, broken = len(cells), counts["repaired"], counts["broken"]
    low, high = delta_interval(cells, confidence, clusters)
    flips = negative_flips(cells, confidence)
    return {
        "n": n,
        **counts,
        "accuracy_base": (counts["both_right"] + broken) / n,
        "accuracy_tuned": (counts["both_right"] + repaired) / n,
        "accuracy_delta": (repaired - broken) / n,
        "accuracy_delta_low": low,
        "accuracy_delta_high": high,
        "mcnemar_p": mcnemar_exact(repaired, broken),
        "mcnemar_midp": mcnemar_midp(repaired, broken),
        "churn": (repaired + broken + counts["both_wrong_changed"]) / n,
        "negative_flip_rate": flips.rate,
        "negative_flip_rate_low": flips.low,
        "negative_flip_rate_high": flips.high,
        "minimum_detectable_delta": smallest_detectable(n, (repaired + broken) / n, alpha=1 - confidence),
    }


def delta_interval(cells: pd.Series, confidence: float, clusters: Clusters) -> tuple[float, float]:
    """Return the interval of the difference in accuracy, both ends in -1..1.

    Tango's score interval. With clusters of several cases, each end is the wider of Tango's and that of a cluster
    bootstrap: a bootstrap alone has zero width when nothing flips, and Tango's interval alone treats the cases of a
    cluster as independent. With a single cluster, the result is (-1, 1).

    Args:
        cells: the transition of each case, of length n_cases.
        confidence: level of the interval.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
    """
    return change_interval(changes(cells), confidence, clusters)


def changes(cells: pd.Series) -> npt.NDArray[np.int64]:
    """Return the change of each case: 1 repaired, -1 broken, else 0."""
    return (cells == "repaired").to_numpy().astype(np.int64) - (cells == "broken").to_numpy()


def change_interval(change: npt.NDArray[np.int64], confidence: float, clusters: Clusters) -> tuple[float, float]:
    """Return the interval of `delta_interval`, given the change of each case: 1 repaired, -1 broken, else 0."""
    n = len(change)
    found = n_clusters(clusters, n)
    if found == 1 < n:
        return -1.0, 1.0
    repaired, broken = int((change > 0).sum()), int((change < 0).sum())
    # If nothing flips, a bootstrap has zero width, so clusters are counted instead of cases.
    low, high = difference_interval(repaired, broken, n if repaired or broken else found, confidence)
    if found == n:
        return low, high
    drawn_low, drawn_high = mean_interval(change, clusters, confidence)
    return max(-1.0, min(low, drawn_low)), min(1.0, max(high, drawn_high))


def negative_flips(cells: pd.Series, confidence: float) -> NegativeFlips:
    """Return the rate of broken cases, and the number expected for independent models.

    Two models of accuracies a and b with independent errors break n a (1 - b) cases (Yan et al. 2021). Fewer show that
    the tuned model kept what the base model knew.

    Args:
        cells: the transition of each case, of length n_cases, at least 1.
        confidence: level of the interval (Clopper and Pearson 1934).
    """
    n, broken, repaired = len(cells), int((cells == "broken").sum()), int((cells == "repaired").sum())
    right = int((cells == "both_right").sum()) + broken
    wrong_after = n - (right - broken + repaired)
    return NegativeFlips(
        *(broken, n, broken / n, *clopper_pearson(broken, n, confidence)),
        *(right, broken / right if right else 0.0),
        expected_if_independent=right * wrong_after / n,
    )


def validity_metrics(aligned: pd.DataFrame) -> dict[str, int]:
    """Return became_valid and became_invalid: cases with a valid answer only after, or only before."""
    before, after = aligned["outcome_base"] == INVALID, aligned["outcome_tuned"] == INVALID
    return {"became_valid": int((before & ~after).sum()), "became_invalid": int((~before & after).sum())}


def in_split_order(aligned: pd.DataFrame, cases: Sequence[Case]) -> pd.DataFrame:
    """Return the rows of `aligned` in the order of `cases` (the test split).

    Raises:
        TunediffError: predictions and test split hold different cases or labels.
    """
    places = pd.Index(aligned["case_id"]).get_indexer(pd.Index([case.case_id for case in cases]))
    if (places < 0).any() or len(places) != len(aligned):
        raise TunediffError(
            f"test split and predictions: found {len(cases)} and {len(aligned)} cases, "
            f"{int((places >= 0).sum())} of them in both, expected the same cases"
        )
    rows: pd.DataFrame = aligned.iloc[places]
    relabelled = [case.case_id for case, label in zip(cases, rows["label"], strict=True) if case.label != label]
    if relabelled:
        raise TunediffError(
            f"test split and predictions: label: found different values for {len(relabelled)} of {len(cases)} cases "
            f"(the first: {relabelled[0]}), expected the same in both"
        )
    return rows
