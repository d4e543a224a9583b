"""Load a base model from safetensors, without code from outside."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from tunediff.config.model import HEADS, Model
from tunediff.models.counts import weight_bytes
from tunediff.models.head_labels import is_new, put_in_order
from tunediff.models.heads import head_class, name_labels, read_mean
from tunediff.models.inspection import check_files, inspect
from tunediff.models.layouts import layout, reads_both_ways
from tunediff.models.modules import inside, new_head
from tunediff.models.precision import check_precision, device, packing_options
from tunediff.models.sources import CONFIG, weights_of
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown
from tunediff.runtime.threads import limit_threads

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

# Memory for a forward pass of a small batch, as a factor of the weights.
HEADROOM = 1.2


# A PreTrainedModel of transformers, or peft's wrapper around one; they have no common type.
Network = Any


@dataclass(frozen=True)
class Loaded:
    """A loaded model in evaluation mode, its context length in tokens, its padding id, and what it was loaded for.

    `found` is the result of `inspection.inspect`, with `head` (new or checkpoint) and `labels` in the order of the
    head. `weights`, `layout` and `device_map` are the folder, the config.json and the placement that it was loaded
    with, to load it in another precision.
    """

    model: Network
    tokenizer: "PreTrainedTokenizerBase"
    context: int
    pad: int
    section: Model
    labels: list[str]
    found: dict[str, Any] = field(default_factory=dict)
    weights: Path = Path()
    layout: dict[str, Any] = field(default_factory=dict)
    device_map: str | None = None


def load_base(base: Path, model: Model, labels: list[str], device_map: str | None = None) -> Loaded:
    """Load the base model of `models/base/`, quantized as params.yaml says, onto the GPU if there is one.

    Args:
        base: the folder that the stage base_model wrote.
        model: the section model.
        labels: label names; a classification head has an output for each.
        device_map: `auto` spreads the layers over all GPUs; None: one device.

    Raises:
        TunediffError: there is not enough memory, the layout is unknown, or the weights are damaged or do not fit it.
    """
    return load_model(weights_of(base, model), read_json(base / CONFIG), model, labels, device_map=device_map)


def load_model(
    weights: Path,
    config: dict[str, Any],
    model: Model,
    labels: list[str],
    section: str = "model",
    device_map: str | None = None,
) -> Loaded:
    """Load the weights and the tokenizer of a folder.

    Args:
        weights: folder with config.json, tokenizer and safetensors.
        config: the layout, as in config.json.
        model: the section model: head, quantization and dtype.
        labels: label names.
        section: section of params.yaml that names the model, for errors.
        device_map: as in `load_base`.

    Raises:
        TunediffError: as `load_base`.
    """
    _check_shards(weights)
    check_files(weights, config)
    check_precision(config, model.quantization, f"{section}.quantization", weights)
    check_memory(config, model, len(labels), device_map)
    try:
        tokenizer = read_tokenizer(weights)
        torch.manual_seed(model.head_seed)
        network, report = _load_network(weights, config, model, len(labels), device_map)
    # safetensors, tokenizers and transformers raise errors of many types for invalid files.
    except Exception as error:
        raise TunediffError(f"{weights}: cannot be loaded: {one_line(error)}") from None
    _check_placement(network)
    if HEADS[model.head].writes and reads_both_ways(network.config):
        raise TunediffError(
            f"params.yaml: model.head: found lm, but a {network.config.model_type} model reads in both directions and "
            "cannot continue a text; expected classification or span"
        )
    if model.pooling == "mean":
        if not reads_both_ways(network.config):
            raise TunediffError(
                f"params.yaml: model.pooling: found mean, but the head of a {network.config.model_type} model reads "
                "the last token, the only one that attends to all others; expected own"
            )
        read_mean(network)
    network.config.new_pooler = config.get("new_pooler", False)
    _check_fit(weights, network, report)
    # Any token may pad, because padding is masked; but classifiers of transformers look for the padding token to find
    # the end of a row. The config of a language model is not changed: loaded again with a padding token, Youtu zeroes
    # that token's weights.
    pad = next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    if not HEADS[model.head].writes:
        network.config.pad_token_id = pad
    # An adapter saves this as the name of its base, which must not be a path of this machine.
    network.name_or_path = model.id if model.source in ("hub", "package") else "models/base"
    if getattr(network.config, "rescale_every", 0):
        # RWKV rescales some of its weights when it switches between training and evaluation. An adapter would not be
        # rescaled, and 4-bit weights would be packed again in another format. The results are the same without.
        network.config.rescale_every = 0
    if (output := network.get_output_embeddings()) is not None:
        output.register_forward_pre_hook(_contiguous)
    network.eval()
    network.requires_grad_(False)
    choose_threads(network.config)
    found = {"head": _settle_head(network, report, model, labels, section)} | inspect(network, tokenizer, model)
    if HEADS[model.head].scores_labels:
        found["labels"] = [network.config.id2label[number] for number in range(len(labels))]
    for caution in found.get("cautions", []):
        print(f"{weights}: {caution}", file=sys.stderr)
    context = context_length(network.config, tokenizer, model)
    return Loaded(network, tokenizer, context, pad, model, labels, found, weights, config, device_map)


def _contiguous(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Make the input of the output layer contiguous.

    `generate` passes a slice of the last position. For such an input, torch copies the whole weight once per row on the
    CPU, which takes seconds and gigabytes with a large vocabulary.
    """
    return tuple(value.contiguous() for value in inputs)


