"""Send requests with bounded concurrency.

texts = answer_each(len(prompts), lambda i: client.post(...), n=8, title="base", stop=client.stop)

Every answer is added to the journal of the stage (`tunediff.engines.journal`) when it arrives, so a resumed run only
requests the others.
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
    """Answer every row in threads, and return the results in the order of the rows.

    Args:
        n_rows: number of rows.
        answer: returns the result of a row, a JSON value, by its index; called from several threads.
        n: maximum number of rows in flight.
        title: label of the progress bar.
        stop: called after an error or Ctrl-C; aborts the requests in flight.

    Raises:
        TunediffError: as `answer`; finished answers are kept in the journal.
    """
    with journal(n_rows, title) as kept, progress(n_rows, title, "case", leave=n_rows > 1) as bar:
        results: dict[int, Result] = kept.results
        bar.update(len(results))
        waiting = iter([i for i in range(n_rows) if i not in results])
        with ThreadPoolExecutor(n) as pool:
            in_flight = {pool.submit(answer, i): i for i in islice(waiting, n)}
            try:
                while in_flight:
                    done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                    failed: list[Future[Result]] = []
                    for future in done:
                        i = in_flight.pop(future)
                        if future.exception() is not None:
                            failed.append(future)
                            continue
                        results[i] = future.result()
                        kept.add([i], [results[i]])
                        bar.update()
                    if failed:
                        failed[0].result()
                    in_flight |= {pool.submit(answer, i): i for i in islice(waiting, len(done))}
            except BaseException:
                stop()
                raise
    return [results[i] for i in range(n_rows)]
