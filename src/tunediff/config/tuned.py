"""Where the tuned model comes from."""

from pydantic import Field

from tunediff.config.section import Section, Word


class Tuned(Section):
    """Where the tuned model comes from."""

    source: Word = Field(default="train", description="train: fine-tuned here, by the stage train")
