"""Greedy, batched text generation.

generate(model, tokenizer, prompts, batch_tokens=4096, max_new_tokens=8, title="base")    # [("yes", "stop"), ...]
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from tunediff.engines.engine import Generated
from tunediff.engines.local.batching import run_batches
from tunediff.engines.local.greedy import batch_by, end_markers, greedy, greedy_config
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds, takes_own_mask
from tunediff.models.prefix import read_prefix, rows_after, shared_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generate(
    model: Network,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    batch_tokens: int,
    max_new_tokens: int,
    title: str,
    stop: Sequence[str] = (),
    ends: Sequence[int] = (),
) -> list[Generated]:
    """Generate text after each prompt, and report why it ends: `stop` (end marker or stop text) or `length` (limit).

    Args:
        model: a causal language model of transformers, with or without an adapter.
        tokenizer: its tokenizer.
        prompts: token ids of each prompt.
        batch_tokens: tokens per batch.
        max_new_tokens: maximum number of generated tokens.
        title: label of the progress bar.
        stop: texts that end generation, such as a line feed; the answer ends before the first of them.
        ends: ids of further end markers.
    """
    from transformers import StoppingCriteriaList

    device, ends = next(model.parameters()).device, list(dict.fromkeys([*end_markers(model, tokenizer), *ends]))
    pad = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    config = greedy_config(ends, pad, max_new_tokens)
    kinds = batch_kinds(model.config, list(map(len, prompts)), max_new_tokens)
    # A cache that was filled before the limit of a rotary scaling is invalid after it.
    crossing = {i for i, kind in enumerate(kinds) if kind > 0}
    longest = max(map(len, prompts)) + max_new_tokens
    beginning = shared_prefix(prompts) if takes_own_mask(model.config, longest) else []
    with torch.inference_mode():
        prefix = read_prefix(model, beginning) if beginning else None

    # transformers' stop_strings would also match a text that starts inside the prompt.
    def stops(width: int, rows: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        written = [tokenizer.decode(row, skip_special_tokens=False) for row in rows[:, width:].tolist()]
        return torch.tensor([any(end in text for end in stop) for text in written], device=rows.device)

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[tuple[str, str]]:
        width = max(len(prompts[i]) for i in batch)
        # Padding goes after the cached prefix, so that all answers start at the same column; the mask hides it.
        tokens, mask = [], []
        for i in batch:
            padding = width - len(prompts[i])
            tokens.append(beginning + [pad] * padding + prompts[i][len(beginning) :])
            mask.append([1] * len(beginning) + [0] * padding + [1] * (len(prompts[i]) - len(beginning)))
        config.use_cache = batch[0] not in crossing
        with greedy(model) as network:
            written = network.generate(
                input_ids=torch.tensor(tokens, device=device),
                attention_mask=torch.tensor(mask, device=device),
                past_key_values=None if prefix is None else rows_after(prefix, len(batch)),
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([partial(stops, width)] if stop else []),
            )
        return [_answer(tokenizer, row, ends, stop) for row in written[:, width:].tolist()]

    if len(prompts) > 1 and (by := batch_by(model, pad)) != "any":
        print(f"{title}: the layout {model.config.model_type} generates one {by} at a time", file=sys.stderr)
        kinds = list(map(len, prompts)) if by == "length" else list(range(len(prompts)))
    return [Generated(text, reason) for text, reason in run_batches(prompts, batch_tokens, answer, title, kinds)]


def _answer(
    tokenizer: "PreTrainedTokenizerBase", tokens: list[int], ends: list[int], stop: Sequence[str]
) -> tuple[str, str]:
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = str(tokenizer.decode(tokens[:end], skip_special_tokens=False))
    found = [text.index(marker) for marker in stop if marker in text]
    if found:
        return text[: min(found)], "stop"
    return text, "length" if end is None else "stop"
