"""Logits of a causal language model where they are wanted, and nowhere else.

    logits_at(model, {"input_ids": tokens}, tokens == 7)      # of shape (n_sevens, vocabulary)

The output layer is a fifth of a small model's work, and an answer is a few tokens of a long row.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunediff.models.load import Network

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

# Layouts whose logits are the output layer's plain outcome, and whose attention takes a mask and positions of its own.
# Others scale or cap their logits (Gemma, Cohere, Granite), have learned positions (GPT-2) or no attention (Mamba).
PLAIN_LAYOUTS = {"llama", "phi", "qwen2", "qwen3", "gpt_neox", "mistral"}


def takes_own_mask(config: "PreTrainedConfig", longest: int) -> bool:
    """Whether a layout takes a mask and positions of ours for rows of up to `longest` tokens.

    A mask of ours would lift a sliding window.
    """
    window = getattr(config, "sliding_window", None)
    return config.model_type in PLAIN_LAYOUTS and (window is None or longest <= window)


def logits_at(model: Network, inputs: Mapping[str, Any], places: Any) -> "Tensor":
    """Logits at some places of a batch, float32, with a gradient where one is being recorded.

    Args:
        model: a causal language model of transformers, with or without an adapter.
        inputs: what the model reads; input_ids has the shape (n_rows, width). past_key_values may hold what was read
            before the rows (`tunediff.models.prefix`); only a plain layout takes them.
        places: which of the rows and columns, as an index of a tensor: a mask of shape (n_rows, width), or the two
            tensors of row and of column numbers.

    Returns:
        The shape of the places that were picked, and the vocabulary behind it.
    """
    if model.config.model_type not in PLAIN_LAYOUTS:
        rows, columns = places if isinstance(places, tuple) else places.nonzero(as_tuple=True)
        # Of these layouts every row gives its logits at the columns where any row's are wanted.
        kept, at = columns.unique(return_inverse=True)
        logits: Tensor = model(**inputs, use_cache=False, logits_to_keep=kept).logits[rows, at]
        return logits.float()
    hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state
    plain: Tensor = model.get_output_embeddings()(hidden[places])
    return plain.float()
