"""Logits of a causal language model at selected positions.

    logits_at(model, {"input_ids": tokens}, tokens == 7)      # of shape (n_sevens, vocabulary)

The output layer is a fifth of the work of a small model, and an answer is only a few tokens of a long row.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunediff.models.load import Network

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

# Layouts whose logits are the plain output of the output layer, and whose attention accepts a custom mask and custom
# positions. Others scale or cap their logits (Gemma, Cohere, Granite), have learned positions (GPT-2) or no attention
# (Mamba).
PLAIN_LAYOUTS = {"llama", "phi", "qwen2", "qwen3", "gpt_neox", "mistral"}


def takes_own_mask(config: "PreTrainedConfig", longest: int) -> bool:
    """Whether a layout supports a custom mask and custom positions for rows of up to `longest` tokens.

    A custom mask would override a sliding window, and a cache filled before the limit of a rotary scaling is invalid
    after it.
    """
    limits = [getattr(config, "sliding_window", None), rotary_limit(config)]
    return config.model_type in PLAIN_LAYOUTS and all(limit is None or longest <= limit for limit in limits)


def rotary_limit(config: "PreTrainedConfig") -> int | None:
    """Return the length above which a layout uses other rotary angles (longrope, dynamic NTK); None: there is none.

    transformers chooses the angles by the longest row of a batch, so the logits of a row depend on the other rows.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    limits = []
    for rope in [parameters, *(value for value in parameters.values() if isinstance(value, dict))]:
        if rope.get("rope_type") == "longrope":
            limits.append(int(rope["original_max_position_embeddings"]))
        elif "dynamic" in str(rope.get("rope_type")):
            limits.append(int(config.max_position_embeddings))
    return min(limits, default=None)


def batch_kinds(config: "PreTrainedConfig", lengths: Sequence[int], written: int = 0) -> list[int]:
    """Return a kind per row; rows of different kinds must not share a batch, see `rotary_limit`.

    Args:
        config: the model's layout.
        lengths: number of tokens of each row.
        written: number of tokens that may be generated after a row; a row that may cross the limit only shares a batch
            with rows of the same length.
    """
    limit = rotary_limit(config)
    if limit is None:
        return [0] * len(lengths)
    return [0 if length + written <= limit else -1 if length > limit else length for length in lengths]


def logits_at(model: Network, inputs: Mapping[str, Any], places: Any) -> "Tensor":
    """Return the float32 logits at some positions of a batch, with a gradient if gradients are recorded.

    Args:
        model: a causal language model of transformers, with or without an adapter.
        inputs: inputs of the model; input_ids has the shape (n_rows, width). past_key_values may hold a prefix
            (`tunediff.models.prefix`), which only `PLAIN_LAYOUTS` support.
        places: positions as an index: a mask of shape (n_rows, width), or two tensors of row and column indices.

    Returns:
        Logits of shape (*shape of the indexed positions, vocabulary), on the device of the inputs.
    """
    if model.config.model_type not in PLAIN_LAYOUTS:
        rows, columns = places if isinstance(places, tuple) else places.nonzero(as_tuple=True)
        # logits_to_keep selects the same columns in every row.
        kept, at = columns.unique(return_inverse=True)
        # An index in memory selects from hidden states on any device.
        logits: Tensor = model(**inputs, use_cache=False, logits_to_keep=kept.cpu()).logits[rows, at]
        return logits.float()
    device = inputs["input_ids"].device
    hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state
    # The layers of a model on several GPUs leave their result on the last one.
    at = tuple(place.to(hidden.device) for place in places) if isinstance(places, tuple) else places.to(hidden.device)
    plain: Tensor = model.get_output_embeddings()(hidden[at])
    return plain.to(device).float()
