"""Fine-tuning: transformers' Trainer for the loop, our own rows, loss and saves.

    log = finetune(loaded, train_rows, validation_rows, train, scratch, "lm")    # the model is trained in place
    log[-1]                                  # {"epoch": 3, "step": 750, "train_loss": 0.31, "validation_loss": 0.35}

What differs from head to head stands in `HEADS`: what a batch of its rows is, and its loss.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from tunediff.config.prompt import Prompt
from tunediff.config.task import Task
from tunediff.config.train import Train
from tunediff.data.cases import Case
from tunediff.inputs.joins import join
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import Encoded, encode_cases, encode_text, written_answer
from tunediff.models.adapt import disable_dropout, gather_trained, load_trained, save_weights, whole_weights
from tunediff.models.heads import label_scores
from tunediff.models.load import Loaded, Network
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import gathered, part, shared
from tunediff.training.checkpoints import MarkWhole, latest_whole
from tunediff.training.features import Features, frozen_base
from tunediff.training.loop import ROWS, BatchTrainer, Tally, counts, in_halves
from tunediff.training.loss import IGNORED, Loss, answer_loss, answer_rows, pad_answers, without_beginning
from tunediff.training.progress import show_progress
from tunediff.training.span_targets import pad_spans, span_loss, span_rows

Batch = dict[str, torch.Tensor]


def training_rows(loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, head: str) -> list[Any]:
    """What the model learns from each case, in the order of the cases.

    For a language model the prompt with its gold answer (see `loss.answer_rows`); for a classification head the
    encoded case with the number of its gold label; for a span head the windows of the cases (see `spans.span_rows`).

    Raises:
        TunediffError: no case has anything to learn from.
    """
    if head == "span":
        spans = span_rows(loaded, cases, prompt)
        if cases and not spans:
            raise TunediffError(
                f"data: found none of the gold answers of {len(cases):,} cases in its context, where a span head looks "
                "for it; expected answers that stand there, or model.head: lm"
            )
        return spans
    if head == "classification":
        encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context)
        return [(one, task.labels.index(case.label)) for one, case in zip(encoded, cases, strict=True)]
    # The boundary between prompt and answer is that of scoring: all choices of a case have a say in it.
    choices = [(prompt.choices or {})[label] for label in task.labels] if task.name != "question_answering" else []
    texts = [choices or [written_answer(case, prompt)] for case in cases]
    gold = [task.labels.index(case.label) if choices else 0 for case in cases]
    end = loaded.tokenizer.eos_token_id
    ending = int(end is not None)
    longest = max(len(encode_text(loaded.tokenizer, text)) for text in dict.fromkeys(chain.from_iterable(texts)))
    encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context, longest + ending)
    joined = join(loaded.tokenizer, [one.text for one in encoded], texts, loaded.context - ending)
    answers = [one.answers[number] for one, number in zip(joined, gold, strict=True)]
    return answer_rows([one.prompt for one in joined], answers, end)


def row_case_ids(loaded: Loaded, cases: Sequence[Case], prompt: Prompt, head: str) -> list[str]:
    """The id of the case that each row of `training_rows` was made of."""
    if head == "span":
        return [case.case_id for case in cases for _ in span_rows(loaded, [case], prompt)]
    return [case.case_id for case in cases]


def chosen_epoch(log: list[dict[str, float]], train: Train) -> dict[str, float]:
    """The row of the log whose weights `finetune` leaves in the model."""
    return min(log, key=lambda row: row["validation_loss"]) if train.choose_epoch == "best" else log[-1]


def pad_labels(rows: Sequence[tuple[Encoded, int]], pad: int) -> Batch:
    """A batch as `pad_rows` makes it, with the numbers of the gold labels."""
    return pad_rows([one for one, _ in rows], pad) | {"labels": torch.tensor([label for _, label in rows])}


def head_loss(model: Network, batch: Batch) -> Loss:
    """The cross-entropy of the gold labels; a case is one target."""
    labels = batch["labels"]
    scores = label_scores(model, {name: values for name, values in batch.items() if name != "labels"}).float()
    total = cross_entropy(scores, labels, reduction="sum")
    return Loss(total, torch.tensor(len(labels), device=labels.device), total)


# How rows of `training_rows` become a batch, and what the batch costs.
HEADS: dict[str, tuple[Callable[..., Batch], Callable[..., Loss]]] = {
    "lm": (pad_answers, answer_loss),
    "classification": (pad_labels, head_loss),
    "span": (pad_spans, span_loss),
}


def finetune(
    loaded: Loaded,
    train_rows: Sequence[Any],
    validation_rows: Sequence[Any],
    train: Train,
    scratch: Path,
    head: str,
    saved: Callable[[], None] = lambda: None,
    case_ids: Callable[[], Sequence[str]] | None = None,
    features: Features | None = None,
) -> list[dict[str, float]]:
    """Train the trainable weights of `loaded.model` in place.

    Args:
        loaded: the model, adapted: only what shall be trained requires a gradient.
        train_rows: rows of `training_rows`.
        validation_rows: the same of the validation split; measured after each epoch.
        train: the section train.
        scratch: folder for a save each epoch; a whole save that lies there is gone on from. Several processes share it.
        head: the model's head, lm, classification or span.
        saved: called after each save, in each process.
        case_ids: gives the case of each training row, to name those of a batch that went wrong.
        features: what a frozen base said of these rows; without any, the base runs in every epoch.

    Returns:
        A row an epoch: epoch, step, train_loss (mean over the epoch) and validation_loss, in nats per target.

    Raises:
        TunediffError: the loss is no longer a finite number or has exploded, there is not enough memory for one row, or
            the optimizer or fsdp needs a GPU where there is none.
    """
    if train.optim.startswith("paged") and not torch.cuda.is_available():
        raise TunediffError(f"params.yaml: train.optim: found {train.optim}, which needs a GPU; expected adamw_torch")
    _refuse_sharing_on_cpu(train)
    if train.disable_dropout:
        disable_dropout(loaded.model)

    batch_of, batch_loss = HEADS[head]
    if head == "lm" and train.prompt_loss_weight:
        batch_loss = partial(batch_loss, prompt_weight=train.prompt_loss_weight)
    elif head == "lm":
        beginning, (train_rows, validation_rows) = without_beginning(loaded.model.config, [train_rows, validation_rows])
        batch_loss = partial(batch_loss, beginning=beginning)
    lengths = None
    if train.train_sampling_strategy == "group_by_length":
        lengths = [len(one if head == "lm" else one.tokens) for one, _ in train_rows]
    trainer = _EpochTrainer(
        model=loaded.model,
        args=_arguments(train, scratch, loaded.model.config.dtype),
        title="train",
        train_rows=train_rows,
        eval_dataset=list(enumerate(validation_rows)),
        collate=partial(batch_of, pad=loaded.pad),
        names=case_ids,
        callbacks=[MarkWhole(saved, keep=train.save_total_limit)],
        lengths=lengths,
        batch_loss=batch_loss,
    )
    show_progress(trainer, "train")
    shared(scratch)
    resumed = latest_whole(scratch)
    if resumed is not None:
        print(f"going on from {resumed}")
    rows = [] if head == "lm" else [one for one, _ in (*train_rows, *validation_rows)]
    with frozen_base(loaded, rows, head, features or {}):
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    gather_trained(loaded.model)
    return [
        {
            "epoch": round(entry["epoch"]),
            "step": entry["step"],
            "train_loss": entry["eval_train_loss"],
            "validation_loss": entry["eval_loss"],
        }
        for entry in trainer.state.log_history
        if "eval_loss" in entry
    ]


def _refuse_sharing_on_cpu(train: Train) -> None:
    """Where there is no GPU, accelerate would take no notice of fsdp."""
    if train.fsdp is not None and not torch.cuda.is_available():
        raise TunediffError("params.yaml: train.fsdp: given, which needs GPUs; expected null on this machine")


def _arguments(train: Train, scratch: Path, dtype: torch.dtype) -> TrainingArguments:
    """The arguments of transformers for the section train."""
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(scratch),
        learning_rate=train.learning_rate,
        num_train_epochs=train.num_train_epochs,
        per_device_train_batch_size=train.per_device_train_batch_size,
        per_device_eval_batch_size=2 * train.per_device_train_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        lr_scheduler_type=train.lr_scheduler_type,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        adam_beta2=train.adam_beta2,
        max_grad_norm=train.max_grad_norm,
        optim=train.optim,
        seed=train.seed,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,  # BatchTrainer stops instead
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=train.choose_epoch == "best",
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        fp16=on_gpu and dtype == torch.float16,  # scales the gradients; bfloat16 needs no scale
        use_cpu=not on_gpu,
        remove_unused_columns=False,
        report_to=[],
        fsdp=None if train.fsdp is None else True,  # type: ignore[arg-type]  # a text was of old
        fsdp_config=None if train.fsdp is None else dict(train.fsdp),
    )
    # With several GPUs, transformers would put each batch on all of them, in a wrapper that our loss cannot look into.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


class _Costing(torch.nn.Module):
    """A model whose forward pass is the loss of a batch, so that a wrapper around it sees the pass as a whole."""

    def __init__(self, model: Network, loss: Callable[[Network, Batch], Loss]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Loss:
        return self.loss(self.model, batch)


def _mean(total: float, targets: int) -> float:
    """The mean over the targets of all processes, from what this one summed up."""
    totals, numbers = zip(*gathered((total, targets)), strict=True)
    return float(sum(totals) / sum(numbers))


class _EpochTrainer(BatchTrainer):
    """Trainer with our loss, exact epoch means, and saves that hold the trained weights alone."""

    def __init__(self, *, model: Network, batch_loss: Callable[[Network, Batch], Loss], **kwargs: Any) -> None:
        # A 4-bit model without an adapter is refused, but what is trained here may be its head, which is not 4-bit.
        quantized, model.is_quantized = getattr(model, "is_quantized", False), False
        super().__init__(model=model, **kwargs)
        model.is_quantized = quantized
        self.model: Network
        self.batch_loss = batch_loss
        # Makes the Trainer count a step's targets over all its accumulated batches: the mean is then exact.
        self.model_accepts_loss_kwargs = True

    def _get_num_items_in_batch(self, batch_samples: Sequence[Batch], device: torch.device) -> torch.Tensor:
        """Targets of a step, of all its batches in all processes; a row without labels of its own is one."""
        targets = torch.zeros((), dtype=torch.long, device=device)
        for batch in filter(counts, batch_samples):
            targets += (batch["labels"] != IGNORED).sum() if "labels" in batch else len(batch["input_ids"])
        every: torch.Tensor = self.accelerator.reduce(targets)
        return every

    def _wrap_model(self, model: Network, training: bool = True, dataloader: Any = None) -> Network:
        """As transformers does it, but what averages gradients over processes is put around model and loss at once."""
        if self.args.world_size == 1 or self.is_fsdp_enabled:
            return super()._wrap_model(model, training, dataloader)
        # Each process has loaded the same weights. A pooler may be trained that no loss reads.
        return DistributedDataParallel(
            _Costing(model, self._loss), init_sync=False, forward_sync_buffers=False, find_unused_parameters=True
        )

    def _loss(self, model: Any, batch: Batch) -> Loss:
        """The batch's loss, computed in the dtype of the base model; trained weights are float32 in any case."""
        dtype = self.model.config.dtype
        with torch.autocast(self.args.device.type, dtype, enabled=dtype != torch.float32):
            return self.batch_loss(model, batch)

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> tuple[Network, Any]:
        """FSDP gathers weights around what it takes for a forward pass: the loss, which calls parts of the model."""
        model, loader = super()._prepare_for_training(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.is_fsdp_enabled:
            model.cost = MethodType(self.batch_loss, model)
            register_fsdp_forward_method(model, "cost")
            self.batch_loss = lambda model, batch: model.cost(batch)
        return model, loader

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        own = counts(inputs)
        inputs = {name: values for name, values in inputs.items() if name != "nothing"}
        loss = model(inputs) if isinstance(model, DistributedDataParallel) else self._loss(model, inputs)
        self.tally = self.tally.add(loss.answers * own, loss.targets * own)
        if num_items_in_batch is None:
            return loss.minimised / loss.targets * self.share
        # Gradients are averaged over the processes, and are to be summed: the targets are those of all.
        mean: torch.Tensor = loss.minimised * own * self.args.world_size / num_items_in_batch
        return mean

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:  # noqa: ARG002
        """Mean losses of the epoch that ends here: over its training targets, and over the validation split."""
        train_loss, self.tally = _mean(float(self.tally.nats), int(self.tally.targets)), Tally()
        self.model.eval()
        total, targets = 0.0, 0
        # Sharded weights are gathered in every pass, for which all processes have to make the same passes.
        number, processes = (0, 1) if self.is_fsdp_enabled else part()
        dataset: Any = self.eval_dataset
        rows, size = range(len(dataset)), self.args.eval_batch_size
        own = [list(rows[at : at + size]) for at in rows[::size]][number::processes]
        with torch.no_grad():
            for batch in DataLoader(dataset, batch_sampler=own, collate_fn=self.data_collator):
                batch.pop(ROWS)
                for loss in in_halves(partial(self._loss, self.model), self._prepare_inputs(batch), "train"):
                    total, targets = total + float(loss.answers), targets + int(loss.targets)
        self.model.train()
        metrics = {"eval_loss": _mean(total, targets), "eval_train_loss": train_loss}
        if not all(math.isfinite(loss) for loss in metrics.values()):
            raise TunediffError(
                f"train: found training loss {train_loss} and validation loss {metrics['eval_loss']} after step "
                f"{self.state.global_step}, expected finite numbers; lower train.learning_rate or train.max_grad_norm"
            )
        self.log(metrics)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        whole = whole_weights(self.model)
        if self.args.should_save:
            save_weights(whole, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        load_trained(self.model, Path(str(self.state.best_model_checkpoint)))
