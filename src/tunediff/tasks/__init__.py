"""The kinds of tasks. A new one is a file with a subclass of Task, and a line here."""

from tunediff.config.task import TaskSection
from tunediff.tasks.classification import Classification
from tunediff.tasks.question_answering import QuestionAnswering
from tunediff.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "nli": Classification,
    "classification": Classification,
    "question_answering": QuestionAnswering,
}


def task_of(section: TaskSection) -> Task:
    """The task that a section `task` of params.yaml describes."""
    return TASKS[section.name](
        section.name, section.inputs, section.labels, section.source_input, section.partial_input
    )
