"""Two tasks with short labels: a pair of sentences, and one sentence."""

from tunediff.sections import Task

PAIR = Task(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=["yes", "no"],
    source_input="premise",
    premise_free_input="hypothesis",
)
ONE = Task(
    name="classification",
    inputs=["sentence"],
    labels=["yes", "no"],
    source_input="sentence",
    premise_free_input="sentence",
)
