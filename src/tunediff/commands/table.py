"""Rows of text as the lines of a table on a terminal.

>>> list(aligned([["", "base", "tuned"], ["answer", "neutral", "contradiction"]], left=1))
['           base          tuned', 'answer  neutral  contradiction']
"""

from collections.abc import Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]], left: int | None = None) -> Iterator[str]:
    """Yield the lines, two spaces between columns.

    Args:
        rows: cells as text, as many in each row.
        left: so many columns are aligned to the left, those behind them to the right; None: all to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if left is None or at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
