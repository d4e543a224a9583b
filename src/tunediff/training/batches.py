"""Which rows share a batch in training: in a given order, or with rows of similar length.

split_rows([3, 1, 0, 2], 2, kinds=[0, 0, 0, 0])      # [[3, 1], [0, 2]]
"""

from collections.abc import Iterable, Sequence

import torch

# Batches whose rows are sorted together: enough to save padding, few enough to mix rows differently in every epoch.
POOL = 20


def split_rows(order: Iterable[int], size: int, kinds: Sequence[int]) -> list[list[int]]:
    """Split indices of rows into batches, in this order; rows of different `kinds` never share a batch.

    Args:
        order: indices of rows.
        size: rows per batch; the last batch of each kind may have fewer.
        kinds: kind of each row, from `models.logits.batch_kinds`.
    """
    batches: list[list[int]] = []
    partial: dict[int, list[int]] = {}
    for i in order:
        batch = partial.setdefault(kinds[i], [])
        batch.append(i)
        if len(batch) == size:
            batches.append(partial.pop(kinds[i]))
    return batches + list(partial.values())


def like_lengths(lengths: Sequence[int], size: int, kinds: Sequence[int] | None = None) -> list[list[int]]:
    """Split indices of rows into batches of similar length, in an order drawn by torch's generator.

    Rows of different `kinds` never share a batch; see `split_rows`.

    transformers' LengthGroupedSampler repeatedly goes through fifty batches from long to short. If the length
    correlates with the label, a model trained in that order follows the drift.
    """
    if kinds and len({*kinds}) > 1:
        each: list[list[int]] = []
        for kind in sorted({*kinds}):
            rows = [i for i, kind_of_row in enumerate(kinds) if kind_of_row == kind]
            each += [[rows[at] for at in batch] for batch in like_lengths([lengths[i] for i in rows], size)]
        return [each[at] for at in torch.randperm(len(each)).tolist()]
    order = torch.randperm(len(lengths)).tolist()
    pools = [order[at : at + size * POOL] for at in range(0, len(order), size * POOL)]
    sorted_pools = [sorted(pool, key=lambda i: lengths[i]) for pool in pools]
    batches = [pool[at : at + size] for pool in sorted_pools for at in range(0, len(pool), size)]
    # The only batch that may not be full is the last one of the last pool.
    n_full = len(lengths) // size
    return [batches[at] for at in torch.randperm(n_full).tolist()] + batches[n_full:]
