"""Tables for the terminal.

aligned([["stage", "prepare"], ["seconds", "9.2"]], left=1)      # ["stage    seconds", "prepare      9.2"]
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def aligned(columns: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a table given by columns; the first `left` columns are left-aligned, the others right."""
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]


def change_lines(name: str, measure: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of the changes of several models from the base.

    Args:
        name: the key of a row that identifies the model, such as epoch.
        measure: name of the share of right cases, such as "accuracy".
        rows: that key, accuracy, delta, low, high (shares), forgotten and gained (cases) of each model.
    """
    table = [[name, measure, "change, points", "forgotten", "gained"]]
    for one in rows:
        change = f"{100 * one['delta']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
        cases = (f"{one[key]:,}" for key in ("forgotten", "gained"))
        table.append([f"{one[name]:g}", f"{one['accuracy']:.1%}", change, *cases])
    return aligned(list(zip(*table, strict=True)), left=0)
