"""Cases of a classification task (texts in, one label out), and the parser of a free answer.

A row of SNLI and the case that it becomes (`data.labels` is {0: entailment, 1: neutral, 2: contradiction}):

    {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
    Case("a62f0c29d7ef4bd1", {"premise": "A man is feeding two dogs.", "hypothesis": ...}, "entailment")
"""

import re
from collections.abc import Mapping, Sequence

from tunediff.config.data import Data
from tunediff.config.task import Task
from tunediff.data.cases import Case, make_cases
from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.columns import each_row, key_of, tags_of, text_of, value_of

_ENDS = ".,;:!?…\"'`´“”‘’«»)]}。，；：！？"


def labelled_cases(rows: Sequence[Row], task: Task, data: Data) -> list[Case | None]:
    """The case of each row, in the order of the rows; None where the row has no gold label.

    Values of the label column are compared as `tunediff.data.values.value_text` writes them, so that `0` in the
    parameters stands for the "0" of a CSV file too. Rows at fault are reported together.

    Args:
        rows: rows of one source split.
        task: names of the inputs and of the labels.
        data: columns of the source, and what the values of its label column mean.

    Raises:
        TunediffError: a column is missing, a label is unknown, or an input is not text or is empty.
    """
    values = data.labels or {name: name for name in task.labels}
    labels = {key_of(value): label for value, label in values.items()}
    if len(labels) < len(values):
        raise TunediffError(f"data.labels: found {shown(list(values))}, expected values that differ as text")
    unlabelled = {key_of(value) for value in data.unlabelled}

    def example(row: Row) -> tuple[Mapping[str, str], str, Sequence[str]] | None:
        value, *_ = [value_of(row, data.columns[name]) for name in ("label", *task.inputs)]
        if key_of(value) in unlabelled:
            return None
        if key_of(value) not in labels:
            expected = ", ".join(str(key) for key in labels)
            raise TunediffError(
                f"{row.place}: {data.columns['label']}: found {shown(value)}, expected one of {expected}"
                ", or a value that data.unlabelled lists"
            )
        inputs = {name: text_of(row, data.columns[name]) for name in task.inputs}
        return inputs, labels[key_of(value)], tags_of(row)

    examples = each_row(rows, example)
    made = iter(make_cases(example for example in examples if example is not None))
    return [None if example is None else next(made) for example in examples]


def parse_answer(text: str, choices: Mapping[str, str]) -> str | None:
    """The label that a freely generated answer names, or None where it names none.

    An answer counts when it starts with the text of a choice and the choice ends at the end of a word. Letter case,
    surrounding white space and punctuation at the end do not count. Of several choices that fit, such as `not` and
    `not entailed`, the longest is meant.

    >>> parse_answer(" Entailment, because a dog is an animal.", {"e": "entailment", "n": "neutral"})
    'e'

    Args:
        text: the answer as the model gave it.
        choices: the text of each label.
    """
    answer = text.strip().casefold()
    fitting = {label: choice for label, choice in _plain(choices).items() if _starts_with(answer, choice)}
    longest = max(map(len, fitting.values()), default=0)
    named = [label for label, choice in fitting.items() if len(choice) == longest]
    return named[0] if len(named) == 1 else None


def _plain(choices: Mapping[str, str]) -> dict[str, str]:
    folded = {label: choice.strip().casefold() for label, choice in choices.items()}
    # A choice that is nothing but punctuation, such as `+`, stays as it is.
    return {label: choice.rstrip(_ENDS).rstrip() or choice for label, choice in folded.items()}


def _starts_with(answer: str, choice: str) -> bool:
    """Whether `answer` starts with `choice` and no letter, digit or underscore goes on the last word of it."""
    if not choice or not answer.startswith(choice):
        return False
    return not re.fullmatch(r"\w\w", choice[-1] + answer[len(choice) : len(choice) + 1])
