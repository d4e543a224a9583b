"""Where a base model comes from, and how its weights are loaded: safetensors only, no code from outside.

`models/base/` holds a manifest that pins what the base model is:

    {"source": "hub", "id": "microsoft/phi-2", "revision": "ef382358ec9e...", "sha256": null}

and its config.json. Weights trained from scratch lie beside the manifest; others stay where they are (the hub's cache,
a Python package, a folder) and are checked against the manifest when they are loaded.
"""

import hashlib
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from tunediff.config.model import Base, Model
from tunediff.models.counts import inside, layout, new_head, reads_both_ways, unpacked_modules, weight_bytes
from tunediff.models.head_labels import is_new, name_outputs, put_in_order
from tunediff.models.heads import head_class, read_mean
from tunediff.models.inspection import check_files, inspect
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown, write_json
from tunediff.runtime.hub import snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

MANIFEST, CONFIG = "manifest.json", "config.json"
# Endings of the files that a model is loaded from.
LOADED = (".safetensors", ".json", ".txt", ".model")
# One forward pass needs room beside the weights; a fifth is what small batches take.
HEADROOM = 1.2


# A PreTrainedModel of transformers, or peft's wrapper around one: they share these attributes, but no type.
Network = Any


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer: its tokenizer, its context in tokens, and the id that pads rows.

    `found` is what inspection found in it: see `tunediff.models.inspection.inspect`.
    """

    model: Network
    tokenizer: "PreTrainedTokenizerBase"
    context: int
    pad: int
    found: dict[str, Any] = field(default_factory=dict)


def find_weights(model: Base) -> Path:
    """The folder that holds config.json, tokenizer and model.safetensors of a model that is not from scratch.

    Raises:
        TunediffError: no such package or folder, nothing loadable in it, or the hub does not answer.
    """
    name = str(model.id)
    if model.source == "hub":
        folder = snapshot(name, str(model.revision), "model")
    elif model.source == "package":
        module_name = name.replace("-", "_")
        # A name with dots would run the package that holds it, and one with anything else is no module's.
        module = find_spec(module_name) if module_name.isidentifier() else None
        if module is None or module.origin is None:
            raise TunediffError(
                f"params.yaml: model.id: found no installed package {name}; install it: pip install {name}"
            )
        folder = Path(module.origin).parent / "model"
    else:
        folder = Path(name)
    for needed in (CONFIG, "model.safetensors"):
        if not (folder / needed).is_file() and not (folder / f"{needed}.index.json").is_file():
            raise TunediffError(
                f"params.yaml: model.id: {name}: found no {needed} in {folder}; weights are read from safetensors alone"
            )
    return folder


def write_manifest(folder: Path, model: Base, weights: Path) -> None:
    """Pin a model that is not from scratch: its manifest and its config.json."""
    write_json(folder / CONFIG, read_layout(weights))
    # A hub revision pins its files already, and hashing gigabytes on every machine would buy nothing.
    pinned = None if model.source == "hub" else model_hash(weights)
    write_json(
        folder / MANIFEST,
        {"source": model.source, "id": model.id, "revision": model.revision, "sha256": pinned},
    )


def read_layout(weights: Path) -> dict[str, Any]:
    """The config.json beside some weights, with `new_pooler` where the layout has a pooler that the weights lack."""
    config = read_json(weights / CONFIG)
    if not isinstance(config, dict):
        raise TunediffError(f"{weights / CONFIG}: found {shown(config)}, expected the layout as a JSON object")
    return config | ({"new_pooler": True} if _lacks_pooler(config, weights) else {})


def model_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of what a model is loaded from: weights, layout and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in LOADED and path.name != MANIFEST):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _lacks_pooler(config: dict[str, Any], weights: Path) -> bool:
    """Whether the layout has a pooler and the weights have none, as of a BERT that learned masked words alone."""
    if getattr(layout(config, "none"), "pooler", None) is None:
        return False
    return not any("pooler" in name.split(".") for name in _tensor_names(weights))


def _tensor_names(weights: Path) -> list[str]:
    """Names of the tensors in a folder's safetensors files, read from their headers."""
    from safetensors import SafetensorError, safe_open

    names = []
    for file in sorted(weights.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                names += tensors.keys()
        except (SafetensorError, OSError) as error:
            raise TunediffError(f"{weights}: cannot be loaded: {file.name}: {one_line(error)}") from None
    return names


def weights_of(base: Path, model: Base) -> Path:
    """Where the weights lie that the manifest in `base` names.

    Raises:
        TunediffError: the manifest is of another model, or the weights are not those that it pins.
    """
    manifest = read_json(base / MANIFEST)
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise TunediffError(f"{base / MANIFEST}: found {shown(manifest)}, expected source, id, revision and sha256")
    if (manifest.get("source"), manifest.get("id"), manifest.get("revision")) != (
        model.source,
        model.id,
        model.revision,
    ):
        raise TunediffError(
            f"{base / MANIFEST}: pins {manifest.get('id')}, but params.yaml names {model.id}: run dvc repro"
        )
    if model.source == "scratch":
        return base
    weights = find_weights(model)
    if manifest["sha256"] is not None and model_hash(weights) != manifest["sha256"]:
        raise TunediffError(
            f"{weights}: the model's files are not the ones that {base / MANIFEST} pins; "
            "to take the new ones: dvc repro --force base_model"
        )
    return weights


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


def load_model(weights: Path, config: dict[str, Any], model: Model, labels: list[str]) -> Loaded:
    """Load the weights and the tokenizer of a folder, as `load_base` does those that its manifest names.

    Args:
        weights: folder with config.json, tokenizer and safetensors.
        config: the layout, as in config.json.
        model: the section model: head, quantisation and dtype.
        labels: label names.

    Raises:
        TunediffError: as `load_base`.
    """
    _check_shards(weights)
    check_files(weights, config, model)
    check_memory(config, model, len(labels))
    try:
        tokenizer = read_tokenizer(weights)
        torch.manual_seed(model.head_seed)
        network, report = _load_network(weights, config, model, len(labels))
    # Files from outside: safetensors, tokenizers and transformers each say in their own way what is wrong with them.
    except Exception as error:
        raise TunediffError(f"{weights}: cannot be loaded: {one_line(error)}") from None
    if model.head == "lm" and reads_both_ways(network.config):
        raise TunediffError(
            f"params.yaml: model.head: found lm, but a {network.config.model_type} model reads in both directions and "
            "cannot go on with a text; expected classification or span"
        )
    if model.pooling == "mean":
        if not reads_both_ways(network.config):
            raise TunediffError(
                f"params.yaml: model.pooling: found mean, but the head of a {network.config.model_type} model reads "
                "the last token, the only one that has seen them all; expected own"
            )
        read_mean(network)
    network.config.new_pooler = config.get("new_pooler", False)
    _check_fit(weights, network, report)
    # Any token may pad, since no row sees its padding; but a classifier of the Llama kind looks for it to find the end.
    pad = next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    network.config.pad_token_id = pad
    # What an adapter saves as the name of its base: never a path of this machine.
    network.name_or_path = model.id if model.source in ("hub", "package") else "models/base"
    network.eval()
    network.requires_grad_(False)
    head = _settle_head(network, report, model, labels)
    found = {"head": head} | inspect(network, tokenizer, model)
    for caution in found["cautions"]:
        print(f"{weights}: {caution}", file=sys.stderr)
    return Loaded(network, tokenizer, context_length(network.config, tokenizer, model), pad, found)


def _settle_head(network: Network, report: dict[str, Any], model: Model, labels: list[str]) -> str:
    """Put a classification head's outputs in the order of the labels; whose the head is: new, or the checkpoint's."""
    if model.head != "classification":
        heads = new_head(network)
        return "new" if any(inside(name, heads) for name in report["missing_keys"]) else "checkpoint"
    new = is_new(network, report, labels)
    if new:
        print(f"{network.name_or_path}: a new head for {', '.join(labels)}, drawn by head_seed {model.head_seed}")
    else:
        put_in_order(network, labels, model.head_labels)
    name_outputs(network, labels)
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
            f"{weights}: {len(wrong)} of the weights do not fit the layout in config.json, the first: {wrong[0]}"
        )


