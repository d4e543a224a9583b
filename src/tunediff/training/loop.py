"""The training loop of fine-tuning and of pretraining: AdamW on batches of rows, measured and saved after each epoch.

    loop = Loop(model, Objective(pad, loss, len), rows, train, 3, scratch, "train", torch.float32)
    loop.run(validation)[-1]             # {"epoch": 3.0, "step": 750, "train_loss": 0.31, "validation_loss": 0.35}

A run that was stopped resumes from its last checkpoint and ends with the same weights, to the bit. It stops before a
step whose loss or gradient is no finite number or has exploded, and says which rows did it. Where memory runs out it
takes each batch in parts, from the step on that did not fit.
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
from tunediff.training.loss import IGNORED, Loss
from tunediff.training.optimizer import make_optimizer, make_schedule
from tunediff.training.sharding import load_optimizer_state, optimizer_state, shard

Batch = dict[str, torch.Tensor]
Result = TypeVar("Result")
# Nats per target: guessing among all tokens of a vocabulary costs about 12.
EXPLODED = 100.0
# Batches whose rows are sorted together: enough for little padding, few enough to mix the rows anew in every epoch.
POOL = 20


class Objective(NamedTuple):
    """What is learned from rows: how they become a batch, what the batch costs, and how many tokens a row has."""

    collate: Callable[[list[Any]], Batch]
    loss: Callable[[Network, Batch], Loss]
    length: Callable[[Any], int]


class Part(NamedTuple):
    """What a process has of a batch that all of them learn from: numbers of rows, and the rows."""

    numbers: list[int]  # of none: the batch then stands in for one, and counts nothing
    batch: Batch

    @property
    def targets(self) -> int:
        """How many there are to learn; a row without labels for its places is one."""
        labels = self.batch.get("labels")
        everything = len(self.batch["input_ids"]) if labels is None else int((labels != IGNORED).sum())
        return everything if self.numbers else 0


class Loop:
    """A training run: the model, what its checkpoints hold beside the weights, and the steps from one to the next."""

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
        """Begin a run, or resume from the last checkpoint of one.

        Args:
            model: on its device, the same in each process; the weights that require a gradient are trained in place.
            objective: what is learned.
            rows: of the training split.
            train: how; its number of epochs is not read.
            epochs: passes over the rows; the last one may be a part.
            scratch: folder of the checkpoints, one an epoch; several processes share it.
            title: the section of params.yaml that is at work.
            dtype: of the computation.
            names: gives what an error calls each row, such as its case; asked for then alone.
            log: called every `train.logging_steps` steps (step, loss, grad_norm, learning_rate) and with the row of
                each epoch, in each process: the place for an experiment tracker.
        """
        self.model, self.objective, self.rows, self.train, self.scratch = model, objective, rows, train, scratch
        self.title, self.dtype, self.names, self.log = title, dtype, names, log
        self.number, self.processes = rank_and_size()
        self.place = torch.device(device())
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
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.place.type == "cuda" and dtype == torch.float16)
        if (resumed := checkpoints.latest_whole(scratch)) is not None:
            print(f"resuming from {resumed}")
            self._load(resumed)

    def run(
        self,
        validation: Iterable[Batch],
        figures: Callable[[Mapping[str, float]], dict[str, float]] = lambda totals: {},  # noqa: ARG005
        saved: Callable[[], None] = lambda: None,
    ) -> list[dict[str, float]]:
        """Train to the end; the model is left as after the last epoch or, with `train.choose_epoch` best, the best one.

        Args:
            validation: the batches that this process measures after each epoch.
            figures: further columns of an epoch, from the sums over the validation split of what a `Loss` counts.
            saved: called after each checkpoint, in each process.

        Returns:
            A row per epoch: epoch, step, train_loss (mean over the epoch) and validation_loss in nats per target, and
            figures.

        Raises:
            TunediffError: a loss or gradient is no finite number or has exploded, or one row does not fit in memory.
        """
        with progress(self.steps, self.title, "step", self.step, shown=is_main_process()) as bar:
            while self.step < self.steps:
                train_loss = self._epoch(len(self.history), bar)
                row = {"epoch": self.step / self.per_epoch, "step": self.step, "train_loss": train_loss}
                totals = self._measure(validation)
                row["validation_loss"] = loss = totals["answers"] / max(1.0, totals["targets"])
                if not (train_loss <= EXPLODED and loss <= EXPLODED):  # nor where one is no number
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
        """The steps of an epoch; the mean loss over its targets."""
        self.model.train()
        loader = iter(
            DataLoader(
                range(len(self.rows)),  # type: ignore[arg-type]
                batch_sampler=self._numbers(epoch),
                collate_fn=self._part,
            )
        )
        nats, targets = torch.zeros((), device=self.place), 0
        ahead = list(islice(loader, self.train.gradient_accumulation_steps))
        while (parts := ahead) and self.step < self.steps:
            # Before the step, as accelerate's loaders do it: masks and dropout are drawn from one generator.
            ahead = list(islice(loader, self.train.gradient_accumulation_steps))
            losses, entry = self._step(parts)
            for loss in losses:
                nats = nats + loss
            targets += sum(one.targets for one in parts)
            self.recent.append(entry["loss"])
            bar.update()
            if self.step % self.train.logging_steps == 0:
                entry["loss"], self.recent = fmean(self.recent), []
                bar.set_postfix(loss=f"{entry['loss']:.4f}")
                self.log(entry)
        each = all_gather((float(nats), targets))
        return sum(total for total, _ in each) / max(1, sum(number for _, number in each))

    def _numbers(self, epoch: int) -> Iterator[list[int]]:
        """What this process takes of each batch that all of them make a step on: every n-th row, or none."""
        if self.train.train_sampling_strategy == "group_by_length":
            # All have one order: that of the first, for each has drawn other random numbers before.
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
        with torch.autocast(self.place.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.loss(self.model, {name: values.to(self.place) for name, values in batch.items()})

    def _step(self, parts: Sequence[Part]) -> tuple[list[torch.Tensor], dict[str, float]]:
        """One step of the optimizer; what each batch cost, in nats, and what there is to log."""
        targets = max(1, sum(all_gather(sum(one.targets for one in parts))))
        nats = self._backward(parts, targets)
        if self.processes > 1 and self.train.fsdp is None:
            self._sum_gradients()
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.train.max_grad_norm)
        if hasattr(norm, "full_tensor"):  # of weights that are sharded
            norm = norm.full_tensor()
        # At once: each reading waits for the GPU.
        *losses, gradient = torch.stack([*nats, norm.to(self.place)]).tolist()
        shares = all_gather((losses, [one.numbers for one in parts]))
        mean = sum(sum(one) for one, _ in shares) / targets
        # float16 looks for gradients that overflow itself.
        found, numbers = fault(shares, mean, 0.0 if self.scaler.is_enabled() else gradient)
        if found:
            raise TunediffError(
                f"{self.title}: found {found} at step {self.step + 1}, expected finite numbers and at most "
                f"{EXPLODED:g} nats per target; lower {self.title}.learning_rate, or look at {self._named(numbers)}"
            )
        rate, scale = self.schedule.get_last_lr()[0], self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else the gradient overflowed, and the step was left out
            self.schedule.step()
        self.model.zero_grad()
        self.step += 1
        return nats, {"step": self.step, "loss": mean, "grad_norm": gradient, "learning_rate": rate}

    def _sum_gradients(self) -> None:
        """Over the processes; a weight that some of them did not come to, as an expert, gets those of the others."""
        trained = [value for value in self.model.parameters() if value.requires_grad]
        for value, *present in zip(trained, *all_gather([value.grad is not None for value in trained]), strict=True):
            if any(present):
                value.grad = torch.zeros_like(value) if value.grad is None else value.grad
                dist.all_reduce(value.grad)

    def _backward(self, parts: Sequence[Part], targets: int) -> list[torch.Tensor]:
        """Forward and backward of each batch; where memory runs out, once more in pieces.

        Raises:
            TunediffError: there is not enough memory for a single row.
        """
        while True:
            nats: list[torch.Tensor] = []
            try:
                for one in parts:
                    nats.append(self._backward_of(one, targets))
                return nats
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            if self.processes > 1:  # the others wait for this one's gradients, and cannot begin the step anew
                raise TunediffError(
                    f"{self.title}: not enough memory for a batch at step {self.step + 1} in one of {self.processes} "
                    f"processes; lower {self.title}.per_device_train_batch_size"
                )
            if self.pieces >= max(len(one.numbers) for one in parts):
                raise TunediffError(
                    f"{self.title}: not enough memory for one row at step {self.step + 1} "
                    f"({self._named(parts[len(nats)].numbers)}); lower prompt.max_tokens or use a smaller model"
                )
            # Outside of `except`, which keeps what the failed pass holds. A backward that failed half-way has added to
            # some gradients and not to others: the step begins anew.
            self.pieces *= 2
            print(f"{self.title}: out of memory at step {self.step + 1}: splitting batches into {self.pieces} parts")
            self.model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _backward_of(self, one: Part, targets: int) -> torch.Tensor:
        """What a batch cost in nats; its gradient is that of its share of the step's loss."""
        # FSDP averages gradients over the processes, and they are to be summed.
        weight = bool(one.numbers) * (1 if self.train.fsdp is None else self.processes)
        n_rows = len(one.batch["input_ids"])
        size, nats = math.ceil(n_rows / self.pieces), []
        for at in range(0, n_rows, size):
            loss = self._cost({name: values[at : at + size] for name, values in one.batch.items()})
            self.scaler.scale(loss.minimised * weight / targets).backward()  # type: ignore[no-untyped-call]
            nats.append(loss.answers.detach() * bool(one.numbers))
        return torch.stack(nats).sum()

    def _measure(self, validation: Iterable[Batch]) -> dict[str, float]:
        """The sums over the validation split, of all processes, of what a `Loss` counts."""
        totals: defaultdict[str, float] = defaultdict(float)
        self.model.eval()
        with torch.no_grad():
            for batch in validation:
                for loss in in_halves(self._cost, batch, self.title):
                    for name, value in {"answers": loss.answers, "targets": loss.targets, **loss.counts}.items():
                        totals[name] += float(value)
        each = all_gather(totals)
        return {name: sum(one[name] for one in each) for name in each[0]}

    def _named(self, numbers: Sequence[int]) -> str:
        if self.names is None:
            return f"rows {', '.join(map(str, numbers))}"
        names = self.names()
        return f"cases {', '.join(dict.fromkeys(names[number] for number in numbers))}"

    def _save(self, saved: Callable[[], None]) -> None:
        """Write a checkpoint, and remove older ones once it counts."""
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
    """The row of the log whose weights a run leaves in the model."""
    return min(log, key=lambda row: row["validation_loss"]) if train.choose_epoch == "best" else log[-1]


