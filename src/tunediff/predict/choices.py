"""Log-likelihood of each choice after each prompt, in one forward pass a case.

A row is a tree: the prompt, and behind it one branch for every choice of more than one token.

    prompt tokens ........ p5 | " very" " good" | " not" " so" ...      a branch sees the prompt and itself,
    positions  0 1 2 3 4   5  |   6       7     |   6      7            and its positions continue the prompt

The first token of every choice is scored at the prompt's last position, the others inside their branch; a choice's
last token is never fed. With choices of one token no branch is left and the row is the prompt alone. What all prompts
begin with (an instruction) is read once, and the rows go on from its keys and values.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tunediff.models.load import Network
from tunediff.models.logits import logits_at, takes_own_mask
from tunediff.models.prefix import Prefix, read_prefix, rows_after, shared_prefix
from tunediff.predict.batching import run_batches

if TYPE_CHECKING:
    from torch import Tensor


def score_choices(
    model: Network, prompts: Sequence[list[int]], choices: Sequence[list[int]], batch_tokens: int, title: str
) -> "Tensor":
    """Sum of the log-probabilities of each choice's tokens after each prompt.

    Args:
        model: a causal language model of transformers, with or without an adapter.
        prompts: token ids of each prompt.
        choices: token ids of each choice, none empty.
        batch_tokens: tokens of one batch.
        title: what the progress bar says.

    Returns:
        Natural-log likelihoods of shape (n_cases, n_choices), float64, at most 0.
    """
    longest = max(map(len, prompts)) + sum(len(choice) - 1 for choice in choices)
    # A layout that takes no tree gets a row for each choice.
    whole = takes_own_mask(model.config, longest)
    beginning = shared_prefix(prompts) if whole else []
    with torch.inference_mode():
        prefix = read_prefix(model, beginning) if beginning else None

    # The budget counts the prefix too: its keys and values are there for every row.
    def rows_of(group: Sequence[list[int]]) -> list[list[int]]:
        return [prompt + [token for choice in group for token in choice[:-1]] for prompt in prompts]

    columns = []
    for group in [list(choices)] if whole else [[choice] for choice in choices]:
        rows = rows_of(group)

        def answer(batch: list[int], rows: list[list[int]] = rows, group: list[list[int]] = group) -> list[list[float]]:
            rests = [rows[i][len(beginning) :] for i in batch]
            lengths = [len(prompts[i]) - len(beginning) for i in batch]
            scores: list[list[float]] = _score_batch(model, rests, lengths, group, prefix).tolist()
            return scores

        columns.append(torch.tensor(run_batches(rows, batch_tokens, answer, title), dtype=torch.float64))
    return torch.cat(columns, dim=1)


@torch.inference_mode()
def _score_batch(
    model: Network, rows: list[list[int]], prompt_lengths: list[int], choices: list[list[int]], prefix: Prefix | None
) -> "Tensor":
    """Log-likelihoods of shape (n_rows, n_choices).

    Args:
        model: the model.
        rows: token ids of the rest of each prompt, and the branches of all choices.
        prompt_lengths: tokens of the rest of each prompt.
        choices: token ids of each choice.
        prefix: what stands before every row.
    """
    device = next(model.parameters()).device
    width = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
    lengths = torch.tensor(prompt_lengths)
    branch_tokens = sum(len(choice) - 1 for choice in choices)
    branches = sum(len(choice) > 1 for choice in choices)
    inputs = {"input_ids": tokens}
    if branches > 1:
        inputs |= _tree(lengths, width, choices, 0 if prefix is None else prefix[0][0].shape[2])
    # Rows are padded on the right and read from the left: with one branch or none, no token can see the padding.
    columns = torch.cat([lengths[:, None] - 1, lengths[:, None] + torch.arange(branch_tokens)], dim=1).to(device)
    places = (torch.arange(len(rows), device=device)[:, None], columns)
    inputs = {name: values.to(device) for name, values in inputs.items()}
    past = None if prefix is None else rows_after(prefix, len(rows))
    log_probs = logits_at(model, inputs | {"past_key_values": past}, places).log_softmax(-1)
    scores, start = [], 1
    for choice in choices:
        at = [0, *range(start, start + len(choice) - 1)]
        scores.append(log_probs[:, at, choice].double().sum(-1))
        start += len(choice) - 1
    return torch.stack(scores, dim=1).cpu()


def _tree(lengths: "Tensor", width: int, choices: list[list[int]], before: int) -> dict[str, "Tensor"]:
    """What a row of the tree sees, and where its tokens stand, with `before` tokens before every row.

    Returns:
        Attention mask of shape (n_rows, 1, width, before + width), True where a token is seen; positions of shape
        (n_rows, width).
    """
    place = torch.arange(width)
    branch_of, depth_of = [0], [0]  # of the prompt and of the padding; branches are numbered from 1
    for number, choice in enumerate(choices, start=1):
        branch_of += [number] * (len(choice) - 1)
        depth_of += range(len(choice) - 1)
    behind = (place - lengths[:, None] + 1).clamp(0, len(branch_of) - 1)  # 0 inside the prompt, then 1, 2, ...
    branch = torch.tensor(branch_of)[behind]
    positions = torch.where(branch == 0, place, lengths[:, None] + torch.tensor(depth_of)[behind])
    causal = place[None, :] <= place[:, None]
    sees = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    mask = torch.nn.functional.pad(causal & sees, (before, 0), value=True)
    return {"attention_mask": mask[:, None], "position_ids": before + positions}
