"""Collect all problems of a file and report them together: a line per kind, with the count and the first rows.

problems = Problems("before.csv")
for number, row in rows:
    if not row["label"]:
        problems.add(number, "label: found nothing, expected a value in each row")
problems.check()     # before.csv, row 3: label: found nothing, ...; 4 such rows (3, 9, 10, ...)
"""

from tunediff.runtime.errors import TunediffError

SHOWN_ROWS = 3
# Problems of further kinds are only counted: in a file that is not a table, every row may have a kind of its own.
MAX_KINDS = 10


class Problems:
    """The problems of a file that were found so far.

    Args:
        file: its name, which starts every line.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._lines: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._rows: dict[str, list[str]] = {}
        self._other = 0

    def __len__(self) -> int:
        return sum(self._counts.values()) + self._other

    def add(self, row: int | str, message: str, kind: str | None = None) -> None:
        """Record a problem.

        Args:
            row: a row number, or the name that the source gives to the place.
            message: what was found and what was expected; the message of the first row of a kind is reported.
            kind: groups problems; None: problems with the same message are of one kind.
        """
        key = kind or message
        if key not in self._lines:
            if len(self._lines) == MAX_KINDS:
                self._other += 1
                return
            self._lines[key], self._counts[key], self._rows[key] = message, 0, []
        self._counts[key] += 1
        if len(self._rows[key]) < SHOWN_ROWS:
            self._rows[key].append(str(row))

    def check(self) -> None:
        """Raise if there is any problem.

        Raises:
            TunediffError: with a line per kind of problem.
        """
        if lines := self.lines():
            raise TunediffError(*lines)

    def lines(self) -> list[str]:
        """Return a line per kind of problem."""
        other = [f"{self.file}: {self._other:,} further problems"] if self._other else []
        return [self._line(kind) for kind in self._lines] + other

    def _line(self, kind: str) -> str:
        rows, count = self._rows[kind], self._counts[kind]
        place = f"row {rows[0]}" if rows[0][0].isdigit() else rows[0]
        line = f"{self.file}, {place}: {self._lines[kind]}"
        if count == 1:
            return line
        return f"{line}; {count:,} such rows ({', '.join(rows)}{', ...' if count > len(rows) else ''})"
