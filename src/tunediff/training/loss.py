"""The loss of a causal language model on answers; logits are computed only at targets.

A training row is the prompt, the tokens of the answer and the end marker. Targets are marked by position, so a padding
id that equals the end marker does not hide it. With a prompt weight, the tokens of the prompt are targets too.

The common prefix of all prompts (an instruction) may be removed from the rows: a step then reads it once, with its
gradient, and all rows of the batch continue from its cache.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tunediff.inputs.padding import padded
from tunediff.models.load import Network
from tunediff.models.logits import logits_at, takes_own_mask
from tunediff.models.prefix import read_prefix, rows_after, shared_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# A batch of rows, by the name of the input.
Batch = dict[str, torch.Tensor]
IGNORED = -100


class Loss(NamedTuple):
    """The loss of a batch.

    `answers` is the sum of the cross-entropy of the answers in nats, `targets` their number, `minimized` the loss to
    minimize, summed over the targets, and `counts` has further counts by name.
    """

    answers: torch.Tensor
    targets: torch.Tensor
    minimized: torch.Tensor
    counts: Mapping[str, torch.Tensor] = MappingProxyType({})


def answer_rows(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], end: int | None
) -> list[tuple[list[int], int]]:
    """Return the token ids of each row, and the number of targets at its end: the answer and the end marker."""
    ending = [] if end is None else [end]
    return [
        (prompt + answer + ending, len(answer) + len(ending)) for prompt, answer in zip(prompts, answers, strict=True)
    ]


def without_beginning(
    config: "PreTrainedConfig", splits: Sequence[Sequence[tuple[list[int], int]]]
) -> tuple[list[int], list[list[tuple[list[int], int]]]]:
    """Return the common prefix of the prompts of all rows, and the rows of each split without it.

    Args:
        config: the model's layout; if it does not support a custom mask, the prefix is empty.
        splits: rows of `answer_rows`.
    """
    rows = [row for split in splits for row in split]
    beginning: list[int] = []
    if takes_own_mask(config, max(len(tokens) for tokens, _ in rows)):
        beginning = shared_prefix([tokens[: len(tokens) - targets] for tokens, targets in rows])
    return beginning, [[(tokens[len(beginning) :], targets) for tokens, targets in split] for split in splits]


def pad_answers(rows: Sequence[tuple[list[int], int]], pad: int) -> Batch:
    """Pad rows on the right to a batch of tensors of shape (n_rows, width).

    Returns:
        input_ids; labels, the next token if it belongs to the answer, else IGNORED; prompt_labels, the next token if it
        belongs to the prompt, else IGNORED.
    """
    parts = [(tokens[: len(tokens) - targets], tokens[len(tokens) - targets :]) for tokens, targets in rows]
    return {
        "input_ids": padded([tokens[:-1] for tokens, _ in rows], pad),  # nothing follows the last token
        "labels": padded([[IGNORED] * (len(prompt) - 1) + answer for prompt, answer in parts], IGNORED),
        "prompt_labels": padded([prompt[1:] + [IGNORED] * len(answer) for prompt, answer in parts], IGNORED),
    }


def answer_loss(model: Network, batch: Batch, prompt_weight: float = 0.0, beginning: Sequence[int] = ()) -> Loss:
    """Compute the loss of a batch of `pad_answers`.

    Rows are padded on the right and attention is causal, so no attention mask is needed.

    Args:
        model: a causal language model.
        batch: the rows, without their common prefix.
        prompt_weight: weight of prompt tokens; answer tokens have weight 1, those of the common prefix 0.
        beginning: token ids of the common prefix.
    """
    labels, prompt_labels = batch["labels"], batch["prompt_labels"]
    answer = labels != IGNORED
    wanted = answer | (prompt_labels != IGNORED) if prompt_weight else answer
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"]}
    if beginning:
        inputs["past_key_values"] = rows_after(read_prefix(model, beginning), len(labels))
    logits = logits_at(model, inputs, wanted)
    losses = cross_entropy(logits, torch.where(answer, labels, prompt_labels)[wanted], reduction="none")
    answers = losses[answer[wanted]].sum()
    return Loss(answers, answer.sum(), (losses.sum() - answers) * prompt_weight + answers)
