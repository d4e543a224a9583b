"""Contamination: transitions of test cases that training has seen, and the difference without them.

    leaks = find_leaks(test, train, task)
    contamination(aligned, cells, leaks, task)  # one row per transition
    clean_metrics(aligned, cells, leaks, task, 0.95, clusters)
    # {"repaired_leaked": 4, ..., "clean_accuracy_delta": 0.41, ...}

A case is leaked if a training case has the same or nearly the same inputs, else clean. A question is also leaked if
training has its paragraph, or the same question about another paragraph.
"""

import numpy as np
import pandas as pd

from tunediff.compare.effects.transitions import transition_metrics
from tunediff.data.leaks import Leaks
from tunediff.stats.bootstrap import Clusters
from tunediff.tasks.task import Task


def seen(leaks: Leaks, task: Task) -> dict[str, set[str]]:
    """Return the ids of the test cases that training has seen, by kind of overlap."""
    ways = {"same_inputs": leaks.pairs, "near_duplicates": list(leaks.near_duplicates)}
    known = {task.source_input: leaks.premises, task.partial_input: leaks.hypotheses}
    ways |= {f"same_{name}": known[name] for name in task.leak_inputs}
    return {way: set(ids) for way, ids in ways.items()}


def leaked(aligned: pd.DataFrame, leaks: Leaks, task: Task) -> pd.Series:
    """Return whether training has seen each case in any way, on the index of `aligned`."""
    return aligned["case_id"].isin(set().union(*seen(leaks, task).values())).rename("leaked")


def contamination(aligned: pd.DataFrame, cells: pd.Series, leaks: Leaks, task: Task) -> pd.DataFrame:
    """Count the cases of each transition that training has seen.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        cells: the transition of each row of `aligned`, categorical.
        leaks: of the test split against the training split.
        task: names of the inputs.

    Returns:
        One row per transition: transition, cases, same_inputs (a training case has equal inputs), near_duplicates (a
        training case is nearly the same), for questions same_context and same_question, clean (none of these).
    """
    flags = pd.DataFrame(
        {
            "cases": True,
            **{way: aligned["case_id"].isin(ids) for way, ids in seen(leaks, task).items()},
            "clean": ~leaked(aligned, leaks, task),
        },
        index=aligned.index,
    )
    table = flags.groupby(cells, observed=False).sum().astype(np.int64)
    table.index.name = "transition"
    return table.reset_index()


def clean_metrics(
    aligned: pd.DataFrame, cells: pd.Series, leaks: Leaks, task: Task, confidence: float, clusters: Clusters
) -> dict[str, float]:
    """Return the transition metrics of the cases that training has not seen, as a flat dict.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`.
        cells: the transition of each row of `aligned`.
        leaks: of the test split against the training split.
        task: names of the inputs.
        confidence: level of the interval of the difference.
        clusters: cluster of each case, such as its premise, of length n_cases; None: cases are independent.

    Returns:
        leaked: cases that training has seen; repaired_leaked and broken_leaked: those among the flips. Then every key
        of `transition_metrics` for the clean cases, as clean_KEY; only clean_n if no case is clean.
    """
    known = leaked(aligned, leaks, task)
    metrics: dict[str, float] = {
        "leaked": int(known.sum()),
        **{f"{name}_leaked": int((known & (cells == name)).sum()) for name in ("repaired", "broken")},
    }
    if known.all():
        return {**metrics, "clean_n": 0}
    shared = None if clusters is None else pd.Series(list(clusters), index=cells.index)[~known]
    clean = transition_metrics(cells[~known], confidence, shared)
    return metrics | {f"clean_{key}": value for key, value in clean.items()}
