"""What a case is in each task, how an answer is graded, and what comparing two models needs; a file each."""

from collections.abc import Iterable

from tunediff.config.task import TaskSection
from tunediff.tasks.classification import Classification, Inference
from tunediff.tasks.generation import Generation
from tunediff.tasks.multiple_choice import MultipleChoice
from tunediff.tasks.question_answering import QuestionAnswering
from tunediff.tasks.task import Task

# The kind of each name in params.yaml.
TASKS: dict[str, type[Task]] = {
    "nli": Inference,
    "classification": Classification,
    "multiple_choice": MultipleChoice,
    "question_answering": QuestionAnswering,
    "generation": Generation,
}


def task_of(section: TaskSection) -> Task:
    """The task that a section of params.yaml describes."""
    return TASKS[section.name].from_section(section)


def foreign_task(columns: Iterable[str]) -> Task:
    """The task that a prediction file of any origin is of, by the columns that it has: labels, if no other.

    Of its inputs and labels nothing is known.
    """
    found = list(columns)
    special = (kind.from_columns(found) for kind in TASKS.values())
    return next(filter(None, special), Classification("", (), (), "", ""))
