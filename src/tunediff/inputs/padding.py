"""Pad rows of tokens to a batch."""

from collections.abc import Sequence

import numpy as np
import torch

from tunediff.inputs.prompts import Row


def padded(rows: Sequence[list[int]], value: int) -> torch.Tensor:
    """Pad rows of whole numbers on the right; return a tensor of shape (n_rows, width)."""
    width = max(map(len, rows))
    # NumPy converts lists of lists several times as fast as torch.
    return torch.from_numpy(np.array([row + [value] * (width - len(row)) for row in rows]))


def pad_rows(encoded: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """Pad rows on the right; return input_ids, attention_mask and, if the layout has them, token_type_ids."""
    inputs = {
        "input_ids": padded([row.tokens for row in encoded], pad),
        "attention_mask": padded([[1] * len(row.tokens) for row in encoded], 0),
    }
    types = [row.token_types for row in encoded if row.token_types is not None]
    return inputs | ({"token_type_ids": padded(types, 0)} if len(types) == len(encoded) else {})
