"""Sources of base models: find the weights, pin them in a manifest, and check them against it at load time.

`models/base/` has a manifest that pins the base model, and its config.json:

    {"source": "hub", "id": "microsoft/phi-2", "revision": "ef382358ec9e...", "sha256": null}

Weights that were trained from scratch are in the same folder. Others stay where they are (the hub's cache, a Python
package, a folder) and are found by the functions in `SOURCES`.
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
from tunediff.models.gguf import DEQUANTIZED, SUFFIX, dequantize, find_gguf_file
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import read_json, shown, write_json
from tunediff.runtime.hub import snapshot

MANIFEST, CONFIG, WEIGHTS = "manifest.json", "config.json", "model.safetensors"
# Suffixes of the files that a model is loaded from.
LOADED = (".safetensors", ".json", ".txt", ".model", ".jinja")


def _hub(model: Base | Tuned) -> Path:
    return snapshot(str(model.id), str(model.revision), "model")


def _package(model: Base) -> Path:
    module_name = str(model.id).replace("-", "_")
    # find_spec would import the parent package of a dotted name.
    module = find_spec(module_name) if module_name.isidentifier() else None
    if module is None or module.origin is None:
        raise TunediffError(
            f"params.yaml: model.id: found no installed package {model.id}; install it: pip install {model.id}"
        )
    folder = Path(module.origin).parent
    return find_gguf_file(folder) or folder / "model"


def _folder(model: Base | Tuned) -> Path:
    folder = Path(str(model.id))
    # Some folders with GGUF files also have a config.json.
    is_complete = (folder / CONFIG).is_file() and has_weights(folder)
    return folder if is_complete else find_gguf_file(folder) or folder


# By model.source or tuned.source: returns the folder with the weights, or the GGUF file.
FINDERS: dict[str, Callable[[Base | Tuned], Path]] = {"hub": _hub, "folder": _folder}


def _served(model: Base) -> Path:
    raise TunediffError(
        f"params.yaml: model.source: found {SERVED}, whose weights are not available locally ({model.id}); expected "
        "a model that this machine can load"
    )


# The same, for sources of base models only.
SOURCES: dict[str, Callable[[Base], Path]] = {**FINDERS, "package": _package, SERVED: _served}


def find_weights(model: Base) -> Path:
    """Return the folder with config.json, tokenizer and model.safetensors of a model that is not from scratch.

    A GGUF file is dequantized on the first call.

    Raises:
        TunediffError: there is no such source, package or folder, it has no model that can be loaded, or the hub does
            not answer.
    """
    if model.source not in SOURCES:
        expected = ", ".join(["scratch", *SOURCES])
        raise TunediffError(f"params.yaml: model.source: found {model.source}, expected one of {expected}")
    folder = SOURCES[model.source](model)
    if folder.is_file() and folder.suffix == SUFFIX:
        return dequantize(folder)
    check_whole(folder, f"params.yaml: model.id: {model.id}")
    return folder


def check_whole(folder: Path, place: str) -> None:
    """Refuse a folder without config.json or weights.

    Args:
        folder: the folder.
        place: the key that names it, for errors.

    Raises:
        TunediffError: a file is missing.
    """
    for name, is_there in ((CONFIG, (folder / CONFIG).is_file()), (WEIGHTS, has_weights(folder))):
        if not is_there:
            raise TunediffError(f"{place}: found no {name} in {folder}; weights are read only from safetensors")


def has_weights(folder: Path) -> bool:
    """Whether a folder has the weights of a whole model, in one file or in several."""
    return any((folder / name).is_file() for name in (WEIGHTS, f"{WEIGHTS}.index.json"))


def write_manifest(folder: Path, model: Base, weights: Path) -> None:
    """Write the manifest and the config.json that pin a model."""
    write_json(folder / CONFIG, read_layout(weights))
    # The files of a model on the hub are pinned by its commit.
    pinned = None if model.source == "hub" else model_hash(weights)
    write_json(
        folder / MANIFEST,
        {"source": model.source, "id": model.id, "revision": model.revision, "sha256": pinned},
    )


def write_served(folder: Path, model: Base) -> None:
    """Write the manifest of a model on a server, whose weights cannot be pinned, with {} as its layout."""
    write_json(folder / CONFIG, {})
    write_json(folder / MANIFEST, {"source": model.source, "id": model.id, "revision": None, "sha256": None})


def read_layout(weights: Path) -> dict[str, Any]:
    """Return the config.json of a folder, with `new_pooler` if the layout has a pooler that the weights lack."""
    config = read_json(weights / CONFIG)
    if not isinstance(config, dict):
        raise TunediffError(f"{weights / CONFIG}: found {shown(config)}, expected the layout as a JSON object")
    config = {key: _in_json(value) for key, value in config.items()}
    return config | ({"new_pooler": True} if _lacks_pooler(config, weights) else {})


def _in_json(value: Any) -> Any:
    """A value with infinities as transformers now writes them; older files have Infinity, which is not JSON."""
    if isinstance(value, float) and math.isinf(value):
        return {"__float__": "Infinity" if value > 0 else "-Infinity"}
    return [_in_json(item) for item in value] if isinstance(value, list) else value


def model_hash(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of the files of a model: weights, layout and tokenizer.

    For a dequantized GGUF file it is that of the GGUF file, which does not depend on the version of transformers.
    """
    if folder.parent == DEQUANTIZED:
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in LOADED and path.name != MANIFEST):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _lacks_pooler(config: dict[str, Any], weights: Path) -> bool:
    """Whether the layout has a pooler that the weights lack, as in a BERT without next-sentence prediction."""
    # Imported here, because a stage without weights to pin does not need torch.
    from tunediff.models.layouts import layout

    if getattr(layout(config, "none"), "pooler", None) is None:
        return False
    return not any("pooler" in name.split(".") for name in _tensor_names(weights))


def _tensor_names(weights: Path) -> list[str]:
    """Names of the tensors in a folder's safetensors files, from their headers."""
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
    """Return the folder with the weights that the manifest in `base` pins.

    Raises:
        TunediffError: the manifest pins another model than params.yaml, or the weights are not those that it pins.
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
