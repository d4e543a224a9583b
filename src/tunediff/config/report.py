"""What the report shows."""

from pydantic import Field

from tunediff.config.section import Section, Whole, Word


class Report(Section):
    """What the report shows."""

    title: Word = Field(default="What fine-tuning changed", description="heading of the report")
    cases_per_transition: Whole = Field(default=5, ge=1, description="example cases of each transition")
