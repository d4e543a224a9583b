"""How a base model's weights are loaded: safetensors only, no code from outside."""

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

# One forward pass needs room beside the weights; a fifth is what small batches take.
HEADROOM = 1.2


# A PreTrainedModel of transformers, or peft's wrapper around one: they share these attributes, but no type.
Network = Any


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer, its context in tokens, the id that pads rows, and what it was loaded for."""

    model: Network
    tokenizer: "PreTrainedTokenizerBase"
    context: int
    pad: int
    section: Model
    labels: list[str]
    # What was found in it: see `inspection.inspect`; `head`, new or the checkpoint's; `labels` in the head's order.
    found: dict[str, Any] = field(default_factory=dict)
    # Where it was loaded from, and its layout as in config.json: for the same weights in another precision.
    weights: Path = Path()
    layout: dict[str, Any] = field(default_factory=dict)


def load_base(base: Path, model: Model, labels: list[str]) -> Loaded:
    """Load the base model of `models/base/`, quantised as params.yaml says, on the GPU where there is one.

    Args:
        base: the folder that the stage base_model wrote.
        model: the section model.
        labels: label names; a classification head has an output for each, a span head two in any case.

    Raises:
        TunediffError: not enough memory, an unknown layout, or weights that are damaged or do not fit the layout.
    """
    return load_model(weights_of(base, model), read_json(base / CONFIG), model, labels)


def load_model(
    weights: Path, config: dict[str, Any], model: Model, labels: list[str], section: str = "model"
) -> Loaded:
    """Load the weights and the tokenizer of a folder, as `load_base` does those that its manifest names.

    Args:
        weights: folder with config.json, tokenizer and safetensors.
        config: the layout, as in config.json.
        model: the section model: head, quantisation and dtype.
        labels: label names.
        section: of params.yaml that names the model.

    Raises:
        TunediffError: as `load_base`.
    """
    _check_shards(weights)
    check_files(weights, config)
    check_precision(config, model.quantization, f"{section}.quantization", weights)
    check_memory(config, model, len(labels))
    try:
        tokenizer = read_tokenizer(weights)
        torch.manual_seed(model.head_seed)
        network, report = _load_network(weights, config, model, len(labels))
    # Files from outside: safetensors, tokenizers and transformers each say in their own way what is wrong with them.
    except Exception as error:
        raise TunediffError(f"{weights}: cannot be loaded: {one_line(error)}") from None
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
    # Any token may pad, since no row sees its padding; but a classifier of the Llama kind looks for it to find the end.
    # A model that writes keeps its config as it is: read again with a padding token, Youtu zeroes that token's weights.
    pad = next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    if not HEADS[model.head].writes:
        network.config.pad_token_id = pad
    # What an adapter saves as the name of its base: never a path of this machine.
    network.name_or_path = model.id if model.source in ("hub", "package") else "models/base"
    if getattr(network.config, "rescale_every", 0):
        # RWKV divides some of its weights whenever it goes from training to evaluation, and back: an adapter beside
        # them would keep its size, and 4-bit weights be packed anew in another format. It computes the same without.
        network.config.rescale_every = 0
    if (output := network.get_output_embeddings()) is not None:
        output.register_forward_pre_hook(_contiguous)
    network.eval()
    network.requires_grad_(False)
    choose_threads(network.config)
    found = {"head": _settle_head(network, report, model, labels, section)} | inspect(network, tokenizer, model)
    if HEADS[model.head].scores_labels:
        found["labels"] = [network.config.id2label[number] for number in range(len(labels))]
    for caution in found["cautions"]:
        print(f"{weights}: {caution}", file=sys.stderr)
    context = context_length(network.config, tokenizer, model)
    return Loaded(network, tokenizer, context, pad, model, labels, found, weights, config)


def _contiguous(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The input of the output layer in one piece of memory.

    `generate` hands it a slice of the last place. On the CPU torch copies the whole weight once per row for such an
    input: seconds and gigabytes where there are tens of thousands of tokens.
    """
    return tuple(one.contiguous() for one in given)


