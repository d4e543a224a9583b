"""What answers: the model in this process, or another engine."""

from pydantic import Field

from tunediff.config.section import Section, Word


class EngineSection(Section):
    """What answers the cases."""

    kind: Word = Field(default="local", description="local: transformers in this process")
