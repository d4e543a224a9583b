"""Where a base model comes from: found, pinned in a manifest, and checked against it whenever it is loaded.

`models/base/` holds a manifest that pins what the base model is, and its config.json:

    {"source": "hub", "id": "microsoft/phi-2", "revision": "ef382358ec9e...", "sha256": null}

Weights trained from scratch lie beside the manifest, which the stage base_model writes. Others stay where they are (the
hub's cache, a Python package, a folder): `SOURCES` names what finds them.
"""

import hashlib
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunediff.config.engine import SERVED
from tunediff.config.model import Base
from tunediff.config.tuned import Tuned
from tunediff.models.gguf import DEQUANTISED, SUFFIX, dequantised, the_gguf_file
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown, write_json
from tunediff.runtime.hub import snapshot

MANIFEST, CONFIG, WEIGHTS = "manifest.json", "config.json", "model.safetensors"
# Endings of the files that a model is loaded from.
LOADED = (".safetensors", ".json", ".txt", ".model", ".jinja")


def _hub(model: Base | Tuned) -> Path:
    return snapshot(str(model.id), str(model.revision), "model")


def _package(model: Base) -> Path:
    module_name = str(model.id).replace("-", "_")
    # A name with dots would run the package that holds it, and one with anything else is no module's.
    module = find_spec(module_name) if module_name.isidentifier() else None
    if module is None or module.origin is None:
        raise TunediffError(
            f"params.yaml: model.id: found no installed package {model.id}; install it: pip install {model.id}"
        )
    folder = Path(module.origin).parent
    return the_gguf_file(folder) or folder / "model"


def _folder(model: Base | Tuned) -> Path:
    folder = Path(str(model.id))
    # GGUF files are published with a config.json beside them, too.
    whole = (folder / CONFIG).is_file() and any(
        (folder / name).is_file() for name in (WEIGHTS, f"{WEIGHTS}.index.json")
    )
    return folder if whole else the_gguf_file(folder) or folder


# Where a tuned model may lie too, by tuned.source: the folder that holds the weights, or the GGUF file.
FINDERS: dict[str, Callable[[Base | Tuned], Path]] = {"hub": _hub, "folder": _folder}


def _served(model: Base) -> Path:
    raise TunediffError(
        f"params.yaml: model.source: found {SERVED}, whose weights are not available locally ({model.id}); expected "
        "a model that this machine can load"
    )


# By model.source: the same.
SOURCES: dict[str, Callable[[Base], Path]] = {**FINDERS, "package": _package, SERVED: _served}


def find_weights(model: Base) -> Path:
    """The folder that holds config.json, tokenizer and model.safetensors of a model that is not from scratch.

    A GGUF file is dequantised first, where that has not been done.

    Raises:
        TunediffError: no such source, package or folder, nothing loadable in it, or the hub does not answer.
    """
    if model.source not in SOURCES:
        expected = ", ".join(["scratch", *SOURCES])
        raise TunediffError(f"params.yaml: model.source: found {model.source}, expected one of {expected}")
    folder = SOURCES[model.source](model)
    if folder.is_file() and folder.suffix == SUFFIX:
        return dequantised(folder)
    check_whole(folder, f"params.yaml: model.id: {model.id}")
    return folder


def check_whole(folder: Path, place: str) -> None:
    """Refuse a folder that does not hold a model's layout and weights.

    Args:
        folder: the folder.
        place: what names it, for the error.
    """
    for needed in (CONFIG, WEIGHTS):
        if not (folder / needed).is_file() and not (folder / f"{needed}.index.json").is_file():
            raise TunediffError(f"{place}: found no {needed} in {folder}; weights are read only from safetensors")


def write_manifest(folder: Path, model: Base, weights: Path) -> None:
    """Pin a model that is not from scratch: its manifest and its config.json."""
    write_json(folder / CONFIG, read_layout(weights))
    # A hub revision pins its files already, and hashing gigabytes on every machine would buy nothing.
    pinned = None if model.source == "hub" else model_hash(weights)
    write_json(
        folder / MANIFEST,
        {"source": model.source, "id": model.id, "revision": model.revision, "sha256": pinned},
    )


def write_served(folder: Path, model: Base) -> None:
    """Write down the name of a model that a server has, and {} as its layout; nobody here can pin what it is."""
    write_json(folder / CONFIG, {})
    write_json(folder / MANIFEST, {"source": model.source, "id": model.id, "revision": None, "sha256": None})


def read_layout(weights: Path) -> dict[str, Any]:
    """The config.json beside some weights, with `new_pooler` where the layout has a pooler that the weights lack."""
    config = read_json(weights / CONFIG)
    if not isinstance(config, dict):
        raise TunediffError(f"{weights / CONFIG}: found {shown(config)}, expected the layout as a JSON object")
    config = {key: _in_json(value) for key, value in config.items()}
    return config | ({"new_pooler": True} if _lacks_pooler(config, weights) else {})


def _in_json(value: Any) -> Any:
    """A value with infinities as transformers writes them today; older files have Infinity, which is no JSON."""
    if isinstance(value, float) and math.isinf(value):
        return {"__float__": "Infinity" if value > 0 else "-Infinity"}
    return [_in_json(one) for one in value] if isinstance(value, list) else value


def model_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of what a model is loaded from: weights, layout and tokenizer.

    Of a GGUF file that was dequantised it is the file's own, which no version of transformers changes.
    """
    if folder.parent == DEQUANTISED:
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in LOADED and path.name != MANIFEST):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _lacks_pooler(config: dict[str, Any], weights: Path) -> bool:
    """Whether the layout has a pooler and the weights have none, as of a BERT that learned masked words alone."""
    # Imported here: without weights to pin, a stage needs no torch.
    from tunediff.models.layouts import layout

    if getattr(layout(config, "none"), "pooler", None) is None:
        return False
    return not any("pooler" in name.split(".") for name in _tensor_names(weights))


def _tensor_names(weights: Path) -> list[str]:
    """Names of the tensors in a folder's safetensors files, read from their headers."""
    from safetensors import SafetensorError, safe_open

    names = []
    for file in sorted(weights.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                names += tensors.keys()
        except (SafetensorError, OSError) as error:
            raise TunediffError(f"{weights}: cannot be loaded: {file.name}: {one_line(error)}") from None
    return names


def weights_of(base: Path, model: Base) -> Path:
    """Where the weights lie that the manifest in `base` names.

    Raises:
        TunediffError: the manifest is of another model, or the weights are not those that it pins.
    """
    manifest = read_json(base / MANIFEST)
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise TunediffError(f"{base / MANIFEST}: found {shown(manifest)}, expected source, id, revision and sha256")
    if (manifest.get("source"), manifest.get("id"), manifest.get("revision")) != (
        model.source,
        model.id,
        model.revision,
    ):
        raise TunediffError(
            f"{base / MANIFEST}: pins {manifest.get('id')}, but params.yaml refers to {model.id}: run dvc repro"
        )
    if model.source == "scratch":
        return base
    weights = find_weights(model)
    if manifest["sha256"] is not None and model_hash(weights) != manifest["sha256"]:
        raise TunediffError(
            f"{weights}: the model's files are not the ones that {base / MANIFEST} pins; to accept the new ones: dvc "
            "repro --force base_model"
        )
    return weights
