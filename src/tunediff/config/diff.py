"""How the two prediction files are compared."""

from pydantic import Field

from tunediff.config.section import Number, Section, Whole


class Diff(Section):
    """How the two prediction files are compared."""

    confidence: Number = Field(default=0.95, gt=0.5, lt=1, description="confidence level of all intervals")
    slice_min_cases: Whole = Field(default=20, ge=1, description="a slice with fewer test cases is not compared")
    causes_limit: Whole = Field(
        default=200, ge=0, description="maximum number of flips to explain, repaired and broken in turn, clearest first"
    )
