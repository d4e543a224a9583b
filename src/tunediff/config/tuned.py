"""Where the tuned model comes from."""

from collections.abc import Iterator

from pydantic import Field

from tunediff.config.engine import address_problems
from tunediff.config.section import LabelName, Section, Word

# What tuned.source may be; `tunediff.models.tuned.TUNED_SOURCES` pins all but `train`.
TUNED = ["train", "hub", "folder", "server"]


class Tuned(Section):
    """Where the tuned model comes from."""

    source: Word = Field(
        default="train",
        description="train: fine-tuned here, by the stage train; hub: an adapter or a whole model pinned on the hub; "
        "folder: one in a local folder; server: one that a server answers with (engine.kind server)",
    )
    id: Word | None = Field(default=None, description="hub id, folder path, or the name that a server has for it")
    revision: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{40}$", description="hub: commit, 40 hexadecimal digits"
    )
    url: Word | None = Field(default=None, description="server: its address, where it is not engine.url")
    head_labels: list[LabelName] | None = Field(
        default=None,
        description="classification: the label of each output of the tuned model's own head, in order; none: those "
        "that the config.json of a whole model names (id2label)",
    )

    def _contradictions(self) -> Iterator[str]:
        if self.id is None and self.source in ("hub", "folder", "server"):
            yield f"tuned.source is {self.source}, but tuned.id is missing"
        if self.source == "train":
            for key in ("id", "head_labels"):
                if getattr(self, key) is not None:
                    yield f"tuned.source is train, but tuned.{key} is given"
        if (self.revision is None) == (self.source == "hub"):
            yield f"tuned.revision goes with tuned.source hub; found {self.revision} and {self.source}"
        if self.url is not None and self.source != "server":
            yield f"tuned.url is given, but tuned.source is {self.source}; expected server"
        yield from address_problems("tuned.url", self.url)
