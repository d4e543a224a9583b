"""What a case is: its input fields and its labels."""

from collections.abc import Iterator

from pydantic import Field

from tunediff.config.section import LabelName, Section, Word

# The labels of a question.
ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"

# Names that stand beside the inputs in a record of a case.
RESERVED = frozenset(
    ["case_id", "label", "tags", "answers", "prediction", "transition", "slices", "evidence", "clauses", "explanation"]
    + [f"{model}_{value}" for model in ("base", "tuned") for value in ("prediction", "log_probs", "margin", "f1")]
)


class TaskSection(Section):
    """What a case is: its input fields and its labels."""

    name: Word = Field(description="which task the cases belong to: nli, classification or question_answering")
    inputs: list[Word] = Field(
        min_length=1,
        description="names of a case's input fields, in reading order; question_answering: [question, context]",
    )
    labels: list[LabelName] = Field(
        min_length=1,
        description="the labels, in the order of their scores; question_answering: [answerable], or "
        "[answerable, unanswerable] where a question may have no answer",
    )
    source_input: Word = Field(description="the input whose text cases share (SNLI: premise); splits never share one")
    partial_input: Word = Field(description="the input that the partial-input baseline reads alone")

    def _contradictions(self) -> Iterator[str]:
        for key, values in (("inputs", self.inputs), ("labels", self.labels)):
            if len(set(values)) < len(values):
                yield f"task.{key}: found {values}, expected no name twice"
        for name in [name for name in self.inputs if name in RESERVED]:
            yield f"task.inputs: found '{name}', which names another field of a case, expected another name"
        if "invalid" in self.labels:
            yield "task.labels: found 'invalid', which names an answer without a label, expected another name"
        for key in ("source_input", "partial_input"):
            if getattr(self, key) not in self.inputs:
                yield f"task.{key}: found '{getattr(self, key)}', expected one of task.inputs {self.inputs}"
