"""The one error that users see, and the wrapper that prints it.

Every bad input ends in one line that names the file, the row or key, what was found and what was expected:

    tunediff: data/raw/test.jsonl, row 12: label: found 'entails', expected one of entailment, neutral, contradiction

and exit code 1, without a traceback.
"""

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

# Set in each of several processes of a stage, by torchrun's agent.
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"

# The disk or its quota is full, or the file larger than allowed; the folder cannot be written to; the disk is broken.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

GOES_ON = "run the same command to resume from the last checkpoint"

# What the extra `models` of pyproject.toml brings: the light install has none of it.
MODELS = {
    *("torch", "transformers", "tokenizers", "accelerate", "peft", "bitsandbytes", "safetensors", "huggingface_hub"),
    *("datasets", "evaluate", "sklearn", "dvc", "pynvml", "tqdm"),
}

# A line longer than this is cut: a name in a file may be as long as the file.
LONGEST = 2000


class TunediffError(Exception):
    """Bad input, in one line: file, row or key, found, expected. Several arguments are several such lines."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a scheduler or `timeout` sends it; whatever ends well on Ctrl-C ends well on this."""


def printed(line: object) -> str:
    r"""A line as it is printed: one line, cut to `LONGEST`, and nothing in it that a terminal would act on.

    >>> printed("a.csv: names the column \x1b[31m\n twice")
    'a.csv: names the column \\x1b[31m twice'
    """
    text = " ".join(str(line).split())[:LONGEST]
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) < LONGEST else f"{text[: LONGEST - 1]}…"


def one_line(error: BaseException) -> str:
    """What an error says, without line ends and cut to 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def run(main: Callable[[], None]) -> None:
    """Call `main`; end in one line on standard error where the input is at fault.

    Exit code 1 for a `TunediffError`, for a file that cannot be written and for a package of the extra `models` that is
    not installed; 130 for Ctrl-C and 143 for SIGTERM, as
    shells report them. Anything else is a defect of this project and keeps its traceback.
    """
    # One of several processes dies at once: the process that started them reports the end, and it may wait for this one
    # in code that never comes back to Python.
    before = signal.getsignal(signal.SIGTERM)
    if _ERROR_FILE not in os.environ:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        main()
    except TunediffError as error:
        _say("\n".join(f"tunediff: {printed(line)}" for line in error.args))
        sys.exit(1)
    except KeyboardInterrupt as stop:
        _say(f"tunediff: stopped; {GOES_ON}")
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) in MODELS:
            _say(f"tunediff: this needs {package}, which is not installed: pip install 'tunediff[models]'")
            sys.exit(1)
        reason = unwritable(error)
        if reason is None and _ERROR_FILE not in os.environ:
            raise
        _say(f"tunediff: {reason}; {GOES_ON}" if reason else traceback.format_exc())
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends it twice
    raise Terminated


def _say(text: str) -> None:
    """On standard error; one of several processes leaves it to the one that started them, which says it once."""
    if _ERROR_FILE in os.environ:
        Path(os.environ[_ERROR_FILE]).write_text(json.dumps({"message": text}), encoding="utf-8")
    else:
        print(text, file=sys.stderr)


def unwritable(error: BaseException) -> str | None:
    """Why a file could not be written, where that is what an error says; each library says it in its own way.

    safetensors and tokenizers have the number in their text; torch says which of its own lines failed.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in UNWRITABLE:
            return f"{seen.filename or 'a file'}: {os.strerror(seen.errno)}"
        for number in UNWRITABLE:
            if f"(os error {number})" in str(seen):
                return f"a file cannot be written: {os.strerror(number)}"
        if isinstance(seen, RuntimeError) and ("inline_container" in str(seen) or "iostream error" in str(seen)):
            return "a file cannot be written: the disk may be full"
        seen = seen.__cause__ or seen.__context__
    return None
