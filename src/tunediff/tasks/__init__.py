"""What a case is in each task, and how a free answer is read."""

from collections.abc import Sequence

from tunediff.config.data import Data
from tunediff.config.task import Task
from tunediff.data.cases import Case
from tunediff.data.sources import Row
from tunediff.tasks.classification import labelled_cases
from tunediff.tasks.question_answering import question_cases


def cases_of(rows: Sequence[Row], task: Task, data: Data) -> list[Case | None]:
    """The case of each row of one source split, as the task makes them; None where the row has no gold label.

    Raises:
        TunediffError: a row is not what the task expects.
    """
    make = question_cases if task.name == "question_answering" else labelled_cases
    return make(rows, task, data)
