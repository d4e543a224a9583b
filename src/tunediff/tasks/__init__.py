"""What a case is in each task, how an answer is graded, and what comparing two models needs; a file each."""

from collections.abc import Iterable

from tunediff.config.task import TaskSection
from tunediff.tasks.classification import Classification, Inference
from tunediff.tasks.question_answering import QuestionAnswering
from tunediff.tasks.task import Task

# The kind of each name in params.yaml.
TASKS: dict[str, type[Task]] = {
    "nli": Inference,
    "classification": Classification,
    "question_answering": QuestionAnswering,
}


def task_of(section: TaskSection) -> Task:
    """The task that a section of params.yaml describes."""
    return TASKS[section.name](
        section.name, section.inputs, section.labels, section.source_input, section.partial_input
    )


def foreign_task(columns: Iterable[str]) -> type[Task]:
    """The kind of task that a prediction file of any origin is of, by the columns that it has: labels, if no other."""
    found = set(columns)
    special = (kind for kind in TASKS.values() if kind.columns and set(kind.columns) <= found)
    return next(special, Classification)