def _settle_head(network: Network, report: dict[str, Any], model: Model, labels: list[str], section: str) -> str:
    """Put a classification head's outputs in the order of the labels; whose the head is: new, or the checkpoint's."""
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
    """The tokenizer of a folder, for which text that spells a special token is text.

    Asked for `split_special_tokens`, a tokenizer does not look for them. But a model of pieces that chooses the
    likeliest ones (Unigram: XLM-R, T5, ALBERT), or one of whole words, has them among its own and finds them again:
    such a spelling is broken up by a space, after everything else that is done to a text.
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
    """Refuse an index that names as a part of the weights anything but a safetensors file beside it."""
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
                f"{index}: weight_map: {shown(tensor)}: found {shown(name, 200)}, expected a safetensors file beside it"
            )


def _check_fit(weights: Path, network: Network, report: dict[str, Any]) -> None:
    """Refuse weights that lack a tensor of the layout, or have one of another shape; a new head may be either."""
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
    """Tokens that the model can read: its positions, or what its tokenizer says where that is less.

    RoBERTa has 514 positions for 512 tokens. A tokenizer of a model from scratch knows the length of the training
    sequences alone: a decoder reads on, but an encoder learned no position behind it. In rows that are longer than its
    `keep_window_size`, Doge chooses which tokens each one sees by all of them, those behind it and padding too.
    """
    positions = getattr(configuration, "max_position_embeddings", None) or tokenizer.model_max_length
    positions = min(positions, getattr(configuration, "keep_window_size", None) or positions)
    reads_on = model.source == "scratch" and not reads_both_ways(configuration)
    return int(positions if reads_on else min(positions, tokenizer.model_max_length))


def _load_network(weights: Path, config: dict[str, Any], model: Model, n_labels: int) -> tuple[Network, dict[str, Any]]:
    """The network with its head, and transformers' account of missing and mismatched weights."""
    dtype = compute_dtype(model)
    empty = layout(config, model.head, n_labels)
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
        # A head of another width is a new head; any other misfit is refused with its name.
        "ignore_mismatched_sizes": True,
        "device_map": {"": device()},
    }
    if not HEADS[model.head].writes:
        options["num_labels"] = empty.config.num_labels
    options |= packing_options(model, dtype, empty)
    network, report = head_class(empty.config, model.head).from_pretrained(weights, **options)
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes would repack the weights for a bfloat16 kernel at the first evaluation on a CPU that has
            # one: other numbers than in training, and no gradient through the layer from then on.
            module.support_avx512bf16_for_cpu = False
        if hasattr(module, "state") and hasattr(module.state, "threshold"):
            # Of weights that are stored in 8 bits; see BITSANDBYTES.
            module.state.threshold = 0.0
    return network, report


def choose_threads(config: "PreTrainedConfig") -> None:
    """Compute on the CPU with the threads that layers of this layout's width keep at work."""
    units = getattr(config.get_text_config(), "hidden_size", None)
    if device() == "cpu" and isinstance(units, int):
        limit_threads(units)


def compute_dtype(model: Model) -> torch.dtype:
    """The dtype that params.yaml names; auto: bfloat16 on a GPU that has it, float16 on others, float32 on the CPU."""
    if model.dtype != "auto":
        dtype: torch.dtype = getattr(torch, model.dtype)
        return dtype
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def check_memory(config: dict[str, Any], model: Model, n_labels: int) -> None:
    """Refuse a model that cannot fit before anything is loaded.

    Raises:
        TunediffError: the weights and some headroom are larger than the free memory of the device.
    """
    dtype = str(compute_dtype(model)).removeprefix("torch.")
    weights = weight_bytes(config, head=model.head, labels=n_labels, quantization=model.quantization, dtype=dtype)
    needed = HEADROOM * weights
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    if needed > free:
        raise TunediffError(
            f"not enough memory for {model.id or 'the model'}: found {free / 2**30:.1f} GiB free on {device()}, "
            f"expected at least {needed / 2**30:.1f} GiB (quantization {model.quantization}, {dtype})"
        )
