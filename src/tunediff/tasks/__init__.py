"""Tasks, one module each: cases, grading, and what the comparison of two models needs."""

from collections.abc import Iterable

from tunediff.config.task import TaskSection
from tunediff.tasks.classification import Classification, Inference
from tunediff.tasks.generation import Generation
from tunediff.tasks.multiple_choice import MultipleChoice
from tunediff.tasks.question_answering import QuestionAnswering
from tunediff.tasks.task import Task

# The class of each task name in params.yaml.
TASKS: dict[str, type[Task]] = {
    "nli": Inference,
    "classification": Classification,
    "multiple_choice": MultipleChoice,
    "question_answering": QuestionAnswering,
    "generation": Generation,
}


def task_of(section: TaskSection) -> Task:
    """Return the task described by a section of params.yaml."""
    return TASKS[section.name].from_section(section)


def foreign_task(columns: Iterable[str]) -> Task:
    """Return the task of a prediction file of any origin, inferred from its columns; classification by default.

    Its inputs and labels are unknown.
    """
    found = list(columns)
    special = (kind.from_columns(found) for kind in TASKS.values())
    return next(filter(None, special), Classification("", (), (), "", ""))
