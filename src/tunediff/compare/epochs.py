"""Gain and forgetting during training: the model after each epoch on the same cases, compared in pairs.

    found = compare_epochs(base, {1: frame, 2: after}, "accuracy", 0.95)
    found["epochs"][0]["gained"], found["pairs"][0]["separated"]

All pairs of epochs are tested like runs of a board (`tunediff.compare.board`): exact tests, adjusted over all pairs.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tunediff.compare.board import Answered, make_board


def compare_epochs(
    base: pd.DataFrame, epochs: Mapping[int, pd.DataFrame], measure: str, confidence: float
) -> dict[str, Any]:
    """Compare the model after each epoch with the base and with each other.

    Args:
        base: answers of the base, in the form of `tunediff.compare.board.Answered.frame`.
        epochs: answers of the model after each epoch, by epoch number; at least one.
        measure: name of the share of right cases, such as "accuracy".
        confidence: level of the intervals; one minus it is the level of the tests.

    Returns:
        n: number of cases. measure. epochs: a list with epoch, accuracy, accuracy_low, accuracy_high in 0..1, delta to
        the base in -1..1 with its paired interval low and high, gained and forgotten cases. pairs: a list of pairs of
        epochs with a, b, repaired, broken, p, p_adjusted and separated, and if so the better epoch (better). The
        p-values are adjusted over all pairs of epochs and base (Holm 1979).

    Raises:
        TunediffError: the answers are to different cases.
    """
    names = {f"epoch {number}": number for number in epochs}
    runs = [Answered("base", base, measure)]
    runs += [Answered(name, epochs[number], measure) for name, number in names.items()]
    board = make_board(runs, "base", confidence)
    rows = {row.name: row for row in board.rows}
    found = []
    for name, number in names.items():
        row, change = rows[name], rows[name].to_base
        assert change is not None  # an epoch is not the base
        found.append(
            {
                **{"epoch": number, "accuracy": row.accuracy},
                **{"accuracy_low": row.accuracy_low, "accuracy_high": row.accuracy_high},
                **{"delta": change.gain, "low": change.low, "high": change.high},
                **{"gained": change.repaired, "forgotten": change.broken},
                **{"p": change.p, "p_adjusted": change.p_adjusted},
            }
        )
    pairs = []
    for pair in board.pairs:
        if "base" in (pair.a, pair.b):
            continue
        a, b, repaired, broken = names[pair.a], names[pair.b], pair.repaired, pair.broken
        if a > b:
            a, b, repaired, broken = b, a, broken, repaired
        better = {"better": b if repaired > broken else a} if pair.separated else {}
        pairs.append(
            {
                **{"a": a, "b": b, "repaired": repaired, "broken": broken, "p": pair.p},
                **{"p_adjusted": pair.p_adjusted, "separated": pair.separated, **better},
            }
        )
    return {
        "n": board.n,
        "measure": measure,
        "epochs": found,
        "pairs": sorted(pairs, key=lambda one: (one["a"], one["b"])),
    }
