"""Where the tuned model comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from tunediff.config.engine import address_problems
from tunediff.config.model import BITSANDBYTES, Dtype, Model, Quantization
from tunediff.config.section import COMMIT, LabelName, Section, Word

# The values of tuned.source; `tunediff.models.tuned.TUNED_SOURCES` pins the model, except for `train`.
TUNED = ["train", "hub", "folder", "server"]


def loaded_as(model: Model, tuned: Mapping[str, Any]) -> Model:
    """Return the section model with the precision of a tuned model.

    Args:
        model: the section model.
        tuned: the section tuned or the manifest of a tuned model; a quantization or dtype of None is that of `model`.
    """
    precision = {key: tuned.get(key) for key in ("quantization", "dtype")}
    return model.model_copy(update={key: value for key, value in precision.items() if value is not None})


def unpacked(model: Model) -> Model:
    """Return the section model without quantization by bitsandbytes."""
    return model.model_copy(update={"quantization": "none"}) if model.quantization in BITSANDBYTES else model


class Tuned(Section):
    """Where the tuned model comes from."""

    source: Word = Field(
        default="train",
        description="train: fine-tuned here, by the stage train; hub: an adapter or a whole model pinned on the hub; "
        "folder: an adapter or a whole model in a local folder; server: available only from a server (engine.kind "
        "server)",
    )
    id: Word | None = Field(default=None, description="hub id, folder path, or its name on a server")
    revision: str | None = Field(default=None, pattern=COMMIT, description="hub: commit, 40 hexadecimal digits")
    url: Word | None = Field(default=None, description="server: its address, if different from engine.url")
    head_labels: list[LabelName] | None = Field(
        default=None,
        description="classification: the label of each output of the tuned model's own head, in order; none: those "
        "that the config.json of a whole model names (id2label)",
    )

    quantization: Quantization | None = Field(
        default=None,
        description="quantization of a whole model, or of the base under an adapter, as in model.quantization; none: "
        "model.quantization",
    )
    dtype: Dtype | None = Field(
        default=None, description="dtype of the tuned model's computation, as in model.dtype; none: model.dtype"
    )

    def _contradictions(self) -> Iterator[str]:
        if self.id is None and self.source in ("hub", "folder", "server"):
            yield f"tuned.source is {self.source}, but tuned.id is missing"
        if self.source == "train":
            for key in ("id", "head_labels", "quantization", "dtype"):
                if getattr(self, key) is not None:
                    yield f"tuned.source is train, but tuned.{key} is given"
        for key in ("quantization", "dtype"):
            if self.source == "server" and getattr(self, key) is not None:
                yield f"tuned.source is server, but tuned.{key} is given; the server decides how its weights are stored"
        if (self.revision is None) == (self.source == "hub"):
            yield f"tuned.revision goes with tuned.source hub; found {self.revision} and {self.source}"
        if self.url is not None and self.source != "server":
            yield f"tuned.url is given, but tuned.source is {self.source}; expected server"
        yield from address_problems("tuned.url", self.url)
