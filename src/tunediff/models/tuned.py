"""The tuned model in a folder with a manifest: save, pin and load it.

    {"source": "train", "method": "qlora", "form": "adapter"}         # models/tuned/manifest.json
    {"source": "hub", "id": "me/adapter", "revision": "6c1f...", "head_labels": null, "form": "adapter", ...}

`form` is `adapter` (in peft's format), `weights` (only the trained weights of the base), `whole` (a complete model) or
`server` (only the name of a model on a server). A tuned model that was not trained here is pinned by a function in
`TUNED_SOURCES`: an adapter is copied into the folder; a whole model stays where it is, pinned by its commit on the hub
or by the hash of its files.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.config.adapt import LORA, Adapt
from tunediff.config.engine import SERVED
from tunediff.config.model import BITSANDBYTES, HEADS, Model
from tunediff.config.tuned import Tuned, loaded_as
from tunediff.inputs.chat import Template
from tunediff.models.adapt import (
    ADAPTER,
    ADAPTER_CONFIG,
    check_adapter,
    choose_trained,
    load_adapter,
    load_trained,
    read_adapter_config,
    save_adapter,
    save_trained,
    tensor_shapes,
)
from tunediff.models.gguf import SUFFIX, dequantize
from tunediff.models.head_labels import put_in_order
from tunediff.models.heads import adds_head
from tunediff.models.inspection import with_adapter
from tunediff.models.layouts import layout
from tunediff.models.load import Loaded, Network, load_model
from tunediff.models.modules import inside, new_head
from tunediff.models.precision import check_precision
from tunediff.models.sources import CONFIG, FINDERS, MANIFEST, check_whole, has_weights, model_hash, read_layout
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, read_text, shown, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Manifest = Mapping[str, Any]
CHAT_TEMPLATE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
# Subfolder of the models after each epoch (train.keep).
EPOCHS = "epochs"
# Prefix of the base in the names of an adapter's tensors in peft.
BASE_PREFIX = "base_model.model."
# A task type that is removed: peft's class for it drops the token types, which distinguish question and context.
QUESTIONS = "QUESTION_ANS"


def find_tuned(tuned: Tuned) -> tuple[Path, str]:
    """Return the folder of a tuned model that is not trained here, and its form, adapter or whole.

    Raises:
        TunediffError: there is no such folder, it has neither form or both, or the hub does not answer.
    """
    folder, place = FINDERS[tuned.source](tuned), f"params.yaml: tuned.id: {tuned.id}"
    if folder.is_file() and folder.suffix == SUFFIX:
        return dequantize(folder), "whole"
    if not folder.is_dir():
        raise TunediffError(f"{place}: there is no such folder")
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    if is_adapter and has_weights(folder):
        raise TunediffError(f"{place}: found an adapter and a whole model in {folder}, expected only one")
    if not is_adapter:
        if not (folder / CONFIG).is_file():
            raise TunediffError(f"{place}: found neither {ADAPTER_CONFIG} nor {CONFIG} in {folder}, expected a model")
        check_whole(folder, place)
        return folder, "whole"
    if not (folder / ADAPTER).is_file():
        raise TunediffError(f"{place}: found no {ADAPTER} in {folder}; weights are read only from safetensors")
    read_adapter_config(folder)
    return folder, "adapter"


def _pin(tuned: Tuned, folder: Path) -> Manifest:
    found, form = find_tuned(tuned)
    # The files of a model on the hub are pinned by its commit.
    pinned = None if form == "adapter" or tuned.source == "hub" else model_hash(found)
    if form == "adapter":
        shutil.copyfile(found / ADAPTER, folder / ADAPTER)
        config = read_adapter_config(found)
        if config.get("task_type") == QUESTIONS:
            config["task_type"] = None
        write_json(folder / ADAPTER_CONFIG, config)
        for name in (CHAT_TEMPLATE, TOKENIZER_CONFIG):  # see own_template
            if (found / name).is_file():
                shutil.copyfile(found / name, folder / name)
    return {**tuned.model_dump(), "form": form, "sha256": pinned}


def _pin_served(tuned: Tuned, folder: Path) -> Manifest:  # noqa: ARG001  (the manifest is the only file)
    return {**tuned.model_dump(), "form": SERVED}


# By tuned.source: writes the files of a tuned model that is not trained here, and returns the manifest.
TUNED_SOURCES: dict[str, Callable[[Tuned, Path], Manifest]] = {**dict.fromkeys(FINDERS, _pin), SERVED: _pin_served}


def _load_adapter(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:
    loaded = _with_precision(loaded, manifest)
    order: list[str] = []
    if manifest["source"] != "train":
        head_labels, found = manifest.get("head_labels"), loaded.found
        order = _head_order(folder, head_labels, loaded.section, new_head(loaded.model), found)
    network = load_adapter(loaded.model, folder)
    if order:
        put_in_order(network.get_base_model(), loaded.labels, order, "tuned.head_labels")
    return with_trained(loaded, network, adapter=True)


def _with_precision(loaded: Loaded, manifest: Manifest) -> Loaded:
    """The base in the precision of the tuned model, loaded again if it differs."""
    section = loaded_as(loaded.section, manifest)
    if section == loaded.section:
        return loaded
    again = load_model(loaded.weights, loaded.layout, section, loaded.labels, "tuned", loaded.device_map)
    return replace(again, tokenizer=loaded.tokenizer)


def _head_order(
    folder: Path, head_labels: list[str] | None, model: Model, head: list[str], found: Mapping[str, Any] | None = None
) -> list[str]:
    """The labels of an adapter's classification head, in the order of its outputs; empty if it has none.

    Args:
        folder: folder of the adapter.
        head_labels: the labels in params.yaml.
        model: the section model.
        head: names of the modules of the base's head.
        found: what was found in the loaded base; None: it is not loaded yet.

    Raises:
        TunediffError: neither base nor adapter has a head, or the labels of the adapter's outputs are not known.
    """
    names = [name.removeprefix(BASE_PREFIX) for name in tensor_shapes(folder / ADAPTER)]
    head_names = [name for name in names if inside(name, head)]
    whole = [name for name in head_names if name.endswith((".weight", ".bias")) and "lora_" not in name]
    if len(whole) < len(head_names):
        raise TunediffError(f"{folder / ADAPTER}: found an adapted head, expected a fully trained one or none")
    lacking = [module for module in head if not any(inside(name, [module]) for name in whole)]
    if lacking and found is not None and found["head"] == "new":
        raise TunediffError(
            f"{folder / ADAPTER}: found no weights of {', '.join(lacking)}, and the base has none either"
        )
    if not whole or not HEADS[model.head].scores_labels:
        return []
    if head_labels is None:
        raise TunediffError(
            "params.yaml: tuned.head_labels: missing, expected the label of each output of the adapter's head, in "
            f"order; {ADAPTER_CONFIG} does not list them"
        )
    return head_labels


def with_trained(loaded: Loaded, model: Network, adapter: bool) -> Loaded:
    """Return the loaded base with a trained network, inspected for adapted layers and a trained head.

    Raises:
        TunediffError: no layer has an active adapter.
    """
    found = loaded.found | (with_adapter(model) if adapter else {})
    return replace(loaded, model=model, found=found | ({"head": "trained"} if found.get("head") == "new" else {}))


def _load_weights(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:
    choose_trained(loaded.model, manifest["method"])
    load_trained(loaded.model, folder)
    loaded.model.requires_grad_(False)
    return with_trained(loaded, loaded.model.eval(), adapter=False)


def _load_whole(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:
    weights, model = _weights(folder, manifest), loaded_as(loaded.section, manifest)
    model = model.model_copy(update={"head_labels": manifest.get("head_labels")})
    tuned = load_model(weights, read_layout(weights), model, loaded.labels, "tuned", loaded.device_map)
    if adds_head(model.head) and tuned.found["head"] == "new":
        raise TunediffError(
            f"{weights}: found no {model.head} head that fits task.labels, expected one in the tuned model"
        )
    tuned.model.name_or_path = manifest.get("id") or str(weights)  # for errors
    return tuned


def _refuse_served(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:  # noqa: ARG001  (one of FORMS)
    raise TunediffError(
        f"{folder / MANIFEST}: names {manifest.get('id')}, which is on a server; expected a tuned model with local "
        "weights"
    )


def _weights(folder: Path, manifest: Manifest) -> Path:
    """The folder with the weights of a whole model, checked against its manifest."""
    if "weights" in manifest:
        return Path(manifest["weights"])
    weights, _ = find_tuned(Tuned(**{key: manifest[key] for key in Tuned.model_fields if key in manifest}))
    if manifest["sha256"] is not None and model_hash(weights) != manifest["sha256"]:
        raise TunediffError(
            f"{weights}: the model's files are not the ones that {folder / MANIFEST} pins; to accept the new ones: "
            "dvc repro --force train count_params"
        )
    return weights


# By form: loads the tuned model onto the base, or in its place.
FORMS: dict[str, Callable[[Loaded, Path, Manifest], Loaded]] = {
    "adapter": _load_adapter,
    "weights": _load_weights,
    "whole": _load_whole,
    SERVED: _refuse_served,
}


def save_tuned(model: Network, adapt: Adapt, folder: Path) -> None:
    """Write the adapter or the trained weights, and the manifest."""
    form, save = ("adapter", save_adapter) if adapt.method in LORA else ("weights", save_trained)
    save(model, folder)
    write_json(folder / MANIFEST, {"source": "train", "method": adapt.method, "form": form})


def epoch_folder(folder: Path, epoch: int) -> Path:
    """Return the folder of the tuned model after an epoch."""
    return folder / EPOCHS / str(epoch)


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Return the folders of the tuned models after each epoch, by epoch from 1; empty if they were not kept."""
    found = {int(path.name): path for path in (folder / EPOCHS).glob("*") if path.name.isdecimal()}
    return dict(sorted(found.items()))


