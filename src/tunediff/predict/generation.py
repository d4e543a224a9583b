"""Free generation, greedy, batched: the answer's text and why it ended.

generate(model, tokenizer, prompts, batch_tokens=4096, max_new_tokens=8, title="base")    # [("yes", "stop"), ...]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from tunediff.models.load import Network
from tunediff.predict.batching import run_batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def generate(
    model: Network,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    batch_tokens: int,
    max_new_tokens: int,
    title: str,
    until: str | None = None,
) -> list[tuple[str, str]]:
    """Text after each prompt and its finish reason: `stop`, an end marker came, or `length`, the limit was reached.

    The text ends before `until`, such as a line end, where that is given; it is an end marker then.
    """
    device, ends = next(model.parameters()).device, _end_markers(model, tokenizer)
    pad = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[tuple[str, str]]:
        width = max(len(prompts[i]) for i in batch)
        # Padded on the left, so that every answer starts at the same column; the mask hides the padding.
        tokens = torch.tensor([[pad] * (width - len(prompts[i])) + prompts[i] for i in batch], device=device)
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch], device=device)
        written = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=ends or None,
            pad_token_id=pad,
            **({} if until is None else {"stop_strings": [until], "tokenizer": tokenizer}),
        )
        return [_answer(tokenizer, row, ends, until) for row in written[:, width:].tolist()]

    return run_batches(prompts, batch_tokens, answer, title)


def _end_markers(model: Network, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Ids of the tokenizer's end marker and of those that the model names: a chat model ends its turn with another."""
    own = model.generation_config.eos_token_id
    known = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return list(dict.fromkeys(int(i) for i in known if i is not None))


def _answer(
    tokenizer: "PreTrainedTokenizerBase", tokens: list[int], ends: list[int], until: str | None
) -> tuple[str, str]:
    stop = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = str(tokenizer.decode(tokens[:stop], skip_special_tokens=False))
    if until is not None and until in text:
        return text[: text.index(until)], "stop"
    return text, "length" if stop is None else "stop"
