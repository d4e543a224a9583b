"""How a model answers a case."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tunediff.config.section import Section, Seed, Whole, Word


class Evaluate(Section):
    """How a model answers a case."""

    scoring_method: Literal["choices", "generation", "head"] = Field(
        description="most likely choice after the prompt, text generated freely and parsed, or the model's new head"
    )
    batch_tokens: Whole = Field(default=8192, ge=1, description="tokens per batch; halved if memory runs out")
    num_processes: Whole = Field(
        default=1, ge=1, description="processes on all hosts, one per GPU; they share the cases"
    )
    workers: Whole | None = Field(
        default=None,
        ge=1,
        description="engines that Ray distributes the cases to, on this host or a cluster (pip install "
        "'.[ray]'); none: the processes of num_processes answer",
    )
    max_new_tokens: Whole = Field(default=8, ge=1, description="generation: maximum tokens of an answer")
    max_answer_tokens: Whole = Field(default=30, ge=1, description="span: maximum tokens of an answer")
    settings: list[Literal["generation", "partial_input"]] = Field(
        default=[],
        description="evaluation settings besides the scoring method: generated text, and the partial input alone",
    )
    noise_batch_tokens: Whole | None = Field(
        default=None, ge=1, description="tokens per batch when the base model is evaluated again; none: it is not"
    )
    noise_seed: Seed | None = Field(
        default=None, description="seed of a second new head to evaluate the base model with; none: no second head"
    )
    metrics: list[Word] = Field(
        default=[],
        description="modules for `evaluate.load`: folders, or names on the hub; their code runs here; their values "
        "are added to the metrics as evaluate_NAME_KEY",
    )
    few_shot: Whole = Field(
        default=0,
        ge=0,
        description="solved validation cases prepended to the prompt of a trivial baseline; 0: no such baseline",
    )

    def _contradictions(self) -> Iterator[str]:
        if len(set(self.settings)) < len(self.settings):
            yield f"evaluate.settings: found {self.settings}, expected distinct names"
        if len(set(self.metrics)) < len(self.metrics):
            yield f"evaluate.metrics: found {self.metrics}, expected distinct names"
        if self.workers is not None and self.num_processes > 1:
            yield (
                f"evaluate.workers is {self.workers}, but evaluate.num_processes is {self.num_processes}; expected "
                "only one of them: Ray starts its workers itself"
            )
        if self.noise_batch_tokens == self.batch_tokens:
            yield (
                f"evaluate.noise_batch_tokens is {self.noise_batch_tokens}, and so is evaluate.batch_tokens: "
                "identical batches show no noise; expected another number"
            )
