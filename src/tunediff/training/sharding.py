"""Shard a model over the processes with torch's FSDP2: weights, gradients and optimizer state.

loss = shard(model, {"transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}, loss)
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import torch

from tunediff.models.load import Network
from tunediff.runtime.errors import TunediffError

LAYERS, RESHARD = "transformer_layer_cls_to_wrap", "reshard_after_forward"


def shard(model: Network, fsdp: Mapping[str, Any], loss: Callable[..., Any]) -> Callable[..., Any]:
    """Shard a model in place, and return its loss function, whose forward pass gathers the weights.

    Args:
        model: the model, the same in each process.
        fsdp: transformer_layer_cls_to_wrap, a class of layers or a list of classes, whose layers are gathered one by
            one; and reshard_after_forward (default true), whether layers are gathered again for the backward pass.
        loss: the loss function of the model and a batch.

    Raises:
        TunediffError: a key is unknown, or the model has no such layers.
    """
    # Imported here, because the import is slow.
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    key = "params.yaml: train.fsdp"
    if unknown := sorted(fsdp.keys() - {LAYERS, RESHARD}):
        raise TunediffError(f"{key}: found {', '.join(unknown)}, expected only {LAYERS} and {RESHARD}")
    value: str | Sequence[str] = fsdp.get(LAYERS, ())
    names = {value} if isinstance(value, str) else set(value)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    classes = {type(layer).__name__ for layers in lists for layer in layers}
    if not names or names - classes:
        raise TunediffError(
            f"{key}.{LAYERS}: found {', '.join(sorted(names)) or 'nothing'}, expected some of "
            f"{', '.join(sorted(classes))}"
        )
    options = {RESHARD: fsdp.get(RESHARD, True)}
    for module in [module for module in model.modules() if type(module).__name__ in names]:
        fully_shard(module, **options)
    fully_shard(model, **options)
    model.cost = MethodType(loss, model)
    register_fsdp_forward_method(model, "cost")
    return lambda model, batch: model.cost(batch)


def optimizer_state(model: Network, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the full optimizer state of a sharded model in the main process; all processes must call this."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimizer, options=options)


def load_optimizer_state(model: Network, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of `optimizer_state` into each process."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))
