r"""What a model is asked about each case, as plain data, so that tasks and engines do not depend on each other.

Ask(answer="choices", names=["yes", "no"], choices={"yes": " yes", "no": " no"})     # the likelier text
Ask(answer="options", names=["A", "B"])                                              # the likelier option of the case
Ask(answer="text", stop=["\n"])                                                      # free text, one line
Ask(answer="labels", names=["negative", "positive"])                                 # a classification head
Ask(answer="span", names=["answerable", "unanswerable"])                             # a span head
"""

from typing import Literal

from pydantic import Field

from tunediff.config.section import Section


class Ask(Section):
    """A question to the model, the same for every case of a test set."""

    answer: Literal["choices", "options", "text", "labels", "span"] = Field(
        description="the likeliest choice, the likeliest option of the case, text generated freely, the likeliest "
        "label of a head, a part of the context"
    )
    names: list[str] = Field(default=[], description="names of the log-probabilities, in their order")
    choices: dict[str, str] = Field(
        default={}, description="text of each name, scored after the prompt even if text is generated"
    )
    unconditional: bool = Field(default=False, description="options: whether they are also scored without a prompt")
    stop: list[str] = Field(default=[], description="text: texts that end generation, besides the end marker")

    @property
    def by_head(self) -> bool:
        """Whether a classification or span head answers."""
        return self.answer not in ("choices", "options", "text")

    @property
    def in_words(self) -> bool:
        """Whether an answer is free text and not one of given choices or labels."""
        return self.answer not in ("choices", "options", "labels")
