"""The training loop of fine-tuning and pretraining: AdamW on batches of rows, with a checkpoint after each epoch.

    loop = Loop(model, Objective(pad, loss, len), rows, train, 3, scratch, "train", torch.float32)
    loop.run(validation)[-1]             # {"epoch": 3.0, "step": 750, "train_loss": 0.31, "validation_loss": 0.35}

An interrupted run resumes from its last checkpoint and ends with the same weights, bit for bit. A run stops before a
step whose loss or gradient is not finite or has exploded, and names the rows of that step. If memory runs out, batches
are split from that step on.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from tunediff.config.train import Train
from tunediff.models.adapt import load_trained, whole_weights
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds
from tunediff.models.precision import device
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.memory import is_out_of_memory
from tunediff.runtime.processes import all_gather, is_main_process, rank_and_size
from tunediff.runtime.progress import progress
from tunediff.training import checkpoints
from tunediff.training.batches import like_lengths, split_rows
from tunediff.training.loss import IGNORED, Batch, Loss
from tunediff.training.optimizer import make_optimizer, make_schedule
from tunediff.training.sharding import load_optimizer_state, optimizer_state, shard

Result = TypeVar("Result")
# Loss in nats per target; uniform guessing over a vocabulary costs about 12.
EXPLODED = 100.0


class Objective(NamedTuple):
    """What is learned: how rows become a batch, the loss of a batch, and the number of tokens of a row."""

    collate: Callable[[list[Any]], Batch]
    loss: Callable[[Network, Batch], Loss]
    length: Callable[[Any], int]


class Part(NamedTuple):
    """The rows of a batch that a process computes, with their indices.

    A process without rows in a batch has no indices, and a placeholder as its batch that does not count.
    """

    numbers: list[int]
    batch: Batch

    @property
    def targets(self) -> int:
        """Number of targets; a row without labels per position is one."""
        labels = self.batch.get("labels")
        everything = len(self.batch["input_ids"]) if labels is None else int((labels != IGNORED).sum())
        return everything if self.numbers else 0


class Loop:
    """A training run.

    Args:
        model: the model on its device, the same in each process; weights that require a gradient are trained in place.
        objective: what is learned.
        rows: rows of the training split.
        train: the section train; its number of epochs is not used.
        epochs: passes over the rows; the last one may be partial.
        scratch: folder for a checkpoint per epoch, shared by all processes; the run resumes from the latest complete
            one.
        title: the section of params.yaml, for messages.
        dtype: dtype of the computation.
        names: returns the name of each row, such as its case; only called for an error.
        log: called every `train.logging_steps` steps (step, loss, grad_norm, learning_rate) and with the row of each
            epoch, in each process; for experiment trackers.
    """

    def __init__(
        self,
        model: Network,
        objective: Objective,
        rows: Sequence[Any],
        train: Train,
        epochs: float,
        scratch: Path,
        title: str,
        dtype: torch.dtype,
        names: Callable[[], Sequence[str]] | None = None,
        log: Callable[[Mapping[str, float]], None] = lambda entry: None,  # noqa: ARG005
    ) -> None:
        self.model, self.objective, self.rows, self.train, self.scratch = model, objective, rows, train, scratch
        self.title, self.dtype, self.names, self.log = title, dtype, names, log
        self.number, self.processes = rank_and_size()
        self.device = torch.device(device())
        self.size = train.per_device_train_batch_size * self.processes
        self.lengths = list(map(objective.length, rows))
        self.kinds = batch_kinds(model.config, self.lengths)
        n_batches = len(split_rows(range(len(rows)), self.size, self.kinds))
        self.per_epoch = math.ceil(n_batches / train.gradient_accumulation_steps)
        self.steps = math.ceil(epochs * self.per_epoch)
        self.pieces = 1
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.recent: list[float] = []
        torch.manual_seed(train.seed)
        self.loss = objective.loss if train.fsdp is None else shard(model, train.fsdp, objective.loss)
        self.optimizer = make_optimizer(model, train)
        self.schedule = make_schedule(self.optimizer, train, self.steps)
        # float16 needs its gradients scaled; bfloat16 does not.
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.device.type == "cuda" and dtype == torch.float16)
        if (resumed := checkpoints.latest_whole(scratch)) is not None:
            print(f"resuming from {resumed}")
            self._load(resumed)

    def run(
        self,
        validation: Iterable[Batch],
        figures: Callable[[Mapping[str, float]], dict[str, float]] = lambda totals: {},  # noqa: ARG005
        saved: Callable[[], None] = lambda: None,
    ) -> list[dict[str, float]]:
        """Train to the end and load the weights of the chosen epoch (`chosen_epoch`).

        Args:
            validation: the validation batches of this process.
            figures: computes further columns of an epoch from the sums of the counts in `Loss` over the validation
                split.
            saved: called after each checkpoint, in each process.

        Returns:
            A row per epoch: epoch, step, train_loss (mean over the epoch) and validation_loss in nats per target, and
            the figures.

        Raises:
            TunediffError: a loss or gradient is not finite or has exploded, or a single row does not fit into memory.
        """
        with progress(self.steps, self.title, "step", self.step, shown=is_main_process()) as bar:
            while self.step < self.steps:
                train_loss = self._epoch(len(self.history), bar)
                row = {"epoch": self.step / self.per_epoch, "step": self.step, "train_loss": train_loss}
                totals = self._measure(validation)
                row["validation_loss"] = loss = totals["answers"] / max(1.0, totals["targets"])
                if not (train_loss <= EXPLODED and loss <= EXPLODED):  # also true for NaN
                    raise TunediffError(
                        f"{self.title}: found training loss {train_loss} and validation loss {loss} after step "
                        f"{self.step}, expected finite numbers and at most {EXPLODED:g} nats per target; lower "
                        f"{self.title}.learning_rate"
                    )
                self.history.append(row | figures(totals))
                self.log(self.history[-1])
                self._save(saved)
        if self.train.choose_epoch == "best":
            load_trained(self.model, self._best())
        return self.history

    def _epoch(self, epoch: int, bar: Any) -> float:
        """Run the steps of an epoch; return the mean loss over its targets."""
        self.model.train()
        loader = iter(
            DataLoader(
                range(len(self.rows)),  # type: ignore[arg-type]
                batch_sampler=self._numbers(epoch),
                collate_fn=self._part,
            )
        )
        nats, targets = torch.zeros((), device=self.device), 0
        ahead = list(islice(loader, self.train.gradient_accumulation_steps))
        while (parts := ahead) and self.step < self.steps:
            # Before the step, as in accelerate's loaders: masks and dropout draw from the same generator.
            ahead = list(islice(loader, self.train.gradient_accumulation_steps))
            losses, entry = self._step(parts)
            for loss in losses:
                nats = nats + loss
            targets += sum(part.targets for part in parts)
            self.recent.append(entry["loss"])
            bar.update()
            if self.step % self.train.logging_steps == 0:
                entry["loss"], self.recent = fmean(self.recent), []
                bar.set_postfix(loss=f"{entry['loss']:.4f}")
                self.log(entry)
        each = all_gather((float(nats), targets))
        return sum(total for total, _ in each) / max(1, sum(number for _, number in each))

    def _numbers(self, epoch: int) -> Iterator[list[int]]:
        """The indices of the rows of this process in each batch: every n-th row of the batch, or none."""
        if self.train.train_sampling_strategy == "group_by_length":
            # All processes use the order of the first, because their generators differ.
            [batches, *_] = all_gather(like_lengths(self.lengths, self.size, self.kinds))
        else:
            draw = torch.Generator().manual_seed(self.train.seed + epoch)
            order = torch.randperm(len(self.rows), generator=draw).tolist()
            batches = split_rows(order, self.size, self.kinds)
        for batch in batches:
            yield batch[self.number :: self.processes]

    def _part(self, numbers: list[int]) -> Part:
        return Part(numbers, self.objective.collate([self.rows[number] for number in numbers or [0]]))

    def _cost(self, batch: Batch) -> Loss:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.loss(self.model, {name: values.to(self.device) for name, values in batch.items()})

    def _step(self, parts: Sequence[Part]) -> tuple[list[torch.Tensor], dict[str, float]]:
        """Make one optimizer step; return the loss of each batch in nats, and the values to log."""
        targets = max(1, sum(all_gather(sum(part.targets for part in parts))))
        nats = self._backward(parts, targets)
        if self.processes > 1 and self.train.fsdp is None:
            self._sum_gradients()
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.train.max_grad_norm)
        if hasattr(norm, "full_tensor"):  # sharded weights
            norm = norm.full_tensor()
        # A single read, because each one waits for the GPU.
        *losses, gradient = torch.stack([*nats, norm.to(self.device)]).tolist()
        shares = all_gather((losses, [part.numbers for part in parts]))
        mean = sum(sum(nats_of_process) for nats_of_process, _ in shares) / targets
        # With float16, the scaler handles gradients that overflow.
        found, numbers = fault(shares, mean, 0.0 if self.scaler.is_enabled() else gradient)
        if found:
            raise TunediffError(
                f"{self.title}: found {found} at step {self.step + 1}, expected finite numbers and at most "
                f"{EXPLODED:g} nats per target; lower {self.title}.learning_rate, or look at {self._named(numbers)}"
            )
        rate, scale = self.schedule.get_last_lr()[0], self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else the gradient overflowed, and the scaler skipped the step
            self.schedule.step()
        self.model.zero_grad()
        self.step += 1
        return nats, {"step": self.step, "loss": mean, "grad_norm": gradient, "learning_rate": rate}

    def _sum_gradients(self) -> None:
        """Sum gradients over the processes; a weight may have no gradient in some of them, such as an expert's."""
        trained = [value for value in self.model.parameters() if value.requires_grad]
        for value, *present in zip(trained, *all_gather([value.grad is not None for value in trained]), strict=True):
            if any(present):
                value.grad = torch.zeros_like(value) if value.grad is None else value.grad
                dist.all_reduce(value.grad)

    def _backward(self, parts: Sequence[Part], targets: int) -> list[torch.Tensor]:
        """Run forward and backward passes of each batch, and again with smaller pieces if memory runs out.

        Raises:
            TunediffError: there is not enough memory for a single row.
        """
        while True:
            nats: list[torch.Tensor] = []
            try:
                for part in parts:
                    nats.append(self._backward_of(part, targets))
                return nats
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            if self.processes > 1:  # the others wait for the gradients of this process and cannot repeat the step
                raise TunediffError(
                    f"{self.title}: not enough memory for a batch at step {self.step + 1} in one of {self.processes} "
                    f"processes; lower {self.title}.per_device_train_batch_size"
                )
            if self.pieces >= max(len(part.numbers) for part in parts):
                raise TunediffError(
                    f"{self.title}: not enough memory for one row at step {self.step + 1} "
                    f"({self._named(parts[len(nats)].numbers)}); lower prompt.max_tokens or use a smaller model"
                )
            # Outside of `except`, which keeps the tensors of the failed pass alive. A failed backward pass has added to
            # some gradients, so the whole step is repeated.
            self.pieces *= 2
            print(f"{self.title}: out of memory at step {self.step + 1}: splitting batches into {self.pieces} parts")
            self.model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _backward_of(self, part: Part, targets: int) -> torch.Tensor:
        """Add the gradient of a batch's share of the step's loss; return the loss of the batch in nats."""
        # FSDP averages gradients over the processes, but they must be summed.
        weight = bool(part.numbers) * (1 if self.train.fsdp is None else self.processes)
        n_rows = len(part.batch["input_ids"])
        size, nats = math.ceil(n_rows / self.pieces), []
        for at in range(0, n_rows, size):
            loss = self._cost({name: values[at : at + size] for name, values in part.batch.items()})
            self.scaler.scale(loss.minimized * weight / targets).backward()  # type: ignore[no-untyped-call]
            nats.append(loss.answers.detach() * bool(part.numbers))
        return torch.stack(nats).sum()

    def _measure(self, validation: Iterable[Batch]) -> dict[str, float]:
        """The sums of the counts in `Loss` over the validation split and all processes."""
        totals: defaultdict[str, float] = defaultdict(float)
        self.model.eval()
        with torch.no_grad():
            for batch in validation:
                for loss in in_halves(self._cost, batch, self.title):
                    for name, value in {"answers": loss.answers, "targets": loss.targets, **loss.counts}.items():
                        totals[name] += float(value)
        each = all_gather(totals)
        return {name: sum(counts[name] for counts in each) for name in each[0]}

    def _named(self, numbers: Sequence[int]) -> str:
        if self.names is None:
            return f"rows {', '.join(map(str, numbers))}"
        names = self.names()
        return f"cases {', '.join(dict.fromkeys(names[number] for number in numbers))}"

    def _save(self, saved: Callable[[], None]) -> None:
        """Write a checkpoint, and remove older ones once it is complete."""
        weights = whole_weights(self.model)
        optimizer = self.optimizer.state_dict()
        if self.train.fsdp is not None:
            optimizer = optimizer_state(self.model, self.optimizer)
        random = all_gather(
            [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]
        )
        if is_main_process():
            state: dict[str, Any] = {"optimizer": optimizer, "schedule": self.schedule.state_dict(), "random": random}
            state |= {"scaler": self.scaler.state_dict(), "history": self.history, "pieces": self.pieces}
            checkpoints.write_checkpoint(self.scratch / f"checkpoint-{self.step}", weights, state)
        all_gather(None)
        saved()
        if is_main_process():
            checkpoints.remove_older(self.scratch, self.train.save_total_limit, self._best())

    def _load(self, checkpoint: Path) -> None:
        state = checkpoints.read_state(checkpoint)
        load_trained(self.model, checkpoint)
        if self.train.fsdp is None:
            self.optimizer.load_state_dict(state["optimizer"])
        else:
            load_optimizer_state(self.model, self.optimizer, state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"][self.number][0])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state["random"][self.number][1])
        self.history, self.pieces = state["history"], state["pieces"]
        self.step = int(self.history[-1]["step"])

    def _best(self) -> Path:
        return self.scratch / f"checkpoint-{chosen_epoch(self.history, self.train)['step']}"


def chosen_epoch(log: Sequence[dict[str, float]], train: Train) -> dict[str, float]:
    """Return the row of the log of the epoch that `train.choose_epoch` selects."""
    return min(log, key=lambda row: row["validation_loss"]) if train.choose_epoch == "best" else log[-1]


def fault(shares: Sequence[tuple[list[float], list[list[int]]]], mean: float, gradient: float) -> tuple[str, list[int]]:
    """Return what is wrong with a step, or an empty string, and the indices of the rows that may be the cause.

    Args:
        shares: for each process, the loss of each of its batches in nats and the indices of their rows.
        mean: loss of the step in nats per target.
        gradient: norm of the step's gradient.
    """
    at_fault = []
    for losses, numbers in shares:
        # Only the first such batch of a process is informative.
        found = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        at_fault += [] if found is None else numbers[found]
    if at_fault:
        return "a loss that is not finite", at_fault
    every = [number for _, numbers in shares for batch in numbers for number in batch]
    if mean > EXPLODED:
        return f"a loss of {mean:.4g} nats per target", every
    return "" if math.isfinite(gradient) else "a gradient that is not finite", every


def in_halves(answer: Callable[[Batch], Result], batch: Batch, title: str) -> list[Result]:
    """Apply a function to a batch or, if memory runs out, to its halves, recursively.

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
    return [result for part in parts for result in in_halves(answer, part, title)]
