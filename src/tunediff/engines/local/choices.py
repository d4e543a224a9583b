"""Log-likelihood of each choice after each prompt, in one forward pass.

A row is a prefix tree. Prompts with a common prefix, such as three hypotheses about one premise, share a stem. Each
prompt continues the stem, followed by one branch for each of its choices that has more than one token.

    stem ........ | prompt 1 . p5 | " very" " good" | " not" " so" | prompt 2 . p6 | " very" " good" | " not" " so"
    0  1  2  3      4  5              6       7         6      7      4  5  6          7       8         7      8

A token attends to what it continues (the stem, its own prompt, its own branch), and its position (second line) is the
one that it would have after that alone. The first token of every choice is scored at the last position of the prompt,
the others inside their branch; the last token of a choice is not fed to the model. The prefix of all prompts (an
instruction) is read once, and the rows continue from its keys and values.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from tunediff.engines.local.batching import run_batches
from tunediff.inputs.padding import padded
from tunediff.inputs.tokens import common_length
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds, logits_at, takes_own_mask
from tunediff.models.prefix import WORTH_SHARING, Prefix, read_prefix, rows_after, shared_prefix

if TYPE_CHECKING:
    from torch import Tensor

# Token ids of each choice of a prompt.
Choices = Sequence[list[int]]
# Maximum tokens after one stem. Each token attends to the whole row, so a longer row costs more than its stem saves.
LONGEST_ROW = 512


class _Tree(NamedTuple):
    """A row: the indices of its prompts; the id, prompt, branch and position of each token; where choices are scored.

    Prompts of a row and branches of a prompt count from 1; 0 is the stem, or no branch.
    """

    prompts: list[int]
    choices: list[Choices]  # per prompt
    tokens: list[int]
    prompt_of: list[int]
    branch_of: list[int]
    position_of: list[int]
    places: list[list[int]]  # per prompt: indices of its last token and of the tokens of its branches


def score_choices(
    model: Network, prompts: Sequence[list[int]], choices: Sequence[Choices], batch_tokens: int, title: str
) -> "Tensor":
    """Sum the log-probabilities of the tokens of each choice after its prompt.

    For layouts that do not support prefix trees, each choice is a row, and a line reports it.

    Args:
        model: a causal language model of transformers, with or without an adapter.
        prompts: token ids of each prompt.
        choices: token ids of the choices of each prompt, none empty, the same number for all prompts.
        batch_tokens: tokens per batch.
        title: label of the progress bar.

    Returns:
        Natural-log likelihoods of shape (n_cases, n_choices), float64, at most 0.
    """
    longest = max(len(prompt) + max(map(len, row)) for prompt, row in zip(prompts, choices, strict=True))
    whole = takes_own_mask(model.config, longest - 1)
    if not whole and len(prompts) > 1:
        layout = model.config.model_type
        print(
            f"{title}: the layout {layout} does not support prefix trees of these lengths; using one row per choice",
            file=sys.stderr,
        )
    beginning = shared_prefix(prompts) if whole else []
    before = len(beginning)
    with torch.inference_mode():
        prefix = read_prefix(model, beginning) if beginning else None

    columns = []
    for group in [choices] if whole else [[[row[k]] for row in choices] for k in range(len(choices[0]))]:
        stems = _stems(prompts, before) if whole else [([i], 0) for i in range(len(prompts))]
        trees = [_tree(prompts, numbers, before, stem, group) for numbers, stem in stems]

        def answer(batch: list[int], trees: list[_Tree] = trees) -> list[list[list[float]]]:
            return [scores.tolist() for scores in _score_batch(model, [trees[i] for i in batch], prefix)]

        # The budget includes the prefix, whose keys and values are expanded to every row.
        rows = [beginning + tree.tokens for tree in trees]
        found = run_batches(rows, batch_tokens, answer, title, batch_kinds(model.config, list(map(len, rows))))
        scores = torch.empty(len(prompts), len(group[0]), dtype=torch.float64)
        for tree, tree_scores in zip(trees, found, strict=True):
            scores[tree.prompts] = torch.tensor(tree_scores, dtype=torch.float64)
        columns.append(scores)
    return torch.cat(columns, dim=1)


def _stems(prompts: Sequence[list[int]], before: int) -> list[tuple[list[int], int]]:
    """Indices of the prompts of each row, and the length of their common prefix; `before` is that of all prompts.

    Sorting puts prompts with a common prefix next to each other. A prompt joins the preceding row if that saves tokens:
    with k prompts per stem, the stem is read once instead of k times.
    """
    rows: list[tuple[list[int], int]] = []
    after_stem = 0  # tokens of the last row after its stem
    for i in sorted(range(len(prompts)), key=prompts.__getitem__):
        new = prompts[i]
        if rows:
            numbers, stem = rows[-1]
            first = prompts[numbers[0]]
            shared = min(common_length(first, new), len(first) - 1, len(new) - 1, *([stem] if len(numbers) > 1 else []))
            longer = after_stem + len(numbers) * (stem - shared) + len(new) - shared
            saved, would_save = (len(numbers) - 1) * (stem - before), len(numbers) * (shared - before)
            if would_save > saved and shared - before >= WORTH_SHARING and longer <= LONGEST_ROW:
                rows[-1] = [*numbers, i], shared
                after_stem = longer
                continue
        rows.append(([i], before))
        after_stem = len(new) - before
    return rows


def _tree(
    prompts: Sequence[list[int]], numbers: list[int], before: int, stem: int, choices: Sequence[Choices]
) -> _Tree:
    """The row of the prompts with these indices, whose first `stem` tokens are equal; the first `before` are cached."""
    shared = stem - before
    answers = [choices[i] for i in numbers]
    tree = _Tree(
        numbers, answers, prompts[numbers[0]][before:stem], [0] * shared, [0] * shared, [*range(before, stem)], []
    )
    for number, i in enumerate(numbers, start=1):
        tail, length = prompts[i][stem:], len(prompts[i])
        end = len(tree.tokens) + len(tail)
        branches = [token for choice in choices[i] for token in choice[:-1]]
        branch_of = [branch for branch, choice in enumerate(choices[i], start=1) for _ in choice[:-1]]
        tree.tokens.extend(tail + branches)
        tree.prompt_of.extend([number] * (len(tail) + len(branches)))
        tree.branch_of.extend([0] * len(tail) + branch_of)
        tree.position_of.extend(range(stem, length))
        tree.position_of.extend(length + depth for choice in choices[i] for depth in range(len(choice) - 1))
        tree.places.append([*range(end - 1, end + len(branches))])
    return tree


@torch.inference_mode()
def _score_batch(model: Network, trees: Sequence[_Tree], prefix: Prefix | None) -> list["Tensor"]:
    """Log-likelihoods of each row, of shape (n_prompts_of_the_row, n_choices); `prefix` precedes every row."""
    device = next(model.parameters()).device
    inputs = {"input_ids": padded([tree.tokens for tree in trees], 0)}
    # Rows are padded on the right, so with causal attention no token sees the padding. Rows with one prompt and at most
    # one branch need no mask.
    if any(len(tree.prompts) > 1 or len({*tree.branch_of} - {0}) > 1 for tree in trees):
        prompt_of = padded([tree.prompt_of for tree in trees], -1)
        mask = _attention_mask(prompt_of, padded([tree.branch_of for tree in trees], 0))
        before = 0 if prefix is None else prefix[0][0].shape[2]
        inputs["attention_mask"] = torch.nn.functional.pad(mask, (before, 0), value=True)[:, None]
        inputs["position_ids"] = padded([tree.position_of for tree in trees], 0)
    past = None if prefix is None else rows_after(prefix, len(trees))
    row_of = torch.tensor([row for row, tree in enumerate(trees) for _ in tree.places])
    # A prompt with fewer places than others repeats its last one.
    most = max(len(places) for tree in trees for places in tree.places)
    places = torch.tensor([row + row[-1:] * (most - len(row)) for tree in trees for row in tree.places])
    inputs = {name: values.to(device) for name, values in inputs.items()}
    at_places = row_of[:, None].to(device), places.to(device)
    logits = logits_at(model, inputs | {"past_key_values": past}, at_places)  # (n_prompts, n_places, vocabulary)
    whole = logits.logsumexp(-1)
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}  # prompts by their choices, which are usually the same
    answers = [row for tree in trees for row in tree.choices]
    for number, row in enumerate(answers):
        alike.setdefault(tuple(map(tuple, row)), []).append(number)
    scores = torch.empty(len(answers), len(answers[0]), dtype=torch.float64, device=device)
    for numbers in alike.values():
        picked = (logits, whole) if len(alike) == 1 else (logits[numbers], whole[numbers])
        start = 1
        for column, choice in enumerate(answers[numbers[0]]):
            at = [0, *range(start, start + len(choice) - 1)]
            scores[numbers, column] = (picked[0][:, at, choice] - picked[1][:, at]).double().sum(-1)
            start += len(choice) - 1
    return list(torch.split(scores.cpu(), [len(tree.prompts) for tree in trees]))


def _attention_mask(prompt_of: "Tensor", branch_of: "Tensor") -> "Tensor":
    """The attention mask of shape (n_rows, width, width), from the prompt and branch of each token."""
    place = torch.arange(prompt_of.shape[1])
    earlier = place[None, :] <= place[:, None]
    own_prompt = prompt_of[:, None, :] == prompt_of[:, :, None]
    own_branch = (branch_of[:, None, :] == 0) | (branch_of[:, None, :] == branch_of[:, :, None])
    return earlier & ((prompt_of[:, None, :] == 0) | (own_prompt & own_branch))
