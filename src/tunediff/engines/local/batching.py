"""Batches with a token budget, sorted by length and halved if memory runs out.

    for batch in plan([[5], [5, 7, 2, 9], [8, 8]], budget=4): ...       # [[1], [2, 0]]

The result of a case depends on its batch only by rounding, and batches do not depend on the order of the cases. Several
processes share the batches that a single process would answer.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch.utils._pytree import tree_map_only

from tunediff.engines.journal import journal
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.memory import is_out_of_memory
from tunediff.runtime.processes import all_gather, rank_and_size
from tunediff.runtime.progress import progress

Result = TypeVar("Result")


def plan(rows: Sequence[Sequence[int]], budget: int, kinds: Sequence[int] | None = None) -> list[list[int]]:
    """Return the indices of rows in batches of at most `budget` tokens, including padding.

    Longest rows come first, so that a budget that is too large fails early. Rows of equal length are ordered by their
    tokens, so that the plan does not depend on the order of the rows. A row longer than the budget is a batch by
    itself. Rows of different `kinds` never share a batch.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), tuple(rows[i])))
    batches: list[list[int]] = []
    for i in order:
        last = batches[-1] if batches else []
        fits = last and len(rows[last[0]]) * (len(last) + 1) <= budget
        if fits and (kinds is None or kinds[last[0]] == kinds[i]):
            last.append(i)
        else:
            batches.append([i])
    return batches


def run_batches(
    rows: Sequence[Sequence[int]],
    budget: int,
    answer: Callable[[list[int]], Sequence[Result]],
    title: str,
    kinds: Sequence[int] | None = None,
) -> list[Result]:
    """Answer every row in batches, and return the results in the order of the rows, in every process.

    Inside `finished_batches`, results must be JSON values (tuples come back as lists), and batches that the journal
    contains are not answered again.

    Args:
        rows: token ids of each row; `plan` makes batches of them.
        budget: maximum number of tokens of a batch.
        answer: returns the results of the rows with the given indices, in that order.
        title: label of the progress bar.
        kinds: kind of each row; rows of different kinds never share a batch.

    Raises:
        TunediffError: there is not enough memory for a single row.
    """
    number, processes = rank_and_size()
    waiting = plan(rows, budget, kinds)[number::processes][::-1]
    mine = {i for batch in waiting for i in batch}
    with (
        journal(len(rows), title) as kept,
        progress(len(mine), title, "case", shown=number == 0, leave=len(rows) > 1) as bar,
    ):
        results: dict[int, Result] = kept.results
        bar.update(len(mine & results.keys()))
        while waiting:
            # One half of a batch may have been answered before an interruption.
            batch = [i for i in waiting.pop() if i not in results]
            if not batch:
                continue
            try:
                answers = answer(batch)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise TunediffError(
                        f"{title}: not enough memory for one case of {len(rows[batch[0]])} tokens"
                    ) from None
                middle = len(batch) // 2
                waiting += [batch[middle:], batch[:middle]]
                continue
            results |= dict(zip(batch, answers, strict=True))
            kept.add(batch, list(answers))
            bar.update(len(batch))
    if processes > 1:
        # Without the clone, a row would be sent together with the storage of its whole batch.
        for shared in all_gather(tree_map_only(torch.Tensor, torch.clone, results)):
            results |= shared
    return [results[i] for i in range(len(rows))]