def context_length(configuration: "PreTrainedConfig", tokenizer: "PreTrainedTokenizerBase", model: Model) -> int:
    """Tokens that the model can read: its positions, or what its tokenizer says where that is less.

    RoBERTa has 514 positions for 512 tokens. A tokenizer of a model from scratch knows the length of the training
    sequences alone: a decoder reads on, but an encoder learned no position behind it.
    """
    positions = getattr(configuration, "max_position_embeddings", None) or tokenizer.model_max_length
    reads_on = model.source == "scratch" and not reads_both_ways(configuration)
    return int(positions if reads_on else min(positions, tokenizer.model_max_length))


def _load_network(weights: Path, config: dict[str, Any], model: Model, n_labels: int) -> tuple[Network, dict[str, Any]]:
    """The network with its head, and transformers' account of missing and mismatched weights."""
    from transformers import BitsAndBytesConfig

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
    if model.head != "lm":
        options["num_labels"] = empty.config.num_labels
    if model.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=unpacked_modules(empty),
        )
    network, report = head_class(empty.config, model.head).from_pretrained(weights, **options)
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes would repack the weights for a bfloat16 kernel at the first evaluation on a CPU that has
            # one: other numbers than in training, and no gradient through the layer from then on.
            module.support_avx512bf16_for_cpu = False
    return network, report


def device() -> str:
    """`cuda` where a GPU is there, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


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
