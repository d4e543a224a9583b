"""Choose the weights to train, save them, and load them onto the base.

trainable = adapt_model(network, params.adapt, seed=0)       # LoRA, new head, or all weights
save_trained(trainable, Path("checkpoint"))                  # only the trained weights, as safetensors
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tunediff.config.adapt import LORA, Adapt
from tunediff.models.load import Network
from tunediff.models.modules import matched_targets, new_head
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINED = "trained.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Kinds of adapters that change layers but not the input; others prepend tokens of their own.
KINDS = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "VERA", "OFT", "HRA", "LN_TUNING")
# Settings with which peft would import a module, add layers, or adapt only some of the tokens.
REFUSED = ("megatron_config", "layer_replication", "alora_invocation_tokens", "arrow_config")


def adapt_model(model: Network, adapt: Adapt, seed: int) -> Network:
    """Make the weights that `adapt` names trainable in float32, and freeze the others.

    A new head is always trained, because its weights are random.

    Args:
        model: the base model.
        adapt: the section adapt.
        seed: seed of the adapter's weights.

    Raises:
        TunediffError: a target of the adapter matches no layer (the message lists the existing ones), or a layer does
            not compute as a linear layer.
    """
    torch.manual_seed(seed)
    if adapt.method in LORA:
        from peft import LoraConfig, get_peft_model

        targets = matched_targets(model, adapt.target_modules or [])
        names = sorted(name for found in targets.values() for name in found)
        config = LoraConfig(
            r=adapt.r,
            lora_alpha=adapt.lora_alpha,
            lora_dropout=adapt.lora_dropout,
            target_modules=names,
            modules_to_save=new_head(model) or None,
        )
        custom = _custom_layers(model, names)
        try:
            adapted: Network = get_peft_model(model, config)
        except ValueError as error:  # a layer whose weights the layout uses directly, such as Mamba's out_proj
            raise TunediffError(f"adapt.target_modules: found {adapt.target_modules}: {one_line(error)}") from None
        _check_new_adapter(adapted, custom, adapt.method)
    else:
        adapted = model
        choose_trained(model, adapt.method)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            # Gradient scaling does not support half-precision weights, and small updates would be rounded away.
            parameter.data = parameter.data.float()
    return adapted


def _custom_layers(model: Network, names: Collection[str]) -> dict[str, str]:
    """The classes of linear layers with an own implementation, such as Falcon's, by name of the layer."""
    kinds = {name: type(model.get_submodule(name)) for name in names}
    known = ("torch.", "transformers.pytorch_utils", "bitsandbytes.")
    return {name: kind.__name__ for name, kind in kinds.items() if not kind.__module__.startswith(known)}


@torch.no_grad()
def _check_new_adapter(adapted: Network, layers: Mapping[str, str], method: str) -> None:
    """Refuse an adapter that changes answers before training, and a model that cannot be trained as it is stored.

    The output of a custom layer may not be a plain sum with the adapter's; Gemma 3n writes to some of its weights in
    training, which is not possible in 4 bits; Reformer only trains on rows of one length.

    Args:
        adapted: the model with the adapter; it is in evaluation mode afterwards.
        layers: adapted layers that may be unsuitable, from `_custom_layers`.
        method: adapt.method, for the error.
    """
    if next(adapted.parameters()).is_meta:
        return
    adapted.eval()
    rows = adapted.get_input_embeddings().weight.shape[0]
    tokens = torch.tensor([[(7 * place + 3) % rows for place in range(8)]], device=next(adapted.parameters()).device)
    try:
        with adapted.disable_adapter():
            before = adapted(input_ids=tokens, attention_mask=torch.ones_like(tokens))[0].float()
        after = adapted(input_ids=tokens, attention_mask=torch.ones_like(tokens))[0].float()
        found = None if torch.equal(before, after) else "it changes answers before any training"
        adapted.train()
        with torch.random.fork_rng():
            adapted(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        adapted.eval()
    # Layers raise different errors for mismatching shapes, unusual outputs and packed weights.
    except Exception as error:
        found = one_line(error)
    if found is not None and not layers:
        raise TunediffError(
            f"params.yaml: adapt.method: found {method}, but a {adapted.config.model_type} model cannot be trained "
            f"this way: {found}"
        )
    if found is not None:
        name, kind = next(iter(layers.items()))
        raise TunediffError(
            f"adapt.target_modules: found {name}, a {kind}, which does not compute as a linear layer, so it cannot "
            f"have an adapter ({found}); expected other layers"
        )


def disable_dropout(model: Network) -> None:
    """Disable the dropout of the base model, but not `lora_dropout` of an adapter."""
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for key, value in vars(module).items():
            if key.endswith("dropout") and isinstance(value, float):  # some layouts store only the probability
                setattr(module, key, 0.0)


def choose_trained(model: Network, method: str) -> None:
    """Require gradients only for the weights that adapt.method head or full trains."""
    model.requires_grad_(method == "full")
    for name in new_head(model):
        model.get_submodule(name).requires_grad_(True)


def save_trained(model: Network, folder: Path) -> None:
    """Write the weights that require a gradient to `folder` as safetensors."""
    save_weights(whole_weights(model), folder)


def whole_weights(model: Network) -> dict[str, torch.Tensor]:
    """Return the weights that require a gradient, on the CPU; if they are sharded, all processes must call this."""
    trained = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    return {
        name: (value.full_tensor() if _is_sharded(value) else value).cpu().contiguous()
        for name, value in trained.items()
    }


def _is_sharded(value: torch.Tensor) -> bool:
    """Whether a tensor is sharded over several processes."""
    return hasattr(value, "full_tensor")  # DTensor, whose module takes a second to import


def save_weights(weights: Mapping[str, torch.Tensor], folder: Path, name: str = TRAINED) -> None:
    """Write weights to the file `name` in `folder` as safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / name)


def gather_trained(model: Network) -> None:
    """Replace sharded trained weights by full ones in each process; the model cannot be trained afterwards."""
    for name, value in whole_weights(model).items():
        holder, _, last = name.rpartition(".")
        if _is_sharded(getattr(model.get_submodule(holder), last)):
            setattr(model.get_submodule(holder), last, torch.nn.Parameter(value))


def load_trained(model: Network, folder: Path) -> None:
    """Load the weights that `save_trained` wrote into an adapted model, in place.

    Raises:
        TunediffError: the file is missing or damaged, or belongs to a model that is adapted differently.
    """
    path = folder / TRAINED
    weights = read_weights(path)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in trained.items()}:
        raise TunediffError(f"{path}: holds the weights of another model, or of one adapted differently")
    with torch.no_grad():
        for name, value in trained.items():
            weight = weights[name]
            if _is_sharded(value):
                from torch.distributed.tensor import distribute_tensor

                weight = distribute_tensor(weight.to(value.device), value.device_mesh, value.placements)
            value.copy_(weight)


def save_adapter(model: Network, folder: Path) -> None:
    """Write a LoRA adapter in peft's format."""
    # With "auto", peft would add the base's lm_head if that is a target, and query the hub.
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's model card, which has only headings
    config = read_json(folder / ADAPTER_CONFIG)
    # peft keeps names in a set, whose order differs between processes.
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / ADAPTER_CONFIG, config)


