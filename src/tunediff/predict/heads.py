"""Log-probabilities of the labels from a classification head.

classify(model, encoded, pad=0, batch_tokens=8192, title="base")        # of shape (n_cases, n_labels)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from tunediff.models.heads import label_scores
from tunediff.models.load import Network
from tunediff.predict.batching import run_batches
from tunediff.predict.prompts import Encoded, Row

if TYPE_CHECKING:
    from torch import Tensor


def classify(model: Network, encoded: Sequence[Encoded], pad: int, batch_tokens: int, title: str) -> "Tensor":
    """Natural-log probability of each label, of shape (n_cases, n_labels), float64."""

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[list[float]]:
        device = next(model.parameters()).device
        inputs = {name: values.to(device) for name, values in pad_rows([encoded[i] for i in batch], pad).items()}
        log_probs: list[list[float]] = label_scores(model, inputs).double().log_softmax(-1).tolist()
        return log_probs

    found = run_batches([one.tokens for one in encoded], batch_tokens, answer, title)
    return torch.tensor(found, dtype=torch.float64)


def pad_rows(encoded: Sequence[Row], pad: int) -> dict[str, "Tensor"]:
    """Rows padded on the right: input_ids, attention_mask and, where the layout has them, token_type_ids."""
    width = max(len(one.tokens) for one in encoded)

    def padded(rows: list[list[int]], value: int) -> "Tensor":
        # By way of NumPy, which reads lists of lists several times as fast.
        return torch.from_numpy(np.array([row + [value] * (width - len(row)) for row in rows]))

    inputs = {
        "input_ids": padded([one.tokens for one in encoded], pad),
        "attention_mask": padded([[1] * len(one.tokens) for one in encoded], 0),
    }
    types = [one.token_types for one in encoded if one.token_types is not None]
    return inputs | ({"token_type_ids": padded(types, 0)} if len(types) == len(encoded) else {})
