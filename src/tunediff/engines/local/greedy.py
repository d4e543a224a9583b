"""Greedy generation as it is meant, whatever the checkpoint's own generation config says.

    with greedy(model) as network:
        network.generate(**inputs, generation_config=greedy_config(ends, pad, 8))

transformers fills in what a call leaves open from the model's generation config: penalties, beams, a cache that is off.
So the model has a neutral one while it writes. Of its own, the end markers are kept (`end_markers`).
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

# Relative to the largest logit: what rounding alone may change.
LOGIT_ROUNDING = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def end_markers(model: Network, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Ids that end a text: the tokenizer's, and those of the model and its generation config.

    A chat model ends its turn with another one than a text.
    """
    found = [tokenizer.eos_token_id]
    for config in (model.config, model.generation_config):
        named = getattr(config, "eos_token_id", None)
        found += named if isinstance(named, list) else [named]
    return list(dict.fromkeys(int(i) for i in found if i is not None))


def greedy_config(ends: Sequence[int], pad: int, max_new_tokens: int) -> "GenerationConfig":
    """The likeliest token at each place, with a cache, until an end marker or the limit comes."""
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
    """The network to write with: without an adapter's wrapper, and meanwhile with a neutral generation config."""
    from transformers import GenerationConfig

    network = model.get_base_model() if hasattr(model, "peft_config") else model
    kept, network.generation_config = network.generation_config, GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield network
    finally:
        network.generation_config = kept


@torch.inference_mode()
def batch_by(model: Network, pad: int) -> Literal["any", "length", "row"]:
    """Which rows may be written in one batch: any, those of one length, or none, by a trial of a few tokens.

    Some layouts see the padding before a row (RWKV), others count it as positions (BART and its kin).
    """
    if model.config.model_type in PLAIN_LAYOUTS:
        return "any"
    device, n = next(model.parameters()).device, model.get_input_embeddings().weight.shape[0]
    longer = [place for place in range(min(n, 16)) if place != pad][:9]
    row, other = longer[:6], longer[3:]

    def logits(*rows: list[int]) -> "Tensor":
        """Of the first row, at the two places behind it."""
        width = max(map(len, rows))
        tokens = torch.tensor([[pad] * (width - len(one)) + one for one in rows], device=device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in rows], device=device)
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
