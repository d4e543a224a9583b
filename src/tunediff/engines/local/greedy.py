"""Greedy generation that ignores the checkpoint's generation config.

    with greedy(model) as network:
        network.generate(**inputs, generation_config=greedy_config(ends, pad, 8))

transformers takes options that a call does not set from the model's generation config: penalties, beams, a disabled
cache. So the model has a neutral one during generation. Only its end markers are kept (`end_markers`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from tunediff.models.load import Network
from tunediff.models.logits import PLAIN_LAYOUTS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedTokenizerBase

# Tolerance of logits, relative to the largest one.
LOGIT_ROUNDING = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def end_markers(model: Network, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids that end a text, from the tokenizer, the model's config and its generation config.

    A chat model ends a turn with another token than a text.
    """
    found = [tokenizer.eos_token_id]
    for config in (model.config, model.generation_config):
        named = getattr(config, "eos_token_id", None)
        found += named if isinstance(named, list) else [named]
    return list(dict.fromkeys(int(i) for i in found if i is not None))


def greedy_config(ends: Sequence[int], pad: int, max_new_tokens: int) -> "GenerationConfig":
    """Return a config for greedy decoding with a cache, up to an end marker or the limit."""
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=list(ends) or None,
        pad_token_id=pad,
    )


@contextmanager
def greedy(model: Network) -> Iterator[Any]:
    """Yield the network without peft's wrapper, with a neutral generation config inside the block."""
    from transformers import GenerationConfig

    network = model.get_base_model() if hasattr(model, "peft_config") else model
    kept, network.generation_config = network.generation_config, GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield network
    finally:
        network.generation_config = kept


@torch.inference_mode()
def batch_by(model: Network, pad: int) -> Literal["any", "length", "row"]:
    """Determine by a trial which rows may share a batch in generation: any, those of equal length, or none.

    In some layouts padding on the left is visible (RWKV) or counted in positions (BART and similar ones).
    """
    if model.config.model_type in PLAIN_LAYOUTS:
        return "any"
    device, n = next(model.parameters()).device, model.get_input_embeddings().weight.shape[0]
    longer = [place for place in range(min(n, 16)) if place != pad][:9]
    row, other = longer[:6], longer[3:]

    def logits(*rows: list[int]) -> "Tensor":
        """Logits of the first row at the two positions after it."""
        width = max(map(len, rows))
        tokens = torch.tensor([[pad] * (width - len(ids)) + ids for ids in rows], device=device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in rows], device=device)
        config = greedy_config([], pad, 2)
        config.return_dict_in_generate = config.output_logits = True
        with greedy(model) as network:
            written = network.generate(input_ids=tokens, attention_mask=mask, generation_config=config)
        return torch.stack([step[0] for step in written.logits]).float()

    alone = logits(row)
    limit = LOGIT_ROUNDING[model.config.dtype] * alone.abs().max()
    if (alone - logits(row, longer)).abs().max() <= limit:
        return "any"
    return "length" if (alone - logits(row, other)).abs().max() <= limit else "row"
