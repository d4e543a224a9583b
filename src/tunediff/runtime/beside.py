"""Run a function in a process of its own while this one goes on.

    with beside(lambda: store(parts), "after.jsonl") as result:
        first = store(others)
        second = result()           # waits; raises the error of the function here

The process is forked, so the function sees all objects as they are, and its value is sent back by pickle.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import exit_with_parent
from tunediff.runtime.threads import cores

Value = TypeVar("Value")


@contextmanager
def beside(work: Callable[[], Value], name: str, at_once: bool = True) -> Iterator[Callable[[], Value]]:
    """Start a function in another process, and yield a function that waits for its value.

    The process ends with the block, whether or not its value was waited for. Where a second process does not pay off,
    the yielded function is `work` itself: with a single core, and on other systems than Linux, where there is no fork,
    or it is unsafe because system libraries start threads.

    Args:
        work: the function. A file that both processes read has one position for both, so it opens its own.
        name: what it works on, for the error message if it is killed.
        at_once: whether its work is large enough for another process.

    Raises:
        TunediffError: by the yielded function: the process was killed. It raises the function's own errors too.
    """
    if not at_once or cores() == 1 or sys.platform != "linux":
        yield work
        return
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe()
    process = fork.Process(target=_answer, args=(sender, work, os.getpid()), daemon=True)
    process.start()
    sender.close()

    def result() -> Value:
        try:
            error, value = receiver.recv()
        except (EOFError, ConnectionError):
            raise TunediffError(f"{name}: its process was killed, perhaps because memory ran out") from None
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    try:
        yield result
    finally:
        process.kill()
        process.join()
        receiver.close()


def _answer(pipe: Any, work: Callable[[], Any], parent: int) -> None:
    """In the other process: send the error or the value of the function."""
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    try:
        pipe.send((None, work()))
        pipe.recv()  # descriptors of files in the value are handed over while this process lives
    except EOFError:
        pass
    except Exception as error:
        error.add_note(traceback.format_exc())
        pipe.send((error, None))
