"""An adapter merged into the weights of its base: a model of its own, which transformers loads by itself.

    merged = merge_adapter(load_tuned(loaded, Path("models/tuned")).model)
    save_merged(replace(loaded, model=merged), Path("models/merged"))

The base's unquantised weights are merged. What was trained on 4-bit weights compensates for their rounding error, so
the merged model is not the tuned one and has to be measured: `tunediff merge` does.
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
    """Return the base with the adapter's change added to its own weights; `model` is used up by it.

    Where the output layer is adapted and shares its weights with the input embedding, it gets weights of its own
    first: else the change would reach the input too.

    Args:
        model: an unquantised base with a LoRA adapter on it, as `load_tuned` returns it.

    Raises:
        TunediffError: a merged weight is no finite number in the base's dtype, or layers with adapters of their own
            share their weights, which can hold one change alone.
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
    """Refuse layers that share one weight, such as the attention blocks of Zamba, and have an adapter each."""
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
    """Write weights as safetensors, layout and tokenizer to `folder`, in the form that models are published in."""
    save_whole(loaded.model, folder)
    loaded.tokenizer.save_pretrained(folder)


def save_whole(network: Network, folder: Path) -> None:
    """Write weights and layout to `folder`, and the generation config as it was, also one that transformers refuses."""
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
    """Load a model of a folder that `save_whole` wrote, and that holds its tokenizer too.

    Args:
        folder: the folder.
        model: the section model.
        labels: label names.

    Raises:
        TunediffError: as `load_model`.
    """
    # Its head's outputs have been put in the order of the labels, and are named by them.
    section = model.model_copy(update={"head_labels": None})
    return load_model(folder, read_json(folder / CONFIG), section, labels)
