"""Batches with a budget of tokens, sorted by length, halved where memory runs out.

    for batch in plan([12, 40, 13], budget=48): ...       # [[1], [2, 0]]

The result of a case depends on its batch only by float rounding, and batches do not depend on the order of the cases.
Several processes answer the same batches as one, each its part of them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch.utils._pytree import tree_map_only

from tunediff.engines.journal import journal
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.memory import is_out_of_memory
from tunediff.runtime.processes import gathered, part
from tunediff.runtime.progress import progress

Result = TypeVar("Result")


def plan(rows: Sequence[Sequence[int]], budget: int, kinds: Sequence[int] | None = None) -> list[list[int]]:
    """Indices of rows in batches of at most `budget` tokens, padding counted, longest rows first.

    Rows of different `kinds` never share a batch.

    Longest first, so that too large a budget shows at once. Rows of one length are ordered by their tokens: the plan
    is the same for any order of the rows. A row longer than the budget is a batch of its own.
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
    """Answer every row, batch by batch, and give the results in the order of the rows, in every process.

    Inside `finished_batches` results are JSON values, lists for tuples, and no batch that lies there is answered again.

    Args:
        rows: token ids of each row; their lengths decide the batches.
        budget: tokens of one batch.
        answer: results of the rows with the given indices, in that order.
        title: what the progress bar says.
        kinds: of each row; rows of different ones never share a batch.

    Raises:
        TunediffError: memory does not suffice for a single row.
    """
    number, processes = part()
    waiting = plan(rows, budget, kinds)[number::processes][::-1]
    mine = {i for batch in waiting for i in batch}
    with (
        journal(len(rows), title) as kept,
        progress(len(mine), title, "case", shown=number == 0, leave=len(rows) > 1) as bar,
    ):
        results: dict[int, Result] = kept.results
        bar.update(len(mine & results.keys()))
        while waiting:
            # Of a batch that was halved, one half may have been answered.
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
        # A row of a batch's tensor would be sent with all of the batch.
        for some in gathered(tree_map_only(torch.Tensor, torch.clone, results)):
            results |= some
    return [results[i] for i in range(len(rows))]
