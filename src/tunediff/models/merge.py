"""Merge an adapter into the weights of its base, which gives a model that transformers loads without peft.

    merged = merge_adapter(load_tuned(loaded, Path("models/tuned")).model)
    save_merged(replace(loaded, model=merged), Path("models/merged"))

The unquantized weights of the base are merged. An adapter that was trained on 4-bit weights compensates for their
rounding errors, so the merged model is not the tuned one and is evaluated again by `tunediff merge`.
"""

from pathlib import Path

from torch import nn

from tunediff.config.model import Model
from tunediff.models.load import Loaded, Network, load_model
from tunediff.models.sources import CONFIG
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, write_json

GENERATION = "generation_config.json"


def merge_adapter(model: Network) -> Network:
    """Return the base with the adapter's change added to its weights; `model` is modified.

    If the output layer is adapted and tied to the input embedding, it is untied first, because otherwise the change
    would affect the input too.

    Args:
        model: an unquantized base with a LoRA adapter, from `load_tuned`.

    Raises:
        TunediffError: a merged weight is not finite in the base's dtype, or layers with separate adapters share their
            weights.
    """
    base = model.get_base_model()
    _refuse_shared(base)
    output, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    inner = getattr(output, "base_layer", None)
    if inner is not None and inner.weight is embedding.weight:
        inner.weight = nn.Parameter(inner.weight.detach().clone(), requires_grad=False)
        base.config.tie_word_embeddings = False
    try:
        merged: Network = model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise TunediffError(f"the adapter cannot be merged into the base model: {one_line(error)}") from None
    return merged


def _refuse_shared(base: Network) -> None:
    """Refuse layers that share a weight but have separate adapters, such as the attention blocks of Zamba."""
    first: dict[int, str] = {}
    for name, module in base.named_modules():
        weight = getattr(getattr(module, "base_layer", None), "weight", None)
        if weight is None:
            continue
        if (other := first.setdefault(id(weight), name)) != name:
            raise TunediffError(
                f"the adapter cannot be merged into the base model: {other} and {name} share their weights, but each "
                "has its own adapter"
            )


def save_merged(loaded: Loaded, folder: Path) -> None:
    """Write weights as safetensors, config.json and tokenizer to `folder`, as models are published."""
    save_whole(loaded.model, folder)
    loaded.tokenizer.save_pretrained(folder)


def save_whole(network: Network, folder: Path) -> None:
    """Write weights, config.json and the unchanged generation config to `folder`.

    transformers refuses to save some published generation configs.
    """
    from transformers import GenerationConfig

    kept = getattr(network, "generation_config", None)
    if kept is None:
        network.save_pretrained(folder)
        return
    network.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        network.save_pretrained(folder)
    finally:
        network.generation_config = kept
    write_json(folder / GENERATION, kept.to_diff_dict())


def load_whole(folder: Path, model: Model, labels: list[str]) -> Loaded:
    """Load a model and its tokenizer from a folder of `save_merged`.

    Args:
        folder: the folder.
        model: the section model.
        labels: label names.

    Raises:
        TunediffError: as `load_model`.
    """
    # The outputs of its head are in the order of the labels and named by them.
    section = model.model_copy(update={"head_labels": None})
    return load_model(folder, read_json(folder / CONFIG), section, labels)
