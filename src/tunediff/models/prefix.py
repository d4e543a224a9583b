"""Shared-prefix KV cache: the common prefix of all rows is read once, and every row continues from its cache.

    prefix = shared_prefix([[*instruction, 30], [*instruction, 41, 5]])        # instruction
    cache = read_prefix(model, prefix)
    rows_after(cache, 2)                                             # what a batch of two rows takes as past_key_values

The instruction before every case is often half of the prompt.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tunediff.inputs.tokens import common_length
from tunediff.models.load import Network

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache

# Keys and values of each layer, each of shape (1, n_heads, n_tokens, head_size).
Prefix = list[tuple["Tensor", "Tensor"]]
# Minimum tokens of a prefix. A shorter one, such as a BOS, saves less than the mask and the additional pass cost.
WORTH_SHARING = 8


def shared_prefix(rows: Sequence[list[int]]) -> list[int]:
    """Return the longest common prefix that leaves at least one token of each row; empty if it is short."""
    first, last = min(rows), max(rows)  # a common prefix of these two is one of all rows
    length = min(common_length(first, last), min(map(len, rows)) - 1)
    return first[:length] if length >= WORTH_SHARING else []


def read_prefix(model: Network, tokens: Sequence[int]) -> Prefix:
    """Return the keys and values of a prefix, with a gradient if gradients are recorded."""
    device = next(model.parameters()).device
    read = model.get_decoder()(input_ids=torch.tensor([tokens], device=device), use_cache=True).past_key_values
    return [(layer.keys, layer.values) for layer in read.layers]


def rows_after(prefix: Prefix, n: int) -> "Cache":
    """Return a cache with which each of n rows continues from the prefix; the prefix is not modified."""
    from transformers import DynamicCache

    return DynamicCache([(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1)) for keys, values in prefix])
