"""A table on the terminal.

aligned([["stage", "prepare"], ["seconds", "9.2"]], left=1)      # ["stage    seconds", "prepare      9.2"]
"""

from collections.abc import Sequence


def aligned(columns: Sequence[Sequence[str]], left: int) -> list[str]:
    """The lines of a table given by columns, the first `left` of them aligned on the left, the others on the right."""
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
