"""AdamW as `train.optim` names it, and how its learning rate falls."""

import math
import re

import torch

from tunediff.config.train import Train
from tunediff.models.load import Network
from tunediff.runtime.errors import TunediffError

# Names of weights that are not pulled towards zero, as in transformers: biases, and scales of normalisations.
NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)")


def make_optimizer(model: Network, train: Train) -> torch.optim.Optimizer:
    """The optimizer of the weights that require a gradient.

    Raises:
        TunediffError: it needs a GPU where there is none.
    """
    norms = {id(one) for part in model.modules() if isinstance(part, torch.nn.LayerNorm) for one in part.parameters()}
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
            # As transformers does it: rare tokens have gradients that 8 bits do not hold.
            GlobalOptimManager.get_instance().register_module_override(module, "weight", {"optim_bits": 32})
    paged: torch.optim.Optimizer = AdamW(groups, train.learning_rate, betas, optim_bits=bits, is_paged=True)
    return paged


def make_schedule(optimizer: torch.optim.Optimizer, train: Train, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over so many steps: the schedules of transformers' `get_scheduler`, to the last digit.

    Its module imports peft and bitsandbytes, a second that a base from scratch and a head have no use for.
    """
    warmup = int(train.warmup_steps) if train.warmup_steps >= 1 else math.ceil(steps * train.warmup_steps)
    kind = train.lr_scheduler_type
    if kind == "constant":
        warmup = 0

    def share(step: int) -> float:
        """Of the peak, after so many steps."""
        if step < warmup:
            return step / warmup
        if kind.startswith("constant"):
            return 1.0
        done = (step - warmup) / max(1, steps - warmup)
        if kind == "cosine":
            return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
