"""The fine-tuning run."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunediff.config.section import Number, Section, Seed, Whole


class Train(Section):
    """The fine-tuning run; names as in transformers.TrainingArguments."""

    learning_rate: Number = Field(gt=0, description="peak learning rate")
    num_train_epochs: Whole = Field(ge=1, description="passes over the training split")
    per_device_train_batch_size: Whole = Field(ge=1, description="cases per forward pass")
    gradient_accumulation_steps: Whole = Field(default=1, ge=1, description="forward passes per step")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="learning-rate schedule"
    )
    warmup_steps: Number = Field(default=0, ge=0, description="warm-up steps; below 1: their share of all steps")
    weight_decay: Number = Field(default=0.0, ge=0, description="AdamW: weight decay")
    adam_beta2: Number = Field(default=0.999, gt=0, lt=1, description="AdamW: decay of the squared gradients")
    max_grad_norm: Number = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    optim: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "paged_adamw_32bit"] = Field(
        default="adamw_torch", description="optimizer; the paged ones need a GPU"
    )
    logging_steps: Whole = Field(default=10, ge=1, description="steps between log lines")
    save_total_limit: Whole | None = Field(default=None, ge=1, description="number of per-epoch checkpoints to keep")
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        default="random", description="order of the cases: random, or batches of cases of similar length"
    )
    prompt_loss_weight: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight of the prompt tokens in the loss of a language model; answer tokens have weight 1",
    )
    disable_dropout: bool = Field(default=False, description="disable the base model's dropout in training")
    num_processes: Whole = Field(
        default=1, ge=1, description="processes on all hosts, one per GPU; a step uses the batches of all processes"
    )
    fsdp: dict[str, Any] | None = Field(
        default=None,
        description="how weights are sharded over the processes (docs/scale.md); none: each process has a copy",
    )
    choose_epoch: Literal["last", "best"] = Field(
        default="last",
        description="the model after the last epoch, or after the one with the lowest validation loss",
    )
    keep: Literal["best", "all"] = Field(
        default="best",
        description="what to keep of the run: the model selected by choose_epoch, or also the model after each epoch, "
        "for tunediff checkpoints",
    )
    seed: Seed = Field(default=0, description="seed of adapter weights, dropout and order")

    def _contradictions(self) -> Iterator[str]:
        if self.fsdp is not None and self.num_processes == 1:
            yield "train.fsdp goes with train.num_processes above 1; found 1"
        if self.keep == "all" and self.save_total_limit is not None:
            yield (
                f"train.save_total_limit: found {self.save_total_limit}, but train.keep is all, which needs the save "
                "of each epoch; expected none"
            )
