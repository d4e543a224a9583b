"""Several requests at a time, and never more: the next one goes out when one has been answered.

texts = answer_each(len(prompts), lambda i: client.post(...), n=8, title="base", stop=client.stop)

Every answer is kept in the journal of the stage (`tunediff.engines.journal`) as it comes, so a run that was stopped
asks for what is left.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from tunediff.engines.journal import journal
from tunediff.runtime.progress import progress

Result = TypeVar("Result")


def answer_each(
    n_rows: int, answer: Callable[[int], Result], n: int, title: str, stop: Callable[[], None]
) -> list[Result]:
    """Answer every row, and give the results in the order of the rows; those of the journal are JSON values.

    Args:
        n_rows: how many rows there are.
        answer: the result of a row by its number; called from several threads.
        n: rows that are at work at a time, at most.
        title: what the progress bar says.
        stop: called when no answer is wanted any more, after an error or Ctrl-C: ends those that are at work.

    Raises:
        TunediffError: as `answer` does; what has been answered is kept.
    """
    with journal(n_rows, title) as kept, progress(n_rows, title, "case", leave=n_rows > 1) as bar:
        results: dict[int, Result] = kept.results
        bar.update(len(results))
        waiting = iter([i for i in range(n_rows) if i not in results])
        with ThreadPoolExecutor(n) as pool:
            at_work = {pool.submit(answer, i): i for i in islice(waiting, n)}
            try:
                while at_work:
                    done, _ = wait(at_work, return_when=FIRST_COMPLETED)
                    failed: list[Future[Result]] = []
                    for future in done:
                        i = at_work.pop(future)
                        if future.exception() is not None:
                            failed.append(future)
                            continue
                        results[i] = future.result()
                        kept.add([i], [results[i]])
                        bar.update()
                    if failed:
                        failed[0].result()
                    at_work |= {pool.submit(answer, i): i for i in islice(waiting, len(done))}
            except BaseException:
                stop()
                raise
    return [results[i] for i in range(n_rows)]
