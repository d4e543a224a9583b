"""Which weights are trained: chosen before training, saved after it, put back on the base.

trainable = adapt_model(network, params.adapt, seed=0)       # LoRA, new head, or every weight
save_trained(trainable, Path("checkpoint"))                  # the trained weights alone, as safetensors
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from tunediff.config.adapt import LORA, Adapt
from tunediff.models.load import Network
from tunediff.models.modules import matched_targets, new_head
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown, write_json

TRAINED = "trained.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def adapt_model(model: Network, adapt: Adapt, seed: int) -> Network:
    """Make the weights that `adapt` names trainable, float32, and freeze the others.

    A new head is always trained: its weights are random.

    Raises:
        TunediffError: a target of the adapter matches no layer; the line names the layers there are.
    """
    torch.manual_seed(seed)
    if adapt.method in LORA:
        from peft import LoraConfig, get_peft_model

        targets = matched_targets(model, adapt.target_modules or [])
        config = LoraConfig(
            r=adapt.r,
            lora_alpha=adapt.lora_alpha,
            lora_dropout=adapt.lora_dropout,
            target_modules=sorted(name for names in targets.values() for name in names),
            modules_to_save=new_head(model) or None,
        )
        adapted: Network = get_peft_model(model, config)
    else:
        adapted = model
        choose_trained(model, adapt.method)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            # Gradient scaling refuses half-precision weights, and small updates vanish in them.
            parameter.data = parameter.data.float()
    return adapted


def disable_dropout(model: Network) -> None:
    """Let the base leave nothing out in training, whatever its layout says; an adapter has its own `lora_dropout`."""
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for key, value in vars(module).items():
            if key.endswith("dropout") and isinstance(value, float):  # some layouts hold the probability itself
                setattr(module, key, 0.0)


def choose_trained(model: Network, method: str) -> None:
    """Let a gradient be computed for the weights that method head or full trains, and for no other."""
    model.requires_grad_(method == "full")
    for name in new_head(model):
        model.get_submodule(name).requires_grad_(True)


def save_trained(model: Network, folder: Path) -> None:
    """Write the weights that require a gradient, and nothing else, to `folder` as safetensors."""
    save_weights(whole_weights(model), folder)


def whole_weights(model: Network) -> dict[str, torch.Tensor]:
    """The weights that require a gradient, on the CPU; where they are shared out, every process has to ask for them."""
    trained = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).cpu().contiguous()
        for name, value in trained.items()
    }


def save_weights(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write weights to `folder` as safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / TRAINED)


def gather_trained(model: Network) -> None:
    """Give each process the whole of the trained weights that are shared out over several; it runs no more after it."""
    for name, value in whole_weights(model).items():
        holder, _, last = name.rpartition(".")
        if isinstance(getattr(model.get_submodule(holder), last), DTensor):
            setattr(model.get_submodule(holder), last, torch.nn.Parameter(value))


def load_trained(model: Network, folder: Path) -> None:
    """Put the weights that `save_trained` wrote back into an adapted model, in place.

    Raises:
        TunediffError: the file is missing, damaged, or of a model that is adapted in another way.
    """
    path = folder / TRAINED
    weights = _read_weights(path)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in trained.items()}:
        raise TunediffError(f"{path}: holds the weights of another model, or of one adapted in another way")
    with torch.no_grad():
        for name, value in trained.items():
            whole = weights[name]
            if isinstance(value, DTensor):
                whole = distribute_tensor(whole.to(value.device), value.device_mesh, value.placements)
            value.copy_(whole)


def save_adapter(model: Network, folder: Path) -> None:
    """Write a LoRA adapter in peft's layout."""
    # Left to itself peft would add the base's own lm_head where that is a target, and ask the hub about others.
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's model card, empty but for headings
    config = read_json(folder / ADAPTER_CONFIG)
    # peft keeps names in a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / ADAPTER_CONFIG, config)


def load_adapter(model: Network, folder: Path) -> Network:
    """The base `model` with the LoRA adapter of a folder on it, ready to answer.

    Raises:
        TunediffError: the adapter is missing, damaged or of another model.
    """
    from peft import PeftModel, get_peft_model_state_dict

    # Read here first: peft would take a pickle where there is no safetensors file, and warn where weights are missing.
    saved = _read_weights(folder / ADAPTER)
    _check_adapter(folder / ADAPTER_CONFIG)
    try:
        tuned: Network = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise TunediffError(f"{folder}: cannot be loaded onto the base model: {one_line(error)}") from None
    if get_peft_model_state_dict(tuned, save_embedding_layers=False).keys() != saved.keys():
        raise TunediffError(f"{folder / ADAPTER}: holds the weights of another model, or of one adapted in another way")
    return tuned.eval()


def _check_adapter(path: Path) -> None:
    """Refuse settings under which peft would import a module or load a tokenizer that the file names."""
    config = read_json(path)
    found = {key: config.get(key) for key in ("peft_type", "megatron_config")} if isinstance(config, dict) else config
    if found != {"peft_type": "LORA", "megatron_config": None}:
        raise TunediffError(f"{path}: found {shown(found, 120)}, expected a LoRA adapter as fine-tuning writes it")


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TunediffError(f"{path}: cannot be read: {one_line(error)}") from None
    return weights
