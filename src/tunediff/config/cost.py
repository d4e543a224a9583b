"""The price of the machine that the stages run on."""

from pydantic import Field

from tunediff.config.section import Number, Section, Word


class Cost(Section):
    """The price of the machine that the stages run on."""

    price_per_hour: Number | None = Field(default=None, ge=0, description="price of the machine, including its GPUs")
    currency: Word = Field(default="USD", description="currency of the price")