def _settle_head(network: Network, report: dict[str, Any], model: Model, labels: list[str], section: str) -> str:
    """Put the outputs of a classification head in the order of the labels; return its origin, new or checkpoint."""
    if not HEADS[model.head].scores_labels:
        heads = new_head(network)
        return "new" if any(inside(name, heads) for name in report["missing_keys"]) else "checkpoint"
    new = is_new(network, report, labels)
    if new:
        print(f"{network.name_or_path}: a new head for {', '.join(labels)}, drawn by head_seed {model.head_seed}")
    else:
        put_in_order(network, labels, model.head_labels, f"{section}.head_labels")
    name_labels(network, labels)
    return "new" if new else "checkpoint"


def read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a folder such that text which spells a special token stays text.

    With `split_special_tokens`, most tokenizers do not match special tokens in a text. But Unigram models (XLM-R, T5,
    ALBERT) and word-level models have them in their vocabulary and produce them nevertheless, so the normalizer inserts
    a space into them.
    """
    from tokenizers import models, normalizers
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and isinstance(backend.model, models.Unigram | models.WordLevel):
        spelled = [token for token in tokenizer.all_special_tokens if len(token) > 1]
        breaks = [normalizers.Replace(token, f"{token[0]} {token[1:]}") for token in spelled]
        backend.normalizer = normalizers.Sequence([*([backend.normalizer] if backend.normalizer else []), *breaks])
    return tokenizer


def _check_shards(folder: Path) -> None:
    """Refuse an index of weights that names anything but safetensors files in the same folder."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    content = read_json(index)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        raise TunediffError(f"{index}: weight_map: found {shown(shards)}, expected a file for each tensor")
    for tensor, name in shards.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise TunediffError(
                f"{index}: weight_map: {shown(tensor)}: found {shown(name, 200)}, expected a safetensors file in the "
                "same folder"
            )


def _check_fit(weights: Path, network: Network, report: dict[str, Any]) -> None:
    """Refuse weights with missing tensors or tensors of another shape, except in a new head."""
    new = new_head(network)
    missing = [name for name in report["missing_keys"] if not inside(name, new)]
    wrong = [f"{name} is missing" for name in missing] + [
        f"{name}: found {tuple(found)}, expected {tuple(expected)}"
        for name, found, expected in report["mismatched_keys"]
        if not inside(name, new)
    ]
    if wrong:
        raise TunediffError(
            f"{weights}: {len(wrong)} of the weights do not match the layout in config.json, the first being {wrong[0]}"
        )