def split_rows(order: Iterable[int], size: int, kinds: Sequence[int]) -> list[list[int]]:
    """Batches of the indices of rows, taken in this order; rows of different `kinds` never share one.

    Args:
        order: indices of rows.
        size: rows of a batch; the last one of each kind may have fewer.
        kinds: of each row, as `models.logits.batch_kinds` gives them.
    """
    batches: list[list[int]] = []
    begun: dict[int, list[int]] = {}
    for i in order:
        batch = begun.setdefault(kinds[i], [])
        batch.append(i)
        if len(batch) == size:
            batches.append(begun.pop(kinds[i]))
    return batches + list(begun.values())


def like_lengths(lengths: Sequence[int], size: int, kinds: Sequence[int] | None = None) -> list[list[int]]:
    """Batches of the indices of rows, of like length in a batch; another order each time, drawn by torch's seed.

    Rows of different `kinds` never share a batch: see `split_rows`.

    transformers' LengthGroupedSampler goes through fifty batches from long to short, again and again. Where length
    goes with the label, a model trained on that order follows the drift.
    """
    if kinds and len({*kinds}) > 1:
        each: list[list[int]] = []
        for kind in sorted({*kinds}):
            rows = [i for i, one in enumerate(kinds) if one == kind]
            each += [[rows[at] for at in batch] for batch in like_lengths([lengths[i] for i in rows], size)]
        return [each[at] for at in torch.randperm(len(each)).tolist()]
    order = torch.randperm(len(lengths)).tolist()
    pools = [order[at : at + size * POOL] for at in range(0, len(order), size * POOL)]
    sorted_pools = [sorted(pool, key=lambda i: lengths[i]) for pool in pools]
    batches = [pool[at : at + size] for pool in sorted_pools for at in range(0, len(pool), size)]
    # A batch that is not full stands last: it is the last of the last pool.
    n_full = len(lengths) // size
    return [batches[at] for at in torch.randperm(n_full).tolist()] + batches[n_full:]


def fault(shares: Sequence[tuple[list[float], list[list[int]]]], mean: float, gradient: float) -> tuple[str, list[int]]:
    """What is wrong with a step, empty where nothing is, and the numbers of the rows that it may come from.

    Args:
        shares: of each process, the loss of each of its batches in nats and the numbers of its rows.
        mean: loss of the step in nats per target.
        gradient: norm of the step's gradient.
    """
    at_fault = []
    for losses, numbers in shares:
        # Behind the first of a process, its losses say nothing more.
        found = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        at_fault += [] if found is None else numbers[found]
    if at_fault:
        return "a loss that is not finite", at_fault
    every = [number for _, numbers in shares for batch in numbers for number in batch]
    if mean > EXPLODED:
        return f"a loss of {mean:.4g} nats per target", every
    return "" if math.isfinite(gradient) else "a gradient that is not finite", every


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
