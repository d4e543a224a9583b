"""Settings of the prediction stages: the model, the engine, and the prompt of each test set."""

from typing import Any

from pydantic import Field

from tunediff.config.engine import EngineSection
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.section import Section, Whole
from tunediff.config.settings import MachineSettings
from tunediff.inputs.ask import Ask

# The test set of the headline, and the split that few-shot examples are drawn from.
HEADLINE, VALIDATION = "test", "validation"


class CaseSet(Section):
    """How the cases of a test set are asked."""

    inputs: list[str] = Field(description="names of a case's input fields, in reading order")
    labels: list[str] = Field(description="the labels that a case may have")
    partial_input: str = Field(description="the only input of the partial-input prompt")
    prompt: Prompt = Field(description="how a case becomes the model's input")
    ask: Ask = Field(description="what the model is asked about a case")
    max_new_tokens: Whole | None = Field(
        default=None, description="maximum tokens of a generated answer; none: evaluate.max_new_tokens"
    )


class PredictSettings(Section):
    """Settings of the stages predict_base and predict_tuned."""

    model: Model
    engine: EngineSection = EngineSection()
    evaluate: Evaluate
    sets: dict[str, CaseSet] = Field(description="test sets by name; the headline is about the one called test")
    validate_too: bool = Field(default=False, description="whether the validation split is asked like the test set")

    def on(self, machine: MachineSettings) -> "PredictSettings":
        """Return these settings with the settings of the engine that belong to the machine."""
        engine = EngineSection.model_validate({**self.engine.model_dump(), **machine.engine})
        return self.model_copy(update={"engine": engine})

    def with_head(self, seed: int) -> "PredictSettings":
        """Return the settings for another new head on the same base, with only the headline's test set."""
        quiet: dict[str, Any] = {"settings": [], "noise_batch_tokens": None, "noise_seed": None, "few_shot": 0}
        return self.model_copy(
            update={
                "model": self.model.model_copy(update={"head_seed": seed}),
                "evaluate": self.evaluate.model_copy(update=quiet),
                "sets": {HEADLINE: self.headline},
                "validate_too": False,
            }
        )

    @property
    def headline(self) -> CaseSet:
        """The test set of the headline; the validation split is asked in the same way."""
        return self.sets[HEADLINE]
