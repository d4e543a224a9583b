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
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import synchronize_rng_states
from torch.utils.data import BatchSampler, DataLoader, Sampler
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


class Parts(Sampler[list[int]]):
    """What one of several processes takes of each batch that all of them make a step on: every n-th row.

    accelerate gives whole batches to each and fills up the end of an epoch with rows of its beginning, which would
    count twice. A process that gets no row of the last batch gets its first one with NOTHING behind it.
    """

    NOTHING = -1

    def __init__(self, sampler: Sampler[int], batch_size: int, number: int, processes: int) -> None:
        self.sampler, self.number, self.processes = sampler, number, processes
        self.batches = BatchSampler(sampler, batch_size * processes, drop_last=False)

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """What a sampler that draws another order in each epoch goes by."""
        if isinstance(self.sampler, SeedableRandomSampler):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        synchronize_rng_states(["torch"])  # another state would draw another order
        for batch in self.batches:
            yield batch[self.number :: self.processes] or [batch[0], self.NOTHING]


class _Rows(list[Any]):
    """The training rows; `Parts.NOTHING` is none of them."""

    def __getitem__(self, at: Any) -> Any:
        return None if at == Parts.NOTHING else super().__getitem__(at)


def counts(batch: dict[str, Any]) -> bool:
    """Whether a batch has rows of its own, or stands in for one that has none."""
    return "nothing" not in batch


class BatchTrainer(Trainer):
    """transformers' Trainer on batches of like length, where lengths of the training rows are given."""

    def __init__(self, *, lengths: Sequence[int] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.lengths is None:
            return super()._get_train_sampler(train_dataset)
        return LikeLengths(self.lengths, self.args.train_batch_size * self.args.world_size)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process; of one that makes every step alone, as transformers has them."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        rows, collate = self.train_dataset, self.data_collator
        sampler = SeedableRandomSampler(rows) if self.lengths is None else self._get_train_sampler()
        parts = Parts(sampler, self.args.train_batch_size, self.args.process_index, self.args.world_size)

        def collated(drawn: list[Any]) -> dict[str, Any]:
            return collate(drawn) if drawn[-1] is not None else collate(drawn[:-1]) | {"nothing": True}

        loader = DataLoader(_Rows(rows), batch_sampler=parts, collate_fn=collated)
        loader.set_epoch = parts.set_epoch
        return loader

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002
        """Nothing: nobody reads the figure, and counting would walk through all modules at every step."""
        return 0
