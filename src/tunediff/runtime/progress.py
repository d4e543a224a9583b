"""Progress of long computations: a bar on a terminal, or a line every 30 seconds in a log.

with progress(1500, "train", "step") as bar:
    bar.update()                     # in a log: train: 420 of 1,500 steps, 00:30 elapsed, 01:17 left, loss=0.8312
"""

import io
import sys
from typing import Any

from tqdm import tqdm

# Seconds between two lines. Shorter computations print none.
INTERVAL = 30.0


class ProgressLines(tqdm):  # type: ignore[type-arg]
    """A progress bar for logs, which prints each state as a separate line."""

    printed: int | None = None

    def display(self, *_: Any, **__: Any) -> None:
        """Print a line, unless there is no progress since the last one or the computation is short."""
        state = self.format_dict
        done, total, unit = state["n"], state["total"], state["unit"]
        if state["elapsed"] < INTERVAL or done in (self.printed, state["initial"]):
            return
        self.printed = done
        rate = (done - state["initial"]) / state["elapsed"]
        left = f", {self.format_interval((total - done) / rate)} left" if done < total else ""
        postfix = f", {state['postfix']}" if state["postfix"] else ""
        elapsed = self.format_interval(state["elapsed"])
        line = f"{state['prefix']}: {done:,} of {total:,} {unit}s, {elapsed} elapsed{left}{postfix}"
        print(line, file=sys.stderr, flush=True)


def progress(total: int, title: str, unit: str, initial: int = 0, shown: bool = True, leave: bool = True) -> Any:
    """Return a tqdm bar, or one that prints lines if standard error is not a terminal.

    Args:
        total: number of units.
        title: label of the bar.
        unit: what is counted, in the singular.
        initial: number of units that are done at the start.
        shown: whether anything is printed.
        leave: whether a complete bar stays on the terminal.
    """
    options: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "initial": initial, "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(**options, leave=leave)
    # tqdm writes a line feed of its own when it closes, which is discarded here.
    return ProgressLines(**options, mininterval=INTERVAL, maxinterval=INTERVAL, file=io.StringIO())
