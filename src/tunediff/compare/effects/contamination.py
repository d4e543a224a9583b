"""Leaks tied to flips: how much of the gain stands on cases that training has seen, and what is left without them.

    leaks = find_leaks(test, train, task)
    contamination(aligned, cells, leaks, task)  # a row a transition
    clean_metrics(aligned, cells, leaks, task, 0.95, clusters)
    # {"repaired_leaked": 4, ..., "clean_accuracy_delta": 0.41, ...}

A case is leaked where a training case has the same inputs or nearly the same, and clean where none has. A question is
leaked as well where training has its paragraph, or the same question about another one.
"""

import numpy as np
import pandas as pd

from tunediff.compare.effects.transitions import transition_metrics
from tunediff.data.leaks import Leaks
from tunediff.stats.bootstrap import Clusters
from tunediff.tasks.task import Task


def seen(leaks: Leaks, task: Task) -> dict[str, set[str]]:
    """Return the ids of the cases that training has seen, by how much of them it has seen."""
    ways = {"same_inputs": leaks.pairs, "near_duplicates": list(leaks.near_duplicates)}
    known = {task.source_input: leaks.premises, task.partial_input: leaks.hypotheses}
    ways |= {f"same_{name}": known[name] for name in task.leak_inputs}
    return {way: set(ids) for way, ids in ways.items()}


def leaked(aligned: pd.DataFrame, leaks: Leaks, task: Task) -> pd.Series:
    """Return whether training has seen each case, in any way, on the index of `aligned`."""
    return aligned["case_id"].isin(set().union(*seen(leaks, task).values())).rename("leaked")


def contamination(aligned: pd.DataFrame, cells: pd.Series, leaks: Leaks, task: Task) -> pd.DataFrame:
    """Return how many cases of each transition training has seen.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        cells: the transition of each row of `aligned`, categorical.
        leaks: of the test split against the training split.
        task: names of the inputs.

    Returns:
        A row a transition: transition, cases, same_inputs (a training case has the very same inputs),
        near_duplicates (one is nearly the same), of questions same_context and same_question (one has the same), clean
        (none of these).
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
    """Return what the transitions say of the cases that training has not seen, flat.

    Args:
        aligned: what `tunediff.compare.pairs.align.align` returns.
        cells: the transition of each row of `aligned`.
        leaks: of the test split against the training split.
        task: names of the inputs.
        confidence: of the interval of the difference.
        clusters: what cases may share, such as their premise, of length n_cases; None: every case stands for itself.

    Returns:
        leaked: cases that training has seen; repaired_leaked and broken_leaked: those
        among the flipped. Then every key of `transition_metrics` for the clean cases, as clean_KEY; clean_n alone
        where no case is clean.
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
