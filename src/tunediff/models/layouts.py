"""Build models without weights from a configuration, on the meta device.

    layout({"model_type": "phi", "hidden_size": 2560, ...}, "classification", 3)      # PhiForSequenceClassification

Nothing is downloaded, and code that a configuration refers to is not run.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from tunediff.models.heads import Head, adds_head, head_class, n_outputs
from tunediff.runtime.errors import TunediffError


def layout(config: Mapping[str, Any], head: Head = "lm", labels: int = 2) -> PreTrainedModel:
    """Build a model without weights, on the meta device.

    Args:
        config: content of a `config.json`: `model_type` and the sizes. Missing keys take the layout's defaults.
        head: "lm" a causal language model, "classification" a classifier over `labels` classes, "span" start and end
            of an answer, "none" the encoder or decoder without a head.
        labels: number of classes; only for "classification".

    Raises:
        TunediffError: `model_type` is missing or unknown, a key looks misspelt, a size is impossible, or transformers
            has no such head for this layout.
    """
    configuration = _configuration(config)
    if adds_head(head):
        configuration.num_labels = n_outputs(head, labels)
    try:
        with torch.device("meta"):
            model: PreTrainedModel = head_class(configuration, head).from_config(configuration, trust_remote_code=False)
    # Layouts raise errors of many types for invalid sizes (ValueError, RuntimeError, ZeroDivisionError, ...).
    except Exception as error:
        if str(error).startswith("Unrecognized configuration class"):
            raise TunediffError(
                f"model.config.model_type: found {config['model_type']!r}, for which transformers has no "
                f"{'bare model' if head == 'none' else f'{head} head'}; expected a layout that has one"
            ) from error
        raise _cannot_build(error) from error
    return model


def reads_both_ways(config: PreTrainedConfig) -> bool:
    """Whether a layout is an encoder such as BERT, with bidirectional attention."""
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the layout of a `config.json` is an encoder; raises the errors of `layout`."""
    return reads_both_ways(_configuration(config))


def _configuration(config: Mapping[str, Any]) -> PreTrainedConfig:
    model_type = str(config.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, CONFIG_MAPPING, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TunediffError(
            f"model.config.model_type: found {model_type!r}, expected a layout that transformers knows{hint}"
        )
    try:
        defaults: PreTrainedConfig = AutoConfig.for_model(model_type)
        configuration = defaults.from_dict({key: _numbers(value) for key, value in config.items()})
    except Exception as error:  # as in `layout`
        raise _cannot_build(error) from error
    known = {*defaults.to_dict(), *defaults.attribute_map}
    for key in sorted(config.keys() - known):
        # Published files have additional keys, so an unknown key is not an error. A misspelt one is, because the layout
        # would silently use its default. The ratio of bos_token_id and eos_token_id is 0.917, that of n_layers and
        # n_layer 0.933.
        if near := get_close_matches(key, known, n=1, cutoff=0.93):
            raise TunediffError(f"model.config.{key}: found an unknown key, expected {near[0]!r}")
    return configuration


def _numbers(value: Any) -> Any:
    """A value of config.json with non-finite numbers, which transformers writes as {"__float__": "Infinity"}."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"}:
            return float(value["__float__"])
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _cannot_build(error: Exception) -> TunediffError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return TunediffError(f"model.config: found {reason}; expected values that define a model")
