"""Inspect a loaded model: its quantized layers, adapters, dtypes and embedding.

    check_files(Path("model"), config)                      # before anything is loaded
    found = inspect(network, tokenizer, params.model)       # {"linear_layers": 14, "nf4_layers": 14, ...}
    tuned = found | with_adapter(network_with_adapter)      # {"adapted_layers": 14, ...}

A model that is not what params.yaml says is refused.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunediff.config.model import HEADS, Model
from tunediff.models.modules import inside, unpacked_modules
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Attributes of a layer of peft with the factors of LoRA's and AdaLoRA's low-rank products.
LOW_RANK = ("lora_A", "lora_B", "lora_E", "lora_embedding_A", "lora_embedding_B")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
# Tolerance of logits when a token is read again, relative to the largest one.
REREAD_ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# A smaller share of quantized weights causes a caution.
MIN_QUANTIZED_SHARE = 0.9
# Attributes in which layers of GPTQ, AWQ and compressed-tensors keep their numbers.
PACKED = ("qweight", "weight_packed")
# Keys of a generation config that do not change greedy generation, or that are kept.
NEUTRAL = {
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "max_length", "max_new_tokens"),
    *("transformers_version", "_from_model_config", "use_cache", "output_attentions", "output_hidden_states"),
    *("output_scores", "output_logits", "return_dict_in_generate", "renormalize_logits", "compile_config"),
}


def check_files(weights: Path, config: Mapping[str, Any]) -> None:
    """Refuse files next to the weights with which transformers would load another model.

    Args:
        weights: folder with config.json and safetensors.
        config: the layout, as in config.json.

    Raises:
        TunediffError: there is an adapter next to the weights.
    """
    for name in ADAPTER_FILES:
        if (weights / name).exists():
            raise TunediffError(
                f"{weights / name}: found an adapter next to the weights of a whole model, which transformers would "
                "apply to them; expected only the weights: move the adapter to its own folder"
            )
    if "auto_map" in config:
        print(
            f"{weights}: config.json refers to custom code (auto_map), which is not run; the layout "
            f"{config.get('model_type')} of transformers is loaded instead",
            file=sys.stderr,
        )


def inspect(network: Any, tokenizer: "PreTrainedTokenizerBase", model: Model) -> dict[str, Any]:
    """Inspect a loaded model; return what was found by name, with `cautions` if there are any, each a sentence.

    Raises:
        TunediffError: the model is not what params.yaml says, or cannot be used as params.yaml says.
    """
    _check_adapters(network)
    _check_embedding(network, tokenizer)
    found = _layers(network)
    cautions = _check_quantization(found, network, model)
    if HEADS[model.head].writes:
        _check_causal(network, model)
        if ignored := changes_greedy(network):
            values = ", ".join(f"{key} {shown(value)}" for key, value in ignored.items())
            cautions.append(f"generation_config.json sets {values}, which is ignored in greedy generation")
    # DVC cannot read an empty list in a file under plots.
    return found | {"adapted_layers": 0} | ({"cautions": cautions} if cautions else {})


def with_adapter(network: Any) -> dict[str, Any]:
    """Inspect the adapter of a model.

    Returns:
        adapted_layers, the number of layers with an active adapter; idle_layers, the number of those whose adapter is
        zero because it learned nothing, as in a layer that text does not pass through.

    Raises:
        TunediffError: no layer has an active adapter.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
    active = [layer for layer in layers if layer.active_adapters and not layer.disable_adapters and not layer.merged]
    if not active:
        raise TunediffError(
            f"{network.config.model_type}: found {len(layers)} layers with an adapter, of which none is active; "
            "expected some"
        )
    return {"adapted_layers": len(active), "idle_layers": sum(map(_is_idle, active))}


def _is_idle(layer: Any) -> bool:
    """Whether a factor of the layer's low-rank product is zero; False for other kinds of adapters."""
    modules = [getattr(layer, name, None) for name in LOW_RANK]
    factors = [list(module.parameters()) for module in modules if module is not None]
    return any(factor and not any(value.any() for value in factor) for factor in factors)


