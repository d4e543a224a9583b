"""A task of question answering, its rows and cases."""

from dataclasses import replace

import pytest

from tests import small_tasks
from tunediff.config.data import Data
from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import task_of

CONTEXT = "The dog is in the park. The park is green."
QUESTIONS = task_of(small_tasks.QUESTIONS)
ALL_ANSWERABLE = replace(QUESTIONS, labels=["answerable"])


def section(**changes):
    return Data(
        source="files",
        path="data/raw",
        files={"train": "train.jsonl"},
        columns={"question": "question", "context": "context", "answers": "answers"},
        **{split: {"source": "train"} for split in ("train", "validation", "test")},
        **changes,
    )


def row(texts, given, **changes):
    values = {"question": "Where is the dog?", "context": CONTEXT, "answers": {"text": texts, "answer_start": given}}
    return Row(values | changes, "data/raw/train.jsonl", 12)


def case_of(*arguments, **changes):
    [case] = QUESTIONS.cases([row(*arguments, **changes)], section())
    return case


def error_of(bad, task=QUESTIONS):
    with pytest.raises(TunediffError) as caught:
        task.cases([bad], section())
    [line] = caught.value.args
    assert line.startswith("data/raw/train.jsonl, row 12: ")
    return line.removeprefix("data/raw/train.jsonl, row 12: ")
