"""Tuned models made from the trained one: random changes of the same size, and scaled changes.

    write_null(tuned, folder, load, seed=1)          # random, of the same norm, layer by layer
    write_scaled(tuned, folder, load, strength=0.5)  # half of what training changed

Each is a folder that is loaded like the tuned model (`tunediff.models.tuned.load_tuned`). The change of a LoRA adapter
is the product of its two matrices; a random one has the same Frobenius norm in each layer. The change of fully trained
weights is the difference from the base, per tensor. An adapter with fully trained tensors, such as a new head, is
refused, because these would keep what they learned.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tunediff.models.adapt import (
    ADAPTER,
    ADAPTER_CONFIG,
    TRAINED,
    choose_trained,
    read_adapter_config,
    read_weights,
    save_weights,
    whole_weights,
)
from tunediff.models.load import Network
from tunediff.models.tuned import read_tuned
from tunediff.runtime.errors import TunediffError

# peft's names of the two matrices of an adapted linear or embedding layer.
PAIRS = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B"}


def write_null(tuned: Path, folder: Path, base: Callable[[], Network], seed: int) -> None:
    """Write a tuned model with a random change of the same norm as the trained one in each layer.

    Args:
        tuned: the folder of the trained model that the stage train wrote.
        folder: the folder to create.
        base: loads the base; only called if the model is not an adapter.
        seed: seed of the random numbers.

    Raises:
        TunediffError: the tuned model is neither a LoRA adapter nor weights that were trained here.
    """
    draw = torch.Generator().manual_seed(seed)

    def like(value: torch.Tensor) -> torch.Tensor:
        return torch.randn(value.shape, generator=draw, dtype=torch.float64)

    def pair(down: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        new_down, new_up = like(down), like(up)
        return new_down, new_up * _ratio(product_norm(down, up), product_norm(new_down, new_up))

    def whole(change: torch.Tensor) -> torch.Tensor:
        new = like(change)
        return new * _ratio(change.norm(), new.norm())

    _write(tuned, folder, base, pair, whole)


def write_scaled(tuned: Path, folder: Path, base: Callable[[], Network], strength: float) -> None:
    """Write a tuned model with `strength` times the change of the trained one: 0 is the base, 1 the trained model.

    Args:
        tuned: as for `write_null`.
        folder: as for `write_null`.
        base: as for `write_null`.
        strength: factor of the change.

    Raises:
        TunediffError: as for `write_null`.
    """
    _write(tuned, folder, base, lambda down, up: (down, up * strength), lambda change: change * strength)


def product_norm(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the Frobenius norm of the product of an adapter's two matrices, without computing the product.

    Args:
        down: matrix of shape (rank, inputs).
        up: matrix of shape (outputs, rank).
    """
    down, up = down.double(), up.double()
    squared = ((up.T @ up) * (down @ down.T)).sum()
    return squared.clamp(min=0).sqrt()


def _ratio(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    return wanted / found if found > 0 else torch.zeros_like(wanted)


def _write(
    tuned: Path,
    folder: Path,
    base: Callable[[], Network],
    pair: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    whole: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    manifest = read_tuned(tuned)
    if manifest["form"] not in ("adapter", "weights"):
        raise TunediffError(f"{tuned}: found a {manifest['form']} model, expected an adapter or weights trained here")
    folder.mkdir(parents=True)
    for path in tuned.iterdir():
        if path.is_file() and path.name not in (ADAPTER, TRAINED):
            shutil.copyfile(path, folder / path.name)
    if manifest["form"] == "weights":
        network = base()
        choose_trained(network, str(manifest["method"]))
        trained, before = read_weights(tuned / TRAINED), whole_weights(network)
        changed = {
            name: before[name].double() + whole(trained[name].double() - before[name]) for name in sorted(trained)
        }
        save_weights({name: value.to(trained[name].dtype) for name, value in changed.items()}, folder, TRAINED)
        return
    config = read_adapter_config(tuned)
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        found = "DoRA" if config.get("use_dora") else config.get("peft_type")
        raise TunediffError(f"{tuned / ADAPTER_CONFIG}: found {found}, expected LoRA, whose change is a product")
    weights = dict(read_weights(tuned / ADAPTER))
    matrices = {name for names in _pairs(sorted(weights)) for name in names}
    if others := sorted(weights.keys() - matrices):
        raise TunediffError(
            f"{tuned / ADAPTER}: found {others[0]}, which was fully trained; expected only LoRA matrices"
        )
    for name, other in _pairs(sorted(weights)):
        if other not in weights or weights[name].dim() != 2 or weights[other].dim() != 2:
            raise TunediffError(f"{tuned / ADAPTER}: {name}: expected one of the two matrices of a layer")
        down, up = pair(weights[name].double(), weights[other].double())
        weights[name], weights[other] = (value.to(weights[name].dtype).contiguous() for value in (down, up))
    save_weights(weights, folder, ADAPTER)


def _pairs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Names of the two matrices of each layer."""
    for name in names:
        for down, up in PAIRS.items():
            if f".{down}" in name:
                yield name, name.replace(f".{down}", f".{up}")