def context_length(configuration: "PreTrainedConfig", tokenizer: "PreTrainedTokenizerBase", model: Model) -> int:
    """Return the context length: the number of positions, or the limit of the tokenizer if that is less.

    RoBERTa has 514 positions for 512 tokens. The tokenizer of a model from scratch has the length of the training
    sequences as its limit; a decoder can read on, but an encoder has not learned the further positions. In rows longer
    than `keep_window_size`, the attention of Doge depends on later tokens and padding.
    """
    positions = getattr(configuration, "max_position_embeddings", None) or tokenizer.model_max_length
    positions = min(positions, getattr(configuration, "keep_window_size", None) or positions)
    reads_on = model.source == "scratch" and not reads_both_ways(configuration)
    return int(positions if reads_on else min(positions, tokenizer.model_max_length))


def _load_network(
    weights: Path, config: dict[str, Any], model: Model, n_labels: int, device_map: str | None
) -> tuple[Network, dict[str, Any]]:
    """The network with its head, and the missing and mismatched weights as reported by transformers."""
    dtype = compute_dtype(model)
    empty = layout(config, model.head, n_labels)
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
        # A head of another width becomes a new head; other mismatches are refused by `_check_fit`.
        "ignore_mismatched_sizes": True,
        "device_map": device_map or {"": device()},
    }
    if not HEADS[model.head].writes:
        options["num_labels"] = empty.config.num_labels
    options |= packing_options(model, dtype, empty)
    network, report = head_class(empty.config, model.head).from_pretrained(weights, **options)
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # On a CPU with a bfloat16 kernel, bitsandbytes would repack the weights at the first evaluation, which
            # changes the numbers and disables the gradient through the layer.
            module.support_avx512bf16_for_cpu = False
        if hasattr(module, "state") and hasattr(module.state, "threshold"):
            # For weights that are stored in 8 bits; see BITSANDBYTES.
            module.state.threshold = 0.0
    return network, report


def _check_placement(network: Network) -> None:
    """Refuse a model that accelerate has partly left in memory or on disk, from where each batch would read it."""
    places, slow = getattr(network, "hf_device_map", {}), ["disk"] if device() == "cpu" else ["disk", "cpu"]
    left = [name for name, place in places.items() if str(place) in slow]
    if left:
        raise TunediffError(
            f"params.yaml: engine.device_map: found no room on the GPUs for {len(left)} of {len(places)} parts of the "
            f"model, the first being {left[0]}; expected enough memory for all"
        )


def choose_threads(config: "PreTrainedConfig") -> None:
    """Set the number of threads on the CPU by the width of a layout; see `limit_threads`."""
    units = getattr(config.get_text_config(), "hidden_size", None)
    if device() == "cpu" and isinstance(units, int):
        limit_threads(units)


def compute_dtype(model: Model) -> torch.dtype:
    """Return the dtype of the section model; see `Model.dtype` for auto."""
    if model.dtype != "auto":
        dtype: torch.dtype = getattr(torch, model.dtype)
        return dtype
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def check_memory(config: dict[str, Any], model: Model, n_labels: int, device_map: str | None = None) -> None:
    """Check before loading that a model fits into memory.

    Raises:
        TunediffError: the weights and some headroom are larger than the free memory of the device, or of all GPUs for a
            model that is spread over them.
    """
    dtype = str(compute_dtype(model)).removeprefix("torch.")
    weights = weight_bytes(config, head=model.head, labels=n_labels, quantization=model.quantization, dtype=dtype)
    needed = HEADROOM * weights
    gpus = range(torch.cuda.device_count()) if device_map else range(min(1, torch.cuda.device_count()))
    memory = [torch.cuda.mem_get_info(gpu if device_map else None)[0] for gpu in gpus]
    free = sum(memory) if memory else psutil.virtual_memory().available
    if needed > free:
        place = f"{len(memory)} GPUs" if len(memory) > 1 else device()
        raise TunediffError(
            f"not enough memory for {model.id or 'the model'}: found {free / 2**30:.1f} GiB free on {place}, "
            f"expected at least {needed / 2**30:.1f} GiB (quantization {model.quantization}, {dtype})"
        )
