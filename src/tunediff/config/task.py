"""The task: its input fields and labels, and how free-text answers are graded."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tunediff.config.grade import Grade
from tunediff.config.section import LabelName, Section, Word

# The labels of a question, and the only label of a case with a free-text answer.
ANSWERABLE, UNANSWERABLE, ANSWER = "answerable", "unanswerable", "answer"

# Fields that a record of a case has besides the inputs.
RESERVED = frozenset(
    ["case_id", "label", "tags", "answers", "options", "prediction", "transition", "slices"]
    + ["evidence", "clauses", "explanation"]
    + [f"{model}_{value}" for model in ("base", "tuned") for value in ("prediction", "log_probs", "margin", "f1")]
)
# Prefixes of further fields with numbers per case.
NUMBERS = ("score_", "trait_")


def _expand_short_forms(value: object) -> object:
    """Expand the short forms: a single grade to a list, and a bare name to `{by: NAME}`."""
    grades = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(grades, list):
        return grades
    return [{"by": grade} if isinstance(grade, str) else grade for grade in grades]


class TaskSection(Section):
    """The task: its input fields and labels, and how free-text answers are graded."""

    name: Word = Field(
        description="kind of task: nli, classification, multiple_choice, question_answering or generation"
    )
    inputs: list[Word] = Field(
        min_length=1,
        description="names of a case's input fields, in reading order; question_answering: [question, context]",
    )
    labels: list[LabelName] = Field(
        min_length=1,
        description="the labels, in the order of their scores; question_answering: [answerable], or "
        "[answerable, unanswerable] if a question may have no answer; generation: [answer]; multiple_choice: a name "
        "for each position of an option, such as [A, B, C, D]",
    )
    source_input: Word = Field(
        description="the input whose text several cases share (SNLI: premise); no two splits share such a text"
    )
    partial_input: Word = Field(description="the only input that the partial-input baseline reads")
    grade: Annotated[list[Grade], BeforeValidator(_expand_short_forms)] = Field(
        default=[],
        description="generation: one or more grades; the first decides what is right, the others are compared as well",
    )

    option_score: Literal["sum", "token", "character", "byte", "unconditional"] = Field(
        default="sum",
        description="multiple_choice: the log-likelihood by which an option is chosen: total, per token, character or "
        "byte of the option, or minus its log-likelihood without a prompt; the other scores are compared as well",
    )

    def _contradictions(self) -> Iterator[str]:
        for key, values in (("inputs", self.inputs), ("labels", self.labels)):
            if len(set(values)) < len(values):
                yield f"task.{key}: found {values}, expected distinct names"
        numbers = tuple(f"{model}{prefix}" for model in ("", "base_", "tuned_") for prefix in NUMBERS)
        for name in [name for name in self.inputs if name in RESERVED or name.startswith(numbers)]:
            yield f"task.inputs: found '{name}', which is another field of a case, expected another name"
        if "invalid" in self.labels:
            yield "task.labels: found 'invalid', which stands for an answer without a label, expected another name"
        for key in ("source_input", "partial_input"):
            if getattr(self, key) not in self.inputs:
                yield f"task.{key}: found '{getattr(self, key)}', expected one of task.inputs {self.inputs}"
