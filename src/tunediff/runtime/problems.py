"""All that is wrong with a file, reported at once: a line for each kind of problem, with the count and the first rows.

problems = Problems("before.csv")
for number, row in rows:
    if not row["label"]:
        problems.add(number, "label: found nothing, expected a value in each row")
problems.check()     # before.csv, row 3: label: found nothing, ...; 4 rows in all (3, 9, 10, ...)
"""

from tunediff.runtime.errors import TunediffError

FIRST = 3
# Further kinds are counted only: a file that is no table at all has a kind of its own in every row.
KINDS = 10


class Problems:
    """What was found wrong with a file so far.

    Args:
        file: its name, which every line starts with.
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
        """Take note of a problem.

        Args:
            row: where it is: a number, or what the source calls the place.
            message: what was found and what was expected, which is shown of the first row of its kind.
            kind: what such problems have in common; None: their message.
        """
        key = kind or message
        if key not in self._lines:
            if len(self._lines) == KINDS:
                self._other += 1
                return
            self._lines[key], self._counts[key], self._rows[key] = message, 0, []
        self._counts[key] += 1
        if len(self._rows[key]) < FIRST:
            self._rows[key].append(str(row))

    def check(self) -> None:
        """Refuse the file where there is a problem.

        Raises:
            TunediffError: with a line for each kind.
        """
        if lines := self.lines():
            raise TunediffError(*lines)

    def lines(self) -> list[str]:
        """A line for each kind of problem."""
        other = [f"{self.file}: {self._other:,} further problems"] if self._other else []
        return [self._line(kind) for kind in self._lines] + other

    def _line(self, kind: str) -> str:
        rows, count = self._rows[kind], self._counts[kind]
        place = f"row {rows[0]}" if rows[0][0].isdigit() else rows[0]
        line = f"{self.file}, {place}: {self._lines[kind]}"
        if count == 1:
            return line
        return f"{line}; {count:,} such rows ({', '.join(rows)}{', ...' if count > len(rows) else ''})"
