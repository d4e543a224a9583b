"""Small tasks: a pair of sentences and one sentence, with short labels, and questions."""

from tunediff.config.task import TaskSection

PAIR = TaskSection(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=["yes", "no"],
    source_input="premise",
    partial_input="hypothesis",
)
ONE = TaskSection(
    name="classification",
    inputs=["sentence"],
    labels=["yes", "no"],
    source_input="sentence",
    partial_input="sentence",
)
QUESTIONS = TaskSection(
    name="question_answering",
    inputs=["question", "context"],
    labels=["answerable", "unanswerable"],
    source_input="context",
    partial_input="question",
)
