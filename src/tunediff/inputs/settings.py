"""What the prediction stages depend on of params.yaml: the model, the engine, and how each test set is asked."""

from typing import Any

from pydantic import Field

from tunediff.config.engine import EngineSection
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.section import Section, Whole
from tunediff.config.settings import MachineSettings
from tunediff.inputs.ask import Ask

# The test set that the headline is about, and the split that the examples of few-shot prompts are drawn from.
HEADLINE, VALIDATION = "test", "validation"


class CaseSet(Section):
    """A named test set as it is asked."""

    inputs: list[str] = Field(description="names of a case's input fields, in reading order")
    labels: list[str] = Field(description="the labels that a case may have")
    partial_input: str = Field(description="the input that the partial-input prompt has alone")
    prompt: Prompt = Field(description="how a case becomes the model's input")
    ask: Ask = Field(description="what the model is asked about it")
    max_new_tokens: Whole | None = Field(
        default=None, description="longest generated answer; none: as in section evaluate"
    )


class PredictSettings(Section):
    """What predict_base or predict_tuned depends on."""

    model: Model
    engine: EngineSection = EngineSection()
    evaluate: Evaluate
    sets: dict[str, CaseSet] = Field(description="by name; the headline is about the one called test")
    validate_too: bool = Field(default=False, description="the validation split is asked too, as the test set is")

    def on(self, machine: MachineSettings) -> "PredictSettings":
        """With what says how an engine is asked and changes no answer."""
        engine = EngineSection.model_validate({**self.engine.model_dump(), **machine.engine})
        return self.model_copy(update={"engine": engine})

    def with_head(self, seed: int) -> "PredictSettings":
        """How the headline's test set alone is asked of the same base with another new head, in no other setting."""
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
        """The test set that the headline is about; the validation split is asked as it is."""
        return self.sets[HEADLINE]
