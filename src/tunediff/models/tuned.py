"""The tuned model of a folder: what it is, and how it is loaded.

    {"source": "train", "method": "qlora", "form": "adapter"}         # models/tuned/manifest.json

`form` says what it is: an `adapter` in peft's layout, `weights` (those of the base that were trained, alone), or a
`whole` model of its own, which lies beside the manifest or in the folder that its key `weights` names. A tuned model
that is not trained here is pinned instead: `TUNED_SOURCES` names what writes the folder then.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunediff.config.adapt import LORA, Adapt
from tunediff.config.tuned import Tuned
from tunediff.models.adapt import choose_trained, load_adapter, load_trained, save_adapter, save_trained
from tunediff.models.load import Loaded, Network, load_model
from tunediff.models.sources import MANIFEST, read_layout
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown, write_json

Manifest = Mapping[str, Any]

# By tuned.source: writes what has to be known of a tuned model that is not trained here, and gives the manifest.
TUNED_SOURCES: dict[str, Callable[[Tuned, Path], Manifest]] = {}


def _load_adapter(loaded: Loaded, folder: Path, _: Manifest) -> Loaded:
    return replace(loaded, model=load_adapter(loaded.model, folder))


def _load_weights(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:
    choose_trained(loaded.model, manifest["method"])
    load_trained(loaded.model, folder)
    loaded.model.requires_grad_(False)
    return replace(loaded, model=loaded.model.eval())


def _load_whole(loaded: Loaded, folder: Path, manifest: Manifest) -> Loaded:
    weights = Path(manifest.get("weights", folder))
    return load_model(weights, read_layout(weights), loaded.section, loaded.labels)


# By form: puts the tuned model on the base, or in its place.
FORMS: dict[str, Callable[[Loaded, Path, Manifest], Loaded]] = {
    "adapter": _load_adapter,
    "weights": _load_weights,
    "whole": _load_whole,
}


def save_tuned(model: Network, adapt: Adapt, folder: Path) -> None:
    """Write what fine-tuning made, an adapter or the trained weights, and the manifest."""
    form, save = ("adapter", save_adapter) if adapt.method in LORA else ("weights", save_trained)
    save(model, folder)
    write_json(folder / MANIFEST, {"source": "train", "method": adapt.method, "form": form})


def pin_tuned(tuned: Tuned, folder: Path) -> None:
    """Write the folder of a tuned model that is not trained here.

    Raises:
        TunediffError: no such source, or it does not hold such a model.
    """
    if tuned.source not in TUNED_SOURCES:
        expected = ", ".join(["train", *TUNED_SOURCES])
        raise TunediffError(f"params.yaml: tuned.source: found {tuned.source}, expected one of {expected}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, TUNED_SOURCES[tuned.source](tuned, folder))


def read_tuned(folder: Path) -> Manifest:
    """The manifest of a tuned model.

    Raises:
        TunediffError: there is none, or its form is not known.
    """
    path = folder / MANIFEST
    manifest = read_json(path)
    form = manifest.get("form") if isinstance(manifest, dict) else None
    if form not in FORMS:
        raise TunediffError(f"{path}: form: found {shown(form)}, expected one of {', '.join(FORMS)}; run dvc repro")
    return dict(manifest)


def load_tuned(loaded: Loaded, folder: Path) -> Loaded:
    """The tuned model of a folder, ready to answer; it takes the base's place, whose weights it may share.

    Args:
        loaded: the base model.
        folder: as the stage train writes it.

    Raises:
        TunediffError: the folder's manifest or weights are missing, damaged or of another model.
    """
    manifest = read_tuned(folder)
    return FORMS[manifest["form"]](loaded, folder, manifest)
