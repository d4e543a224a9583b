"""Batches of rows of like length, in random order: little padding, and no drift from long rows to short ones.

    trainer = BatchTrainer(lengths=[12, 40, 13, 41], model=model, ...)

    sampler = LikeLengths([12, 40, 13, 41], batch_size=2)
    list(sampler)                                       # [1, 3, 0, 2], or [0, 2, 3, 1], ...

transformers' LengthGroupedSampler goes through fifty batches from long to short, again and again. Where length
goes with the label, a model trained on that order follows the drift.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer

# Batches whose rows are sorted together: enough for little padding, few enough to mix the rows anew in every epoch.
POOL = 20


class LikeLengths(Sampler[int]):
    """Indices of rows, `batch_size` of like length after each other; another order each time, drawn by torch's seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int) -> None:
        self.lengths, self.batch_size = lengths, batch_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths)).tolist()
        size = self.batch_size * POOL
        pools = [sorted(order[at : at + size], key=lambda i: self.lengths[i]) for at in range(0, len(order), size)]
        batches = [pool[at : at + self.batch_size] for pool in pools for at in range(0, len(pool), self.batch_size)]
        # A batch that is not full stands last: before others, it would shift every batch behind it.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        for at in torch.randperm(len(full)).tolist():
            yield from full[at]
        for batch in rest:
            yield from batch


class BatchTrainer(Trainer):
    """transformers' Trainer on batches of like length, where lengths of the training rows are given."""

    def __init__(self, *, lengths: Sequence[int] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.lengths is None:
            return super()._get_train_sampler(train_dataset)
        return LikeLengths(self.lengths, self.args.train_batch_size)

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002
        """Nothing: nobody reads the figure, and counting would walk through all modules at every step."""
        return 0
