"""The optimizer that `train.optim` names, and its learning-rate schedule."""

import math
import re

import torch

from tunediff.config.train import Train
from tunediff.models.load import Network
from tunediff.runtime.errors import TunediffError

# Names of weights without weight decay, as in transformers: biases, and scales of normalizations.
NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)")


def make_optimizer(model: Network, train: Train) -> torch.optim.Optimizer:
    """Make the optimizer of the weights that require a gradient.

    Raises:
        TunediffError: the optimizer needs a GPU and there is none.
    """
    layer_norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    norms = {id(value) for module in layer_norms for value in module.parameters()}
    decayed: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, value in model.named_parameters():
        if value.requires_grad:
            (others if id(value) in norms or NOT_DECAYED.search(name.lower()) else decayed).append(value)
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": others, "weight_decay": 0.0}]
    betas = (0.9, train.adam_beta2)
    if not train.optim.startswith("paged"):
        return torch.optim.AdamW(groups, train.learning_rate, betas, fused=train.optim.endswith("fused") or None)
    if not torch.cuda.is_available():
        raise TunediffError(f"params.yaml: train.optim: found {train.optim}, which needs a GPU; expected adamw_torch")
    from bitsandbytes.optim import AdamW, GlobalOptimManager

    bits = 8 if train.optim.endswith("8bit") else 32
    for module in model.modules():
        if bits == 8 and isinstance(module, torch.nn.Embedding):
            # As in transformers: gradients of rare tokens need more than 8 bits.
            GlobalOptimManager.get_instance().register_module_override(module, "weight", {"optim_bits": 32})
    paged: torch.optim.Optimizer = AdamW(groups, train.learning_rate, betas, optim_bits=bits, is_paged=True)
    return paged


def make_schedule(optimizer: torch.optim.Optimizer, train: Train, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Make a learning-rate schedule over `steps` steps, equal to that of transformers' `get_scheduler`.

    Importing the latter also imports peft and bitsandbytes, which takes a second and is not needed for pretraining and
    heads.
    """
    warmup = int(train.warmup_steps) if train.warmup_steps >= 1 else math.ceil(steps * train.warmup_steps)
    kind = train.lr_scheduler_type
    if kind == "constant":
        warmup = 0

    def share(step: int) -> float:
        """The learning rate after a number of steps, as a share of the peak."""
        if step < warmup:
            return step / warmup
        if kind.startswith("constant"):
            return 1.0
        done = (step - warmup) / max(1, steps - warmup)
        if kind == "cosine":
            return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