def pin_tuned(tuned: Tuned, folder: Path) -> None:
    """Write the folder of a tuned model that is not trained here.

    Raises:
        TunediffError: there is no such source, or it has no such model.
    """
    if tuned.source not in TUNED_SOURCES:
        expected = ", ".join(["train", *TUNED_SOURCES])
        raise TunediffError(f"params.yaml: tuned.source: found {tuned.source}, expected one of {expected}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, TUNED_SOURCES[tuned.source](tuned, folder))


def check_tuned(tuned: Tuned, base: Mapping[str, Any], model: Model, labels: list[str]) -> str | None:
    """Check that an external tuned model fits the base, before anything is computed.

    Args:
        tuned: the section tuned.
        base: the layout of the base, from `read_layout`.
        model: the section model.
        labels: label names.

    Returns:
        A warning if the adapter's config names another base, since copies of a base have several names; else None.

    Raises:
        TunediffError: the adapter's weights do not fit the base by name or shape, the labels of its head are not known,
            or the precision is not available.
    """
    folder, form = find_tuned(tuned)
    quantization = loaded_as(model, tuned.model_dump()).quantization
    is_whole = form == "whole"
    check_precision(read_layout(folder) if is_whole else base, quantization, "tuned.quantization", folder)
    if is_whole:
        return None
    network = layout(base, model.head, len(labels))
    _head_order(folder, tuned.head_labels, model, new_head(network))
    check_adapter(folder, network, model.id or "the base model")
    named = read_adapter_config(folder).get("base_model_name_or_path")
    if not isinstance(named, str) or not model.id or Path(named).name.casefold() == Path(model.id).name.casefold():
        return None
    return (
        f"{tuned.id}: its settings refer to the base {shown(named)}, but it is applied to {model.id}, which "
        "its weights fit"
    )


def read_tuned(folder: Path) -> Manifest:
    """Read the manifest of a tuned model.

    Raises:
        TunediffError: there is none, or its form is unknown.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    form = manifest.get("form") if isinstance(manifest, dict) else None
    if form not in FORMS:
        raise TunediffError(f"{path}: form: found {shown(form)}, expected one of {', '.join(FORMS)}; run dvc repro")
    return dict(manifest)


def load_tuned(loaded: Loaded, folder: Path, packed: bool = True) -> Loaded:
    """Load the tuned model of a folder; it may share the weights of the base, which must not be used afterwards.

    Args:
        loaded: the base model.
        folder: the folder that the stage train wrote.
        packed: whether to apply the tuned model's own quantization by bitsandbytes, as for evaluation; without it, the
            model can be saved.

    Raises:
        TunediffError: manifest or weights are missing, damaged or belong to another model.
    """
    manifest = read_tuned(folder)
    if not packed and manifest.get("quantization") in BITSANDBYTES:
        manifest = {**manifest, "quantization": "none"}
    return FORMS[manifest["form"]](loaded, folder, manifest)


def own_template(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> Template | None:
    """Return the chat template that was published with a tuned model, or None.

    Args:
        folder: the folder that the stage train wrote.
        tokenizer: the tokenizer that renders it.

    Raises:
        TunediffError: the template cannot be read.
    """
    source = Path(read_tuned(folder).get("weights", folder))
    template_file = source / CHAT_TEMPLATE
    if template_file.is_file():
        return Template(str(template_file), tokenizer, read_text(template_file))
    config = source / TOKENIZER_CONFIG
    text = read_json(config) if config.is_file() else {}
    text = text.get("chat_template") if isinstance(text, dict) else None
    if isinstance(text, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in text if isinstance(entry, dict)}
        text = named.get("default")
    return Template(str(config), tokenizer, text) if isinstance(text, str) else None