def changes_greedy(network: Any) -> dict[str, Any]:
    """Return the values of a model's generation config that would change greedy generation, by key."""
    config = getattr(network, "generation_config", None)
    if config is None:
        return {}
    usual = {None, False, 1}
    return {
        key: value
        for key, value in config.to_diff_dict().items()
        if key not in NEUTRAL and not (isinstance(value, int | float | None) and value in usual)
    }


def _check_adapters(network: Any) -> None:
    names = [name for name, _ in network.named_parameters() if "lora_" in name]
    if hasattr(network, "peft_config") or getattr(network, "_hf_peft_config_loaded", False) or names:
        raise TunediffError(
            f"{network.config.model_type}: found an adapter in the loaded model ({len(names)} tensors), expected "
            "only its own weights"
        )


def _check_embedding(network: Any, tokenizer: "PreTrainedTokenizerBase") -> None:
    embedding = network.get_input_embeddings()
    rows = getattr(getattr(embedding, "weight", None), "shape", [sys.maxsize])[0]
    # Some tokenizer classes add special tokens that are never used; these need no row.
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id}
    unused = {*tokenizer.all_special_ids} - used
    tokens = 1 + max((number for number in tokenizer.get_vocab().values() if number not in unused), default=-1)
    if rows < tokens:
        raise TunediffError(
            f"params.yaml: model.id: found an embedding of {rows:,} rows and a tokenizer of {tokens:,} tokens; "
            "expected a row for each token"
        )


def _layers(network: Any) -> dict[str, Any]:
    """The number of parameters, linear layers by storage format, the share of weights in 4 bits, and dtypes.

    The share is that of all weight matrices, including fused experts, without embeddings and head.
    """
    kept = unpacked_modules(network)
    stored = getattr(getattr(network.config, "quantization_config", None), "quant_method", None)
    stored = None if stored is None else str(getattr(stored, "value", stored))
    linear, kinds, unpacked, packed, total = 0, Counter[str](), Counter[str](), 0, 0
    dtypes: Counter[str] = Counter()
    embeddings = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    sizes: dict[int, int] = {}  # by identity: tied weights count once
    for name, module in network.named_modules():
        # Layers of other packages keep their numbers in buffers or under other names.
        foreign = not isinstance(module, nn.Linear) and any(hasattr(module, key) for key in PACKED)
        is_linear = (foreign or isinstance(module, nn.Linear | Conv1D)) and not inside(name, kept)
        linear += is_linear
        if is_linear and any(hasattr(module, key) for key in PACKED):
            kinds[stored or type(module).__name__] += 1
        for parameter, value in module.named_parameters(recurse=False):
            state = getattr(value, "quant_state", None)
            kind = getattr(state, "quant_type", None) or _unusual_dtype(value)
            size = value.numel() if state is None else int(torch.Size(state.shape).numel())
            sizes[id(value)] = size
            if kind is None:
                dtypes[str(value.dtype).removeprefix("torch.")] += size
            elif is_linear and parameter == "weight":
                kinds[kind] += 1
            if (
                size
                and (kind is not None or value.dim() > 1)
                and id(value) not in embeddings
                and not inside(name, kept)
            ):
                total += size
                packed += size * (kind == "nf4")
                if kind is None:
                    unpacked[type(module).__name__] += 1
    # The number of packed parameters in layers of other packages is not known.
    counted = {} if any(hasattr(module, key) for module in network.modules() for key in PACKED) else sizes
    return {
        **({"parameters": sum(counted.values())} if counted else {}),
        "linear_layers": linear,
        "nf4_layers": kinds["nf4"],
        "quantized_layers": dict(kinds),
        "nf4_share": packed / total if total else 0.0,
        "unpacked": dict(unpacked),
        "dtypes": dict(dtypes),
    }


