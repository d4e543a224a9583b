"""How a case becomes the model's input."""

from typing import Literal

from pydantic import Field

from tunediff.config.section import LabelName, Section, Whole, Word


class Prompt(Section):
    """How a case becomes the model's input, in training and in both evaluations."""

    template: str | None = Field(
        default=None, description="text with {input} names; none: the tokenizer's own (pair) form, for heads"
    )
    choices: dict[LabelName, str] | None = Field(default=None, description="the answer text of each label")
    stop: list[Word] | None = Field(
        default=None,
        description="texts that end an answer written freely, besides the end marker; none: as the task has it",
    )
    max_tokens: Whole | None = Field(default=None, ge=8, description="longest input; none: the model's context")
    too_long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="a longer input stops the run, or loses the end of its longest field and is counted; a span head "
        "reads a longer context in windows, so this is of its questions alone",
    )
    doc_stride: Whole = Field(
        default=128, ge=0, description="span: tokens of a long context that a window has in common with the one before"
    )
