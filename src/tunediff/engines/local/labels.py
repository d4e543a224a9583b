"""Log-probabilities of labels from a classification head.

classify(model, encoded, pad=0, batch_tokens=8192, title="base")        # of shape (n_cases, n_labels)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tunediff.engines.local.batching import run_batches
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import Encoded
from tunediff.models.heads import label_scores
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds

if TYPE_CHECKING:
    from torch import Tensor


def classify(model: Network, encoded: Sequence[Encoded], pad: int, batch_tokens: int, title: str) -> "Tensor":
    """Return the log-probability of each label in nats, of shape (n_cases, n_labels), float64."""

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[list[float]]:
        device = next(model.parameters()).device
        inputs = {name: values.to(device) for name, values in pad_rows([encoded[i] for i in batch], pad).items()}
        log_probs: list[list[float]] = label_scores(model, inputs).double().log_softmax(-1).tolist()
        return log_probs

    rows = [row.tokens for row in encoded]
    kinds = batch_kinds(model.config, list(map(len, rows)))
    found = run_batches(rows, batch_tokens, answer, title, kinds)
    return torch.tensor(found, dtype=torch.float64)
