"""The loss on the answer alone: logits are computed where there is something to predict, and nowhere else.

A training row is the prompt, the answer's tokens and the end marker. Targets are marked by position, so a padding id
that equals the end marker never hides it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from tunediff.models.load import Network
from tunediff.models.logits import logits_at

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100


def answer_rows(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], end: int | None
) -> list[tuple[list[int], list[int]]]:
    """Token ids and targets of each row; the target at a place is the token that follows it there, or IGNORED."""
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = prompt + answer + ([] if end is None else [end])
        targets = [IGNORED] * (len(prompt) - 1) + tokens[len(prompt) :]
        rows.append((tokens[:-1], targets))  # nothing follows the last token
    return rows


def pad_answers(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, "Tensor"]:
    """A batch padded on the right: input_ids and labels (the targets), of shape (n_rows, width)."""
    width = max(len(tokens) for tokens, _ in rows)
    return {
        "input_ids": torch.tensor([tokens + [pad] * (width - len(tokens)) for tokens, _ in rows]),
        "labels": torch.tensor([targets + [IGNORED] * (width - len(targets)) for _, targets in rows]),
    }


def answer_loss(model: Network, batch: dict[str, "Tensor"]) -> tuple["Tensor", "Tensor"]:
    """Sum of the cross-entropy over the targets in nats, and how many targets there are.

    Rows are padded on the right and read causally, so no attention mask is needed: nothing sees the padding.
    """
    labels = batch["labels"]
    wanted = labels != IGNORED
    logits = logits_at(model, {"input_ids": batch["input_ids"]}, wanted)
    return cross_entropy(logits, labels[wanted], reduction="sum"), wanted.sum()
