"""The beginning that all rows share, read once: every row then continues from its keys and values.

    prefix = shared_prefix([[*instruction, 30], [*instruction, 41, 5]])        # instruction
    cache = read_prefix(model, prefix)
    rows_after(cache, 2)                                             # what a batch of two rows takes as past_key_values

An instruction that stands before every case is often half of its prompt.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tunediff.models.load import Network

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache

# Keys and values of each layer, each of shape (1, n_heads, n_tokens, head_size).
Prefix = list[tuple["Tensor", "Tensor"]]
# Tokens. A shorter beginning, such as a BOS, costs a mask and a pass and saves next to nothing.
WORTH_SHARING = 8


def shared_prefix(rows: Sequence[list[int]]) -> list[int]:
    """The longest beginning that all rows share and that leaves at least one token of each; empty where it is short."""
    first, last = min(rows), max(rows)  # whatever these two share, all rows between them share
    end = min(map(len, rows)) - 1
    length = next((place for place in range(end) if first[place] != last[place]), end)
    return first[:length] if length >= WORTH_SHARING else []


def read_prefix(model: Network, tokens: Sequence[int]) -> Prefix:
    """Keys and values of a beginning that no row has to read again, with a gradient where one is being recorded."""
    device = next(model.parameters()).device
    read = model.get_decoder()(input_ids=torch.tensor([tokens], device=device), use_cache=True).past_key_values
    return [(layer.keys, layer.values) for layer in read.layers]


def rows_after(prefix: Prefix, n: int) -> "Cache":
    """A cache with which each of n rows continues from the prefix; the prefix itself stays as it is."""
    from transformers import DynamicCache

    return DynamicCache([(keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1)) for keys, values in prefix])
