"""The loss of a causal language model on answers: logits are computed where there is something to predict.

A training row is the prompt, the answer's tokens and the end marker. Targets are marked by position, so a padding id
that equals the end marker never hides it. The prompt's own tokens are targets too where they are given a weight.

What all prompts begin with (an instruction) may be left out of the rows: a step reads it once, with its gradient, and
all rows of the batch continue from there.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tunediff.models.load import Network
from tunediff.models.logits import logits_at, takes_own_mask
from tunediff.models.prefix import read_prefix, rows_after, shared_prefix

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

IGNORED = -100


class Loss(NamedTuple):
    """What a batch costs: the cross-entropy of its answers in nats, summed; how many targets; the loss to minimise,
    summed over the targets; and whatever else is counted in it, by name.
    """

    answers: "Tensor"
    targets: "Tensor"
    minimised: "Tensor"
    counts: "Mapping[str, Tensor]" = MappingProxyType({})


def answer_rows(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], end: int | None
) -> list[tuple[list[int], int]]:
    """Token ids of each row, and how many of its last ones are targets: the answer and the end marker."""
    ending = [] if end is None else [end]
    return [
        (prompt + answer + ending, len(answer) + len(ending)) for prompt, answer in zip(prompts, answers, strict=True)
    ]


def without_beginning(
    config: "PreTrainedConfig", splits: Sequence[Sequence[tuple[list[int], int]]]
) -> tuple[list[int], list[list[tuple[list[int], int]]]]:
    """What the prompts of all rows begin with, and the rows of each split without it.

    Args:
        config: the model's layout; one that does not take a mask of ours gets its rows back as they are.
        splits: rows of `answer_rows`.
    """
    rows = [row for split in splits for row in split]
    beginning: list[int] = []
    if takes_own_mask(config, max(len(tokens) for tokens, _ in rows)):
        beginning = shared_prefix([tokens[: len(tokens) - targets] for tokens, targets in rows])
    return beginning, [[(tokens[len(beginning) :], targets) for tokens, targets in split] for split in splits]


def pad_answers(rows: Sequence[tuple[list[int], int]], pad: int) -> dict[str, "Tensor"]:
    """A batch padded on the right, each tensor of shape (n_rows, width).

    input_ids; labels, the target at a place: the token that follows it there, IGNORED where it belongs to the prompt;
    prompt_labels, the same for the prompt's tokens, IGNORED where they belong to the answer.
    """
    width = max(len(tokens) for tokens, _ in rows) - 1  # nothing follows the last token
    batch: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "prompt_labels": []}
    for tokens, targets in rows:
        prompt, rest = len(tokens) - 1 - targets, [IGNORED] * (width + 1 - len(tokens))
        batch["input_ids"].append(tokens[:-1] + [pad] * len(rest))
        batch["labels"].append([IGNORED] * prompt + tokens[prompt + 1 :] + rest)
        batch["prompt_labels"].append(tokens[1 : prompt + 1] + [IGNORED] * targets + rest)
    return {name: torch.tensor(values) for name, values in batch.items()}


def answer_loss(
    model: Network, batch: dict[str, "Tensor"], prompt_weight: float = 0.0, beginning: Sequence[int] = ()
) -> Loss:
    """The loss of a batch of `pad_answers`.

    Rows are padded on the right and read causally, so no attention mask is needed: nothing sees the padding.

    Args:
        model: a causal language model.
        batch: the rows, without the beginning.
        prompt_weight: of a token of a prompt; one of an answer weighs 1. Tokens of the beginning weigh nothing.
        beginning: token ids that stand before every row.
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
