"""A model as others load it: the folder that goes to the hub.

    write_model(folder, Path("models/base"), Path("models/tuned"), model, labels, "me/my-model")
    loaded = load_published(folder, Path("models/base"), model, labels)

An adapter goes in peft's layout. Its base is named by its id and commit on the hub; one that is not
there lies in the folder `base`. Any other tuned model goes whole.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

from tunediff.config.model import HEADS, Model
from tunediff.config.tuned import unpacked
from tunediff.models.adapt import ADAPTER, ADAPTER_CONFIG, load_adapter, save_adapter
from tunediff.models.heads import label_names
from tunediff.models.layouts import layout
from tunediff.models.load import Loaded, Network, context_length, load_base, load_model
from tunediff.models.merge import GENERATION, load_whole, save_whole
from tunediff.models.modules import inside, new_head
from tunediff.models.sources import CONFIG, weights_of
from tunediff.models.tuned import OF_BASE, load_tuned, read_tuned
from tunediff.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BASE = "base"
# What peft calls the heads: its Auto classes need it. Its class for span heads drops the token types (0.21), which tell
# question and context apart, so an adapter with one is left to the plain class.
PEFT_TASKS = {"lm": "CAUSAL_LM", "classification": "SEQ_CLS", "span": None}


def write_model(folder: Path, base: Path, tuned: Path, model: Model, labels: list[str], name: str) -> None:
    """Write what others load into `folder`: the adapter, with its base where the hub has none, or the whole model.

    Args:
        folder: an empty folder.
        base: the folder that the stage base_model wrote.
        tuned: the folder that the stage train wrote.
        model: the section model.
        labels: label names.
        name: of the model on the hub; an adapter whose base lies beside it names it.

    Raises:
        TunediffError: base or tuned are not what params.yaml asks for, or too large for this machine's memory.
    """
    manifest = read_tuned(tuned)
    if manifest["form"] == "adapter":
        if manifest["source"] != "train" and HEADS[model.head].scores_labels:
            _save_with_head(load_tuned(load_base(base, model, labels), tuned).model, folder)
        else:
            shutil.copyfile(tuned / ADAPTER, folder / ADAPTER)
            shutil.copyfile(tuned / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
        config = read_json(folder / ADAPTER_CONFIG)
        on = {"base_model_name_or_path": name, "revision": None}
        if model.source == "hub":
            on = {"base_model_name_or_path": model.id, "revision": model.revision}
        else:
            _write_base(folder / BASE, base, model, labels)
        write_json(folder / ADAPTER_CONFIG, config | on | {"task_type": PEFT_TASKS[model.head]})
        return
    # NF4 is made anew from plain weights whenever the model is loaded, as it was made for the measurement.
    loaded = load_tuned(load_base(base, unpacked(model), labels), tuned, packed=False)
    network = loaded.model
    del network.config.new_pooler
    save_whole(network, folder)
    _write_tokenizer(folder, loaded.tokenizer, loaded.context)


def _save_with_head(network: Network, folder: Path) -> None:
    """Write an adapter from elsewhere with a head in the order of the labels: its own, or else that of the base.

    The outputs of either have been put in that order as they were loaded; in the base's own files they may stand in
    another one.
    """
    save_adapter(network, folder)
    tensors, inner = load_file(folder / ADAPTER), network.get_base_model()
    heads = new_head(inner)
    if any(inside(name.removeprefix(OF_BASE), heads) for name in tensors):
        return
    head = {f"{OF_BASE}{name}": value.contiguous() for name, value in inner.named_parameters() if inside(name, heads)}
    save_file(tensors | head, folder / ADAPTER, metadata={"format": "pt"})
    write_json(folder / ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG) | {"modules_to_save": heads})


def _write_base(folder: Path, base: Path, model: Model, labels: list[str]) -> None:
    """Write the base model as it is: layout, weights and tokenizer."""
    from transformers import AutoTokenizer

    weights = weights_of(base, model)
    folder.mkdir()
    for path in weights.iterdir():
        if path.suffix == ".safetensors" or path.name in ("model.safetensors.index.json", GENERATION):
            shutil.copyfile(path, folder / path.name)
    # Not that beside the weights: the one that was pinned also says whether they lack a pooler.
    config = read_json(base / CONFIG)
    if HEADS[model.head].scores_labels:  # the head lies with the adapter, whose outputs are in this order
        config |= label_names(labels)
    write_json(folder / CONFIG, config)
    tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True, trust_remote_code=False)
    configuration = layout(read_json(base / CONFIG), "none").config
    _write_tokenizer(folder, tokenizer, context_length(configuration, tokenizer, model))


def _write_tokenizer(folder: Path, tokenizer: "PreTrainedTokenizerBase", context: int) -> None:
    # One made here knows the length of the texts that it was trained on, and would cut what the model can read.
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)


def load_published(folder: Path, base: Path, model: Model, labels: list[str]) -> Loaded:
    """The model of a folder that `write_model` wrote, ready to answer as the tuned model was measured.

    Args:
        folder: as it was written, or fetched from the hub.
        base: the folder that the stage base_model wrote: for an adapter whose base is on the hub.
        model: the section model, in the precision that the tuned model was measured in.
        labels: label names.

    Raises:
        TunediffError: the folder is not whole, or not of this model.
    """
    if not (folder / ADAPTER_CONFIG).exists():
        return load_whole(folder, model, labels)
    if model.source == "hub":
        loaded = load_base(base, model, labels)
    else:
        loaded = load_model(folder / BASE, read_json(folder / BASE / CONFIG), model, labels)
    return replace(loaded, model=load_adapter(loaded.model, folder))
