"""How far something is that takes long: a bar on a terminal, and in a log a line every half minute.

with progress(1500, "train", "step") as bar:
    bar.update()                     # in a log: train: 420 of 1,500 steps, 00:30 elapsed, 01:17 left, loss=0.8312
"""

import io
import sys
from typing import Any

from tqdm import tqdm

# Seconds between two lines. What takes less writes none.
EVERY = 30.0


class Lines(tqdm):  # type: ignore[type-arg]
    """A progress bar whose every state is a line of its own: a log has no carriage return."""

    printed: int | None = None

    def display(self, *_: Any, **__: Any) -> None:
        """Write the line of this moment, unless it is that of before or the end of something short."""
        state = self.format_dict
        done, total, unit = state["n"], state["total"], state["unit"]
        if state["elapsed"] < EVERY or done in (self.printed, state["initial"]):
            return
        self.printed = done
        rate = (done - state["initial"]) / state["elapsed"]
        left = f", {self.format_interval((total - done) / rate)} left" if done < total else ""
        postfix = f", {state['postfix']}" if state["postfix"] else ""
        gone = self.format_interval(state["elapsed"])
        line = f"{state['prefix']}: {done:,} of {total:,} {unit}s, {gone} elapsed{left}{postfix}"
        print(line, file=sys.stderr, flush=True)


def progress(total: int, title: str, unit: str, initial: int = 0, shown: bool = True, leave: bool = True) -> Any:
    """Return a bar of tqdm, or one that writes lines where standard error is no terminal.

    Args:
        total: how many there are of the unit.
        title: what it says.
        unit: what is counted, in the singular.
        initial: how many are done at the start.
        shown: whether anything is written.
        leave: whether a bar stays on the terminal when it is full.
    """
    given: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "initial": initial, "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(**given, leave=leave)
    # What tqdm itself would write at its end goes nowhere.
    return Lines(**given, mininterval=EVERY, maxinterval=EVERY, file=io.StringIO())
