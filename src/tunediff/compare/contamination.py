"""Leaks tied to flips: how much of the gain stands on cases that training has seen, and what is left without them.

    leaks = find_leaks(test, train, task)
    contamination(aligned, cells, leaks)        # a row a transition
    clean_metrics(aligned, cells, leaks)        # {"repaired_leaked": 4, ..., "clean_accuracy_delta": 0.41, ...}

A case is leaked where a training case has the same inputs or nearly the same, and clean where none has.
"""

import numpy as np
import pandas as pd

from tunediff.compare.transitions import transition_metrics
from tunediff.leaks import Leaks


def leaked(aligned: pd.DataFrame, leaks: Leaks) -> pd.Series:
    """Return whether the inputs of each case stand in training, exactly or nearly, on the index of `aligned`."""
    return aligned["case_id"].isin([*leaks.pairs, *leaks.near_duplicates]).rename("leaked")


def contamination(aligned: pd.DataFrame, cells: pd.Series, leaks: Leaks) -> pd.DataFrame:
    """Return how many cases of each transition training has seen.

    Args:
        aligned: what `tunediff.compare.align.align` returns.
        cells: the transition of each row of `aligned`, categorical.
        leaks: of the test split against the training split.

    Returns:
        A row a transition: transition, cases, same_inputs (a training case has the very same inputs),
        near_duplicates (one is nearly the same), clean (neither).
    """
    ids = aligned["case_id"]
    flags = pd.DataFrame(
        {
            "cases": True,
            "same_inputs": ids.isin(leaks.pairs),
            "near_duplicates": ids.isin(list(leaks.near_duplicates)),
            "clean": ~leaked(aligned, leaks),
        },
        index=aligned.index,
    )
    table = flags.groupby(cells, observed=False).sum().astype(np.int64)
    table.index.name = "transition"
    return table.reset_index()


def clean_metrics(aligned: pd.DataFrame, cells: pd.Series, leaks: Leaks, confidence: float = 0.95) -> dict[str, float]:
    """Return what the transitions say of the cases that training has not seen, flat.

    Args:
        aligned: what `tunediff.compare.align.align` returns.
        cells: the transition of each row of `aligned`.
        leaks: of the test split against the training split.
        confidence: of the interval of the difference.

    Returns:
        leaked: cases whose inputs stand in training, exactly or nearly; repaired_leaked and broken_leaked: those
        among the flipped. Then every key of `transition_metrics` for the clean cases, as clean_KEY; clean_n alone
        where no case is clean.
    """
    seen = leaked(aligned, leaks)
    metrics: dict[str, float] = {
        "leaked": int(seen.sum()),
        **{f"{name}_leaked": int((seen & (cells == name)).sum()) for name in ("repaired", "broken")},
    }
    if seen.all():
        return {**metrics, "clean_n": 0}
    clean = transition_metrics(cells[~seen], confidence)
    return metrics | {f"clean_{key}": value for key, value in clean.items()}
