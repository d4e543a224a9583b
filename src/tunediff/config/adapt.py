"""Which weights are trained."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tunediff.config.section import LoraTargets, Number, Section, Whole

# Methods that train an adapter.
LORA = ("qlora", "lora")


class Adapt(Section):
    """Which weights are trained."""

    method: Literal["qlora", "lora", "head", "full"] = Field(
        description="LoRA on NF4 weights, LoRA on plain weights, only the new head, or all weights"
    )
    r: Whole | None = Field(default=None, ge=1, description="lora: rank")
    lora_alpha: Number | None = Field(default=None, gt=0, description="lora: scale, divided by r")
    lora_dropout: Number = Field(default=0.0, ge=0, lt=1, description="lora: dropout of the adapter's input")
    target_modules: LoraTargets | None = Field(default=None, description="lora: names of linear layers, or all-linear")

    def _contradictions(self) -> Iterator[str]:
        uses_lora = self.method in LORA
        for key in ("r", "lora_alpha", "target_modules"):
            if (getattr(self, key) is None) == uses_lora:
                yield (
                    f"adapt.{key} goes with adapt.method qlora or lora; found {getattr(self, key)} and {self.method}"
                )
