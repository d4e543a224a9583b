"""Write a tuned model as a folder to be published on the hub, and load it.

    write_model(folder, Path("models/base"), Path("models/tuned"), model, labels, "me/my-model")
    loaded = load_published(folder, Path("models/base"), model, labels)

An adapter is written in peft's format. It refers to its base by id and commit on the hub; a base that is not on the hub
is written to the subfolder `base`. Any other tuned model is written as a whole model.
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
from tunediff.models.tuned import BASE_PREFIX, load_tuned, read_tuned
from tunediff.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BASE = "base"
# peft's names of the heads, which its Auto classes need. Its class for span heads drops the token types (0.21), which
# distinguish question and context, so an adapter with a span head is left to the plain class.
PEFT_TASKS = {"lm": "CAUSAL_LM", "classification": "SEQ_CLS", "span": None}


def write_model(folder: Path, base: Path, tuned: Path, model: Model, labels: list[str], name: str) -> None:
    """Write the published form of a tuned model: the adapter, with its base if that is not on the hub, or the model.

    Args:
        folder: an empty folder.
        base: the folder that the stage base_model wrote.
        tuned: the folder that the stage train wrote.
        model: the section model.
        labels: label names.
        name: name of the published model on the hub, by which an adapter refers to a base in its subfolder.

    Raises:
        TunediffError: base or tuned model are not those of params.yaml, or do not fit into memory.
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
    # The weights are published unquantized; NF4 is applied at load time, as for the evaluation.
    loaded = load_tuned(load_base(base, unpacked(model), labels), tuned, packed=False)
    network = loaded.model
    del network.config.new_pooler
    save_whole(network, folder)
    _write_tokenizer(folder, loaded.tokenizer, loaded.context)


def _save_with_head(network: Network, folder: Path) -> None:
    """Write an external adapter with its head, or else that of the base, in the order of the labels.

    The outputs were reordered at load time; the files of the base may have them in another order.
    """
    save_adapter(network, folder)
    tensors, inner = load_file(folder / ADAPTER), network.get_base_model()
    heads = new_head(inner)
    if any(inside(name.removeprefix(BASE_PREFIX), heads) for name in tensors):
        return
    head = {
        f"{BASE_PREFIX}{name}": value.contiguous() for name, value in inner.named_parameters() if inside(name, heads)
    }
    save_file(tensors | head, folder / ADAPTER, metadata={"format": "pt"})
    write_json(folder / ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG) | {"modules_to_save": heads})


def _write_base(folder: Path, base: Path, model: Model, labels: list[str]) -> None:
    """Write the unchanged base model: config.json, weights and tokenizer."""
    from transformers import AutoTokenizer

    weights = weights_of(base, model)
    folder.mkdir()
    for path in weights.iterdir():
        if path.suffix == ".safetensors" or path.name in ("model.safetensors.index.json", GENERATION):
            shutil.copyfile(path, folder / path.name)
    # The pinned config.json also says whether the weights lack a pooler.
    config = read_json(base / CONFIG)
    if HEADS[model.head].scores_labels:  # the head is saved with the adapter, with its outputs in this order
        config |= label_names(labels)
    write_json(folder / CONFIG, config)
    tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True, trust_remote_code=False)
    configuration = layout(read_json(base / CONFIG), "none").config
    _write_tokenizer(folder, tokenizer, context_length(configuration, tokenizer, model))


def _write_tokenizer(folder: Path, tokenizer: "PreTrainedTokenizerBase", context: int) -> None:
    # A tokenizer that was trained here has the length of its training sequences as its limit.
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)


def load_published(folder: Path, base: Path, model: Model, labels: list[str]) -> Loaded:
    """Load a model of `write_model` as the tuned model was evaluated.

    Args:
        folder: the folder of `write_model`, or a copy of it from the hub.
        base: the folder that the stage base_model wrote, for an adapter whose base is on the hub.
        model: the section model, with the precision in which the tuned model was evaluated.
        labels: label names.

    Raises:
        TunediffError: the folder is incomplete, or has another model.
    """
    if not (folder / ADAPTER_CONFIG).exists():
        return load_whole(folder, model, labels)
    if model.source == "hub":
        loaded = load_base(base, model, labels)
    else:
        loaded = load_model(folder / BASE, read_json(folder / BASE / CONFIG), model, labels)
    return replace(loaded, model=load_adapter(loaded.model, folder))
