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
from tunediff.tasks.columns import key_of, tags_of, text_of, value_of

_QUOTES = "\"'`´“”„‘’‚«»()[]{}"
_STOPS = ".,;:!?…。，；：！？"
# Before an answer: white space, quotes, brackets, emphasis, and the marks of lists, quotations and headings.
_BEFORE = re.compile(rf"(?:[\s{re.escape(_QUOTES)}*_~]|(?:[-–—•>+]|#+|\d+[.)])(?=\s))*")
# Behind a choice: the end, a line end, or punctuation that does not join it to what comes next, as in 1.5 and no-one.
_BEHIND = re.compile(rf"[^\S\n]*(?:\Z|\n|_+(?!\w)|(?![-'’]\w|[.,:–]\d)[{re.escape(_STOPS + _QUOTES)}*~<–—-])")


def labelled_cases(rows: Sequence[Row], task: Task, data: Data) -> list[Case | None]:
    """The case of each row, in the order of the rows; None where the row has no gold label.

    Values of the label column are compared as text, so that `0` in the parameters stands for the "0" of a CSV file too.

    Args:
        rows: rows of one source split.
        task: names of the inputs and of the labels.
        data: columns of the source, and what the values of its label column mean.

    Raises:
        TunediffError: a column is missing, a label is unknown, or an input is not text or is empty.
    """
    labels = {key_of(value): label for value, label in (data.labels or {name: name for name in task.labels}).items()}
    unlabelled = {key_of(value) for value in data.unlabelled}
    examples: list[tuple[Mapping[str, str], str, Sequence[str]] | None] = []
    for row in rows:
        value, *_ = [value_of(row, data.columns[name]) for name in ("label", *task.inputs)]
        if key_of(value) in unlabelled:
            examples.append(None)
            continue
        if key_of(value) not in labels:
            expected = ", ".join(str(key) for key in labels)
            raise TunediffError(
                f"{row.place}: {data.columns['label']}: found {shown(value)}, expected one of {expected}"
                ", or a value that data.unlabelled lists"
            )
        inputs = {name: text_of(row, data.columns[name]) for name in task.inputs}
        examples.append((inputs, labels[key_of(value)], tags_of(row)))
    made = iter(make_cases(example for example in examples if example is not None))
    return [None if example is None else next(made) for example in examples]


def parse_answer(text: str, choices: Mapping[str, str]) -> str | None:
    """The label that a freely generated answer names, or None where it names none or two (docs/parsing.md).

    An answer counts when it starts with the text of a choice, in any letter case, and the choice is all there is up to
    the end, a line end or punctuation. White space, quotes, brackets, emphasis and list marks before it do not count.
    Of several choices that fit, such as `not` and `not entailed`, the longest is meant.

    >>> choices = {"e": "entailment", "n": "neutral"}
    >>> parse_answer(" **Entailment**, because a dog is an animal.", choices)
    'e'
    >>> parse_answer("neutral ground", choices), parse_answer("entailment, neutral", choices)
    (None, None)

    Args:
        text: the answer as the model gave it.
        choices: the text of each label.
    """
    answer, plain = text.strip().casefold(), _plain(choices)
    named, rest = _first_choice(answer, plain)
    other, _ = _first_choice(rest, plain)
    return named if other in (None, named) else None


def _first_choice(answer: str, choices: Mapping[str, str]) -> tuple[str | None, str]:
    """The label of the choice that the answer starts with, if one alone fits best, and the rest of its line."""
    for start in (answer, _BEFORE.sub("", answer, count=1)):  # a choice may itself start with such marks
        fitting = {label: choice for label, choice in choices.items() if _starts_with(start, choice)}
        if fitting:
            longest = max(map(len, fitting.values()))
            named = [label for label, choice in fitting.items() if len(choice) == longest]
            rest = start[longest:].partition("\n")[0].lstrip(f"{_STOPS}{_QUOTES} <–—-")
            return (named[0] if len(named) == 1 else None), rest
    return None, ""


def _starts_with(answer: str, choice: str) -> bool:
    """Whether `answer` starts with `choice` and nothing goes on with it."""
    return bool(choice) and answer.startswith(choice) and _BEHIND.match(answer, len(choice)) is not None


def _plain(choices: Mapping[str, str]) -> dict[str, str]:
    """The texts of the choices as answers are compared with them."""
    folded = {label: choice.strip().casefold() for label, choice in choices.items()}
    # A choice that is nothing but punctuation stays as it is, and so do the signs of `A*` and `B-`.
    return {label: choice.lstrip(_QUOTES).rstrip(f"{_STOPS}{_QUOTES} ") or choice for label, choice in folded.items()}
