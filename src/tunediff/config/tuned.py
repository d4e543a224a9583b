"""Where the tuned model comes from."""

from pydantic import Field

from tunediff.config.section import Section, Word

# What tuned.source may be; `tunediff.models.tuned.TUNED_SOURCES` pins all but `train`.
TUNED = ["train"]


class Tuned(Section):
    """Where the tuned model comes from."""

    source: Word = Field(default="train", description="train: fine-tuned here, by the stage train")
