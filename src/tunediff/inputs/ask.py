r"""What a model is asked about each case, as plain data: a task says it, an engine does it, neither knows the other.

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
    """One way to ask, the same for every case of a test set."""

    answer: Literal["choices", "options", "text", "labels", "span"] = Field(
        description="the likeliest choice, the likeliest option of the case, text generated freely, the likeliest "
        "label of a head, a part of the context"
    )
    names: list[str] = Field(default=[], description="what log-probabilities are given to, in their order")
    choices: dict[str, str] = Field(
        default={}, description="the text of each name, scored behind the prompt, also where text is generated"
    )
    unconditional: bool = Field(default=False, description="options: they are scored without a prompt too")
    stop: list[str] = Field(default=[], description="text: what ends it, besides the model's own end marker")

    @property
    def by_head(self) -> bool:
        """Whether a head answers, which writes nothing."""
        return self.answer not in ("choices", "options", "text")

    @property
    def in_words(self) -> bool:
        """Whether an answer is a text of its own, and no choice or label."""
        return self.answer not in ("choices", "options", "labels")
