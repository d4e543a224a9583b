"""The error for bad input, and the wrapper of every script that prints it.

Bad input ends in one line that names the file, the row or key, what was found and what was expected:

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

# Set by torchrun's agent in each process of a stage with several.
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"

# Full disk, exceeded quota or file size; no write permission; I/O error.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

HOW_TO_RESUME = "run the same command to resume from the last checkpoint"

# Packages of the extra `models` of pyproject.toml, which the light install lacks.
EXTRA_PACKAGES = {
    *("torch", "transformers", "tokenizers", "accelerate", "peft", "bitsandbytes", "safetensors", "huggingface_hub"),
    *("datasets", "evaluate", "sklearn", "dvc", "pynvml", "tqdm"),
}

# Longer lines are cut: a name in a file may be as long as the file.
MAX_LENGTH = 2000


class TunediffError(Exception):
    """Bad input. Each argument is a line: file, row or key, found, expected."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as sent by schedulers and `timeout`; a subclass, so that the handlers of Ctrl-C apply to it."""


def printable(line: object) -> str:
    r"""Return the text as one line without control characters, cut to `MAX_LENGTH`.

    >>> printable("a.csv: names the column \x1b[31m\n twice")
    'a.csv: names the column \\x1b[31m twice'
    """
    text = " ".join(str(line).split())[:MAX_LENGTH]
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) < MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def run(main: Callable[[], None]) -> None:
    """Call `main` and print expected errors as one line on standard error.

    The exit code is 1 for a `TunediffError`, for a file that cannot be written and for a package of the extra `models`
    that is not installed; 130 for Ctrl-C and 143 for SIGTERM, as in shells. Any other exception is a defect of this
    project and keeps its traceback.
    """
    # A worker process keeps the default handler and dies immediately: it may be in code that never returns to Python,
    # and its launcher reports the end.
    before = signal.getsignal(signal.SIGTERM)
    if _ERROR_FILE not in os.environ:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        main()
    except TunediffError as error:
        _report("\n".join(f"tunediff: {printable(line)}" for line in error.args))
        sys.exit(1)
    except KeyboardInterrupt as stop:
        _report(f"tunediff: stopped; {HOW_TO_RESUME}")
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))
    except BrokenPipeError:
        # The reader of standard output is gone; Python would fail again while flushing it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) in EXTRA_PACKAGES:
            how = "pip install '.[models]' in the clone of tunediff"
            _report(f"tunediff: this needs {package}, which is not installed: {how}")
            sys.exit(1)
        reason = unwritable(error)
        if reason is None and _ERROR_FILE not in os.environ:
            raise
        _report(f"tunediff: {reason}; {HOW_TO_RESUME}" if reason else traceback.format_exc())
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends it twice
    raise Terminated


def _report(text: str) -> None:
    """Print to standard error; a worker process passes the text to its launcher, which prints it once."""
    if _ERROR_FILE in os.environ:
        Path(os.environ[_ERROR_FILE]).write_text(json.dumps({"message": text}), encoding="utf-8")
    else:
        print(text, file=sys.stderr)


def unwritable(error: BaseException) -> str | None:
    """Return why a file could not be written, or None for an error of another kind.

    The chain of causes is searched. safetensors and tokenizers have the errno only in the message; torch has none.
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