def load_adapter(model: Network, folder: Path) -> Network:
    """Load the adapter of a folder onto the base `model`, for evaluation.

    Raises:
        TunediffError: the adapter is missing, damaged, of an unsupported kind, or belongs to another model.
    """
    from peft import PeftModel

    # Read here first: without a safetensors file peft would load a pickle, and for missing weights it only warns.
    saved = read_weights(folder / ADAPTER)
    read_adapter_config(folder)
    try:
        tuned: Network = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise TunediffError(f"{folder}: cannot be loaded onto the base model: {one_line(error)}") from None
    embeddings = _adapter_tensors(tuned, embeddings=False).keys() != saved.keys()
    loaded = _adapter_tensors(tuned, embeddings)
    if {name: value.shape for name, value in loaded.items()} != {name: value.shape for name, value in saved.items()}:
        raise TunediffError(f"{folder / ADAPTER}: holds the weights of another model, or of one adapted differently")
    # For a layout whose published weights are named differently than its layers, peft converts the names in the
    # adapter, and leaves weights that it does not find at random values with only a warning.
    with torch.no_grad():
        for name, value in loaded.items():
            value.copy_(saved[name])
    again = _adapter_tensors(tuned, embeddings)
    if not all(torch.equal(value, saved[name].to(value)) for name, value in again.items()):
        raise TunediffError(f"{folder / ADAPTER}: its weights were not loaded into their layers")
    return tuned.eval()


def check_adapter(folder: Path, model: "PreTrainedModel", base: str) -> None:
    """Refuse an adapter whose weights do not fit this base by name and shape.

    Args:
        folder: the adapter, in peft's format.
        model: the layout of the base, without weights; it is modified.
        base: name of the base, for errors.

    Raises:
        TunediffError: see `load_adapter`.
    """
    from peft import PeftConfig, get_peft_model

    named = read_adapter_config(folder).get("base_model_name_or_path")
    found = tensor_shapes(folder / ADAPTER)
    wrong = f"{folder}: is not an adapter of {base} (adapter_config.json refers to the base {shown(named)})"
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        if hasattr(config, "init_lora_weights"):
            config.init_lora_weights = False  # some initializations are computed from the weights, which are not here
        with torch.device("meta"):
            adapted = get_peft_model(model, config)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TunediffError(f"{wrong}: {one_line(error)}") from None
    expected = {name: tuple(value.shape) for name, value in _adapter_tensors(adapted, embeddings=False).items()}
    embeddings = {name: tuple(value.shape) for name, value in _adapter_tensors(adapted, embeddings=True).items()}
    for name in {**found, **expected}:
        shapes = found.get(name), expected.get(name, embeddings.get(name))
        if shapes[0] != shapes[1]:
            actual, wanted = (" x ".join(map(str, shape)) if shape else "nothing" for shape in shapes)
            raise TunediffError(f"{wrong}: {name}: found {actual}, expected {wanted}")


def _adapter_tensors(model: Network, embeddings: bool) -> dict[str, torch.Tensor]:
    """The tensors in peft's file of an adapter, with or without embedding layers."""
    from peft import get_peft_model_state_dict

    saved: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=embeddings)
    return saved


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read and check the adapter_config.json of an adapter.

    Raises:
        TunediffError: the adapter is of an unsupported kind or has an unsupported setting.
    """
    path = folder / ADAPTER_CONFIG
    config = read_json(path)
    kind = config.get("peft_type") if isinstance(config, dict) else config
    if kind not in KINDS:
        raise TunediffError(f"{path}: peft_type: found {shown(kind, 120)}, expected one of {', '.join(KINDS)}")
    for key in REFUSED:
        if config.get(key):
            raise TunediffError(f"{path}: {key}: found {shown(config[key], 120)}, expected none")
    return dict(config)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a safetensors file by name, from its header.

    Raises:
        TunediffError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TunediffError(f"{path}: cannot be read: {one_line(error)}") from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        TunediffError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TunediffError(f"{path}: cannot be read: {one_line(error)}") from None
    return weights
