"""Batches of rows of like length, in random order: little padding, and no drift from long rows to short ones.

    trainer = BatchTrainer(title="train", lengths=[12, 40, 13, 41], train_rows=rows, collate=pad, model=model, ...)

    sampler = LikeLengths([12, 40, 13, 41], batch_size=2)
    list(sampler)                                       # [1, 3, 0, 2], or [0, 2, 3, 1], ...

transformers' LengthGroupedSampler goes through fifty batches from long to short, again and again. Where length
goes with the label, a model trained on that order follows the drift.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import synchronize_rng_states
from torch.distributed.tensor import DTensor
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import Trainer

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.memory import is_out_of_memory
from tunediff.runtime.processes import gathered

Batch = dict[str, torch.Tensor]
Result = TypeVar("Result")
# In a batch, the numbers of its rows.
ROWS = "row_numbers"
# Nats a target: guessing among all tokens of a vocabulary costs about 12.
EXPLODED = 100.0
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


class Tally(NamedTuple):
    """Loss so far in an epoch: in nats, summed over the targets, and how many targets; tensors or numbers."""

    nats: Any = 0.0
    targets: Any = 0

    def add(self, nats: torch.Tensor, targets: torch.Tensor | int) -> "Tally":
        """With what a batch cost."""
        return Tally(self.nats + nats.detach(), self.targets + targets)

    def mean(self) -> float:
        """Nats per target."""
        return float(self.nats) / max(1, int(self.targets))


class Part(NamedTuple):
    """A batch of the step that is at work: its tensors, the Trainer's count of the step's targets, its row numbers."""

    inputs: Batch
    counted: Any
    rows: list[int]


class Share(NamedTuple):
    """What a process has of a step: the loss of each of its batches in nats, all targets, the rows of each batch."""

    losses: list[float]
    targets: int
    rows: list[list[int]]


def fault(shares: Sequence[Share], gradient: float) -> tuple[str, list[int]]:
    """What is wrong with a step, empty where nothing is, and the rows that it may come from.

    Args:
        shares: of all processes.
        gradient: norm of the step's gradient.
    """
    at_fault = []
    for losses, _, rows in shares:
        # Behind the first of a process, its losses say nothing more.
        first = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        at_fault += rows[first] if first is not None else []
    if at_fault:
        return "a loss that is no finite number", at_fault
    every = [row for share in shares for rows in share.rows for row in rows]
    mean = sum(sum(share.losses) for share in shares) / max(1, sum(share.targets for share in shares))
    if mean > EXPLODED:
        return f"a loss of {mean:.4g} nats a target", every
    return "" if math.isfinite(gradient) else "a gradient that is no finite number", every


class BatchTrainer(Trainer):
    """transformers' Trainer on batches of like length, where lengths of the training rows are given.

    It stops before a step whose loss or gradient is no number or has exploded, and says which rows did it. Where memory
    runs out it takes each batch in parts, from the step on that did not fit. A subclass computes its loss in
    `compute_loss`, with the share of the batch that `self.share` says, and adds it to `self.tally`.
    """

    def __init__(
        self,
        *,
        title: str,
        lengths: Sequence[int] | None,
        train_rows: Sequence[Any],
        collate: Callable[[list[Any]], Batch],
        names: Callable[[], Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        """As the Trainer.

        Args:
            title: the section of params.yaml that is at work.
            lengths: of the training rows, in tokens.
            train_rows: what is learned.
            collate: a batch of such rows; the first dimension of each tensor is that of the rows.
            names: what an error calls each row, such as its case; asked for then alone.
            kwargs: those of the Trainer.
        """
        super().__init__(
            train_dataset=list(enumerate(train_rows)),
            data_collator=lambda rows: collate([row for _, row in rows]) | {ROWS: torch.tensor([i for i, _ in rows])},
            **kwargs,
        )
        self.title, self.lengths, self.names = title, lengths, names
        self.share = 1.0
        self.parts = 1
        self.tally = self.tally_before = Tally()
        self.step: tuple[int, list[Part], list[torch.Tensor]] = (-1, [], [])

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.lengths is None:
            return super()._get_train_sampler(train_dataset)
        return LikeLengths(self.lengths, self.args.train_batch_size * self.args.world_size)

    def get_train_dataloader(self) -> Any:
        """The batches of this process; of one that makes every step alone, as transformers has them."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        rows: Any = _Rows(cast(list[Any], self.train_dataset))
        collate = self.data_collator
        sampler = SeedableRandomSampler(rows) if self.lengths is None else self._get_train_sampler()
        parts = Parts(sampler, self.args.train_batch_size, self.args.process_index, self.args.world_size)

        def collated(drawn: list[Any]) -> dict[str, Any]:
            return collate(drawn) if drawn[-1] is not None else collate(drawn[:-1]) | {"nothing": True}

        loader: Any = DataLoader(rows, batch_sampler=parts, collate_fn=collated)
        loader.set_epoch = parts.set_epoch
        return loader

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002
        """Nothing: nobody reads the figure, and counting would walk through all modules at every step."""
        return 0

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of a batch; where memory runs out, once more in parts, with all before it in the step.

        Raises:
            TunediffError: there is not enough memory for a single row.
        """
        if self.step[0] != self.state.global_step:
            self.step, self.tally_before = (self.state.global_step, [], []), self.tally
        _, batches, nats = self.step
        rows = inputs.pop(ROWS).tolist()
        batches.append(Part(inputs, num_items_in_batch, rows))
        waiting = batches[-1:]
        while True:
            try:
                for batch in waiting:
                    before = self.tally.nats
                    loss = self._in_parts(model, batch)
                    nats.append(self.tally.nats - before)
                return loss
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            if self.args.world_size > 1:  # the others wait for this one's gradients, and cannot begin the step anew
                raise TunediffError(
                    f"{self.title}: not enough memory for a batch at step {self.state.global_step + 1} in one of "
                    f"{self.args.world_size} processes; lower {self.title}.per_device_train_batch_size"
                )
            # Outside of `except`, which keeps what the failed pass holds. A backward that failed half-way has added to
            # some gradients and not to others: the step begins anew.
            most = max(len(batch.rows) for batch in batches)
            if self.parts >= most:
                raise TunediffError(
                    f"{self.title}: not enough memory for one row at step {self.state.global_step + 1} "
                    f"({self._named(rows)}); shorten prompt.max_tokens or take a smaller model"
                )
            self.parts *= 2
            print(f"{self.title}: memory ran out at step {self.state.global_step + 1}: batches in {self.parts} parts")
            model.zero_grad(set_to_none=True)
            self.tally, waiting = self.tally_before, list(batches)
            nats.clear()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _in_parts(self, model: Any, batch: Part) -> torch.Tensor:
        """Forward and backward of a batch in `self.parts` parts; its loss."""
        if self.parts == 1:
            return super().training_step(model, dict(batch.inputs), batch.counted)
        size = math.ceil(len(batch.rows) / self.parts)
        losses = []
        try:
            for at in range(0, len(batch.rows), size):
                part = {name: values[at : at + size] for name, values in batch.inputs.items()}
                self.share = len(batch.rows[at : at + size]) / len(batch.rows)
                losses.append(super().training_step(model, part, batch.counted))
        finally:
            self.share = 1.0
        return torch.stack(losses).sum()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """As the Trainer's, which calls it before each step of the optimizer: here a bad step is stopped.

        Raises:
            TunediffError: the loss or the gradient is no finite number, or the loss has exploded.
        """
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if isinstance(norm, DTensor):  # of gradients that are shared out; all processes are here
            norm = norm.full_tensor()
        _, batches, nats = self.step
        # At once: each reading waits for the GPU. float16 looks for gradients that overflow itself.
        *losses, size = torch.stack([*nats, torch.as_tensor(norm, device=nats[0].device)]).tolist()
        targets = int(self.tally.targets - self.tally_before.targets)
        # Of several processes, each has batches of its own, and all have to say the same of the step.
        each = gathered(Share(losses, targets, [batch.rows for batch in batches]))
        found, bad = fault(each, size if self.accelerator.scaler is None else 0.0)
        step = self.state.global_step + 1
        if found:
            raise TunediffError(
                f"{self.title}: found {found} at step {step}, expected finite numbers and at most "
                f"{EXPLODED:g} nats a target; lower {self.title}.learning_rate, or look at "
                f"{self._named(bad)}"
            )
        return norm

    def _named(self, rows: Sequence[int]) -> str:
        if self.names is None:
            return f"rows {', '.join(map(str, rows))}"
        names = self.names()
        return f"cases {', '.join(dict.fromkeys(names[i] for i in rows))}"


def in_halves(answer: Callable[[Batch], Result], batch: Batch, title: str) -> list[Result]:
    """What is answered to a batch; where memory runs out, what is answered to its halves, and so on.

    Raises:
        TunediffError: there is not enough memory for a single row.
    """
    try:
        return [answer(batch)]
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    n_rows = len(next(iter(batch.values())))
    if n_rows == 1:
        raise TunediffError(f"{title}: not enough memory to measure one row")
    halves = (slice(0, n_rows // 2), slice(n_rows // 2, n_rows))
    parts = [{name: values[half] for name, values in batch.items()} for half in halves]
    return [one for part in parts for one in in_halves(answer, part, title)]
