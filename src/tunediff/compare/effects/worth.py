"""The gain of the tuned model over trivial baselines, on the same cases.

A fine-tuned model is worth its cost only if it beats the best of these:

    table = worth(task.gold(test), tuned_answers, task.baselines(train, test, base_answers), task.right, 0.95, clusters)
    worth_metrics(table)       # {"baseline_best": 0.64, "gain_over_baseline": 0.24, ...}
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.transitions import change_interval
from tunediff.runtime.errors import TunediffError
from tunediff.stats.bootstrap import Clusters
from tunediff.stats.intervals import wilson
from tunediff.stats.paired import mcnemar_exact
from tunediff.tasks.baselines import Answers


def worth(
    gold: Sequence[Any],
    tuned: Answers,
    baselines: Mapping[str, Answers],
    right: Callable[[Any, str], bool],
    confidence: float,
    clusters: Clusters,
) -> pd.DataFrame:
    """Compare the tuned model with each baseline on the same cases, best baseline first.

    The best baseline is chosen on these cases, a bias in favour of the baseline and not of the tuned model.

    Args:
        gold: the gold answer of each case, such as its label.
        tuned: predictions of the tuned model, None if invalid, in the same order.
        baselines: predictions of each baseline, by name, in the same order.
        right: function of a gold answer and an answer that returns whether the answer is right.
        confidence: level of every interval.
        clusters: cluster of each case, such as its premise, of length n_cases; None: cases are independent.

    Returns:
        baseline: name. accuracy: of the baseline, 0..1, with the Wilson interval low..high. repaired: cases that only
        the tuned model has right; broken: cases that only the baseline has right. gain: tuned minus baseline, in -1..1,
        with its paired interval gain_low..gain_high (Tango 1998, by cluster). p: exact McNemar test.

    Raises:
        TunediffError: there is no case, or the number of predictions differs from that of the cases.
    """
    n = len(gold)
    for name, answers in {"tuned model": tuned, **baselines}.items():
        if len(answers) != n or n == 0:
            raise TunediffError(f"worth: {name}: found {len(answers)} predictions for {n} cases, expected one per case")

    def matches(answers: Answers) -> npt.NDArray[np.bool_]:
        pairs = zip(gold, answers, strict=True)
        return np.array([answer is not None and right(one, answer) for one, answer in pairs])

    tuned_right = matches(tuned)
    rows = []
    for name, answers in baselines.items():
        matched = matches(answers)
        repaired, broken = int((tuned_right & ~matched).sum()), int((matched & ~tuned_right).sum())
        low, high = wilson(int(matched.sum()), n, confidence)
        gain_low, gain_high = change_interval(tuned_right.astype(int) - matched, confidence, clusters)
        rows.append(
            {
                "baseline": name,
                "accuracy": matched.mean(),
                "low": low,
                "high": high,
                "repaired": repaired,
                "broken": broken,
                "gain": (repaired - broken) / n,
                "gain_low": gain_low,
                "gain_high": gain_high,
                "p": mcnemar_exact(repaired, broken),
            }
        )
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)


def worth_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Return baseline_best (its accuracy) and gain_over_baseline with its interval _low and _high, all in -1..1.

    Args:
        table: the result of `worth`.
    """
    best = table.iloc[0]
    return {
        "baseline_best": float(best["accuracy"]),
        "gain_over_baseline": float(best["gain"]),
        "gain_over_baseline_low": float(best["gain_low"]),
        "gain_over_baseline_high": float(best["gain_high"]),
    }
