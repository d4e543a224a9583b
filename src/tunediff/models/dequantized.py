"""Keep 4-bit weights dequantized on the CPU, where bitsandbytes dequantizes them in every pass.

    keep_dequantized(loaded.model)      # if a quarter of the free memory suffices

Without it, a pass of up to 64 tokens of SmolLM2-135M, as in generation, takes 1.6 times as long (benchmarks/packed.py).
Outputs and gradients are the same to the last bit.
"""

import sys
from collections.abc import Callable
from copy import copy
from typing import Any

import psutil
import torch

from tunediff.models.load import Network

# The part of the free memory that kept weights may take; several processes may load at the same time.
SHARE = 0.25


def keep_dequantized(network: Network) -> int:
    """Dequantize the 4-bit weights of a network on the CPU once, if that takes at most `SHARE` of the free memory.

    Args:
        network: a model as loaded, without an adapter, or with one; called again, it keeps what is kept.

    Returns:
        The bytes of the kept weights; 0 if there are none or memory is short.
    """
    if "bitsandbytes" not in sys.modules:  # importing it takes a second
        return 0
    from bitsandbytes.nn import Linear4bit

    packed = [one for one in network.modules() if isinstance(one, Linear4bit) and one.weight.device.type == "cpu"]
    needed: int = sum(one.weight.quant_state.shape.numel() * _dtype(one).itemsize for one in packed)
    if needed > SHARE * psutil.virtual_memory().available:
        return 0
    for module in packed:
        if "forward" not in vars(module):
            module.forward = _forward(module)
    return needed


def _dtype(module: Any) -> torch.dtype:
    dtype: torch.dtype = module.compute_dtype or module.weight.quant_state.dtype
    return dtype


def _forward(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The forward method of a Linear4bit of bitsandbytes, with a weight that is dequantized here."""
    from bitsandbytes.functional import dequantize_4bit

    dtype, state = _dtype(module), copy(module.weight.quant_state)
    state.dtype = dtype  # as bitsandbytes does in each pass: rounded once
    weight = dequantize_4bit(module.weight.data, state)
    bias = None if module.bias is None else module.bias.to(dtype)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(inputs.to(dtype), weight, bias).to(inputs.dtype)

    return forward
