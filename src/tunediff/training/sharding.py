"""A model that is sharded over the processes by torch's FSDP2: weights, gradients and the optimizer's state.

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
    """Shard a model in place; its loss, which has to be computed as it is returned: the pass gathers the weights.

    Args:
        model: the same in each process.
        fsdp: transformer_layer_cls_to_wrap, a class of layers or a list of them, each gathered where it runs; and
            reshard_after_forward, true unless it is given: whether a layer is gathered again for the backward pass.
        loss: of the model and a batch.

    Raises:
        TunediffError: another key, or the model has no such layers.
    """
    # Only who shards a model waits for it.
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    key = "params.yaml: train.fsdp"
    if unknown := sorted(fsdp.keys() - {LAYERS, RESHARD}):
        raise TunediffError(f"{key}: found {', '.join(unknown)}, expected {LAYERS} and {RESHARD} alone")
    given: str | Sequence[str] = fsdp.get(LAYERS, ())
    names = {given} if isinstance(given, str) else set(given)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    classes = {type(layer).__name__ for layers in lists for layer in layers}
    if not names or names - classes:
        raise TunediffError(
            f"{key}.{LAYERS}: found {', '.join(sorted(names)) or 'nothing'}, expected of {', '.join(sorted(classes))}"
        )
    keep = {RESHARD: fsdp.get(RESHARD, True)}
    for module in [one for one in model.modules() if type(one).__name__ in names]:
        fully_shard(module, **keep)
    fully_shard(model, **keep)
    model.cost = MethodType(loss, model)
    register_fsdp_forward_method(model, "cost")
    return lambda model, batch: model.cost(batch)


def optimizer_state(model: Network, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The whole state of a sharded model's optimizer, in the first process; all of them have to ask for it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimizer, options=options)


def load_optimizer_state(model: Network, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give each process its part of a state of `optimizer_state`."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))
