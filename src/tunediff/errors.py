"""The one error that users see, and the wrapper that prints it.

Every bad input ends in one line that names the file, the row or key, what was found and what was expected:

    tunediff: data/raw/test.jsonl, row 12: label: found 'entails', expected one of entailment, neutral, contradiction

and exit code 1, without a traceback.
"""

import os
import sys
from collections.abc import Callable

# A line longer than this is cut: a name in a file may be as long as the file.
LONGEST = 2000


class TunediffError(Exception):
    """Bad input, in one line: file, row or key, found, expected. Several arguments are several such lines."""


def printed(line: object) -> str:
    r"""A line as it is printed: one line, cut to `LONGEST`, and nothing in it that a terminal would act on.

    >>> printed("a.csv: names the column \x1b[31m\n twice")
    'a.csv: names the column \\x1b[31m twice'
    """
    text = " ".join(str(line).split())[:LONGEST]
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) < LONGEST else f"{text[: LONGEST - 1]}…"


def run(main: Callable[[], None]) -> None:
    """Call `main`; end in one line on standard error where the input is at fault.

    Exit code 1 for a `TunediffError`, 130 for Ctrl-C (as shells report it). Anything else is a defect of
    this project and keeps its traceback.
    """
    try:
        main()
    except TunediffError as error:
        for line in error.args:
            print(f"tunediff: {printed(line)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("tunediff: stopped; the same command goes on from the last whole save", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
