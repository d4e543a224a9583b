"""What answers: the model in this process, or another engine."""

from pydantic import Field

from tunediff.config.section import Section, Word

# What engine.kind may be; `tunediff.engines.ENGINES` opens each. They stand here so that params.yaml is checked without
# the code of the engines.
KINDS = ["local"]


class EngineSection(Section):
    """What answers the cases."""

    kind: Word = Field(default="local", description="local: transformers in this process")