def _unusual_dtype(value: torch.Tensor) -> str | None:
    """The dtype of a weight if it is not a usual floating-point type, such as int8 or float8_e4m3fn; else None."""
    usual = value.dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    return None if usual else str(value.dtype).removeprefix("torch.")


def _check_quantization(found: Mapping[str, Any], network: Any, model: Model) -> list[str]:
    layout, linear = network.config.model_type, found["linear_layers"]
    kinds = found["quantized_layers"]
    if model.quantization == "none":
        if kinds:
            raise TunediffError(
                f"params.yaml: model.quantization: found none, but {sum(kinds.values())} of {linear} linear layers of "
                f"the {layout} model are {', '.join(kinds)}"
            )
        return []
    if model.quantization == "stored":
        if kinds:
            return []
        return [
            f"the weights of the {layout} model are stored quantized and were converted to "
            f"{', '.join(found['dtypes'])} when loaded, because this machine cannot compute with them in stored form"
        ]
    wanted = model.quantization
    if set(kinds) - {wanted} or not kinds:
        subset = f"only {', '.join(kinds)}" if kinds else "none"
        raise TunediffError(
            f"params.yaml: model.quantization: found {wanted}, but of the {linear} linear layers of the {layout} "
            f"model {subset} became {wanted.upper()}, since bitsandbytes packs only plain linear layers; expected none"
        )
    if wanted != "nf4":
        if kinds[wanted] >= MIN_QUANTIZED_SHARE * linear:
            return []
        return [f"{kinds[wanted]} of the {linear} linear layers of the {layout} model are {wanted.upper()}"]
    if found["nf4_share"] >= MIN_QUANTIZED_SHARE:
        return []
    others = ", ".join(f"{n} in {name}" for name, n in found["unpacked"].items())
    return [
        f"{found['nf4_share']:.0%} of the weights of the {layout} model are NF4 ({found['nf4_layers']} layers); the "
        f"others are unchanged: {others}"
    ]


# Layouts whose scores or texts are wrong, as found by a sweep over all layouts (docs/reliability.md).
UNSOUND = {"moshi", "whisper", "xlstm"}


@torch.inference_mode()
def _check_causal(network: Any, model: Model) -> None:
    """Refuse a model whose outputs at earlier positions depend on the last token."""
    if network.config.model_type in UNSOUND:
        raise TunediffError(
            f"params.yaml: model.head: found lm, but the answers of a {network.config.model_type} model depend on "
            "the other rows of a batch; expected another layout"
        )
    device, rows = next(network.parameters()).device, network.get_input_embeddings().weight.shape[0]
    row = [(7 * place + 3) % rows for place in range(8)]
    try:
        first, second, shorter = (
            network(input_ids=torch.tensor([[*row, *last]], device=device), use_cache=False)
            .logits[0, : len(row)]
            .float()
            for last in ([11 % rows], [5 % rows], [])
        )
    # Layouts that need more than tokens raise errors of many types.
    except Exception as error:
        if model.quantization != "none":
            raise TunediffError(
                f"params.yaml: model.quantization: found {model.quantization}, but a {network.config.model_type} "
                f"model does not support packed layers: {one_line(error)}; expected none"
            ) from None
        raise TunediffError(
            f"params.yaml: model.head: found lm, but a {network.config.model_type} model cannot continue a text: "
            f"{one_line(error)}"
        ) from None
    if (first - second).abs().max() > REREAD_ROUNDING[network.config.dtype] * first.abs().max():
        raise TunediffError(
            f"params.yaml: model.head: found lm, but this {network.config.model_type} model attends to the tokens "
            "after the one that it predicts and cannot continue a text; expected classification or span"
        )
    # The median over positions, because rounding may route a token to other experts.
    difference = (first - shorter).abs().amax(-1).median()
    if difference > 10 * REREAD_ROUNDING[network.config.dtype] * first.abs().max():
        raise TunediffError(
            f"params.yaml: model.head: found lm, but the output of this {network.config.model_type} model depends on "
            "the number of tokens that follow; expected a layout without this dependence"
        )
