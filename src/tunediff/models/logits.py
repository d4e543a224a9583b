"""Logits of a causal language model where they are wanted, and nowhere else.

    logits_at(model, {"input_ids": tokens}, tokens == 7)      # of shape (n_sevens, vocabulary)

The output layer is a fifth of a small model's work, and an answer is a few tokens of a long row.
"""

from collections.abc import Mapping, Sequence
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

    A mask of ours would lift a sliding window. What is read before the limit of a rotary scaling cannot be gone on from
    behind it.
    """
    limits = [getattr(config, "sliding_window", None), rotary_limit(config)]
    return config.model_type in PLAIN_LAYOUTS and all(limit is None or longest <= limit for limit in limits)


def rotary_limit(config: "PreTrainedConfig") -> int | None:
    """Tokens behind which a layout turns all its positions by other angles (longrope, dynamic NTK); None: never.

    transformers chooses them by the longest row of a batch, so a row's logits depend on the rows beside it.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    limits = []
    for one in [parameters, *(value for value in parameters.values() if isinstance(value, dict))]:
        if one.get("rope_type") == "longrope":
            limits.append(int(one["original_max_position_embeddings"]))
        elif "dynamic" in str(one.get("rope_type")):
            limits.append(int(config.max_position_embeddings))
    return min(limits, default=None)


def batch_kinds(config: "PreTrainedConfig", lengths: Sequence[int], written: int = 0) -> list[int]:
    """Of each row a number; rows of different numbers must not be read in one batch: see `rotary_limit`.

    Args:
        config: the model's layout.
        lengths: tokens of each row.
        written: tokens that may be written behind a row; a row that may grow over the limit is read with its like.
    """
    limit = rotary_limit(config)
    if limit is None:
        return [0] * len(lengths)
    return [0 if length + written <= limit else -1 if length > limit else length for length in lengths]


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
