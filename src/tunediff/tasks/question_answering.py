"""Cases of question answering (question and context in, a part of the context out), and the parser of a free answer.

A row in the hub's layout of SQuAD and the case that it becomes (a repeated gold answer stands once):

    {"id": "56ddde6b9a695914005b9628", "title": "Normans", "context": "The Normans (Norman: ...",
     "question": "In what country is ...", "answers": {"text": ["France", "France"], "answer_start": [159, 159]}}
    Case("CASEID", {"question": "In what country is ...", "context": "The Normans (Norman: ..."}, "answerable", (),
         (Answer("France", 159),))

A question whose lists are empty has the label `unanswerable`.
"""

import string
from collections import Counter
from collections.abc import Sequence

from tunediff.config.data import Data
from tunediff.config.task import ANSWERABLE, UNANSWERABLE, Task
from tunediff.data.cases import Answer, Case, make_cases
from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.columns import checked_text, each_row, key_of, tags_of, text_of, value_of

_LAYOUT = '{"text": [TEXT, ...], "answer_start": [NUMBER, ...]}'


def question_cases(rows: Sequence[Row], task: Task, data: Data) -> list[Case | None]:
    """The case of each row, in the order of the rows; None where the row has no gold label.

    Answers keep their order. One that repeats text and start of another is left out: exact match and F1 take the best
    answer, so a second copy changes nothing. A start at which the answer does not stand in the context, and a missing
    one, is replaced by that of the first occurrence; None where there is none.

    Args:
        rows: rows of one source split.
        task: names of the labels.
        data: columns of the source, and the values that mean: no gold label.

    Raises:
        TunediffError: a column is missing, answers are not in the hub's layout, a text is empty, or a question has no
            answer where `task.labels` has no `unanswerable`.
    """
    unlabelled = {key_of(value) for value in data.unlabelled}

    def example(row: Row) -> tuple[dict[str, str], str, Sequence[str], tuple[Answer, ...]] | None:
        if _is_unlabelled(value_of(row, data.columns["answers"]), unlabelled):
            return None
        answers = _answers(row, task, data)
        inputs = {name: text_of(row, data.columns[name]) for name in task.inputs}
        return inputs, ANSWERABLE if answers else UNANSWERABLE, tags_of(row), answers

    examples = each_row(rows, example)
    made = iter(make_cases(one for one in examples if one is not None))
    return [None if one is None else next(made) for one in examples]


def starts(rows: Sequence[Row], cases: Sequence[Case | None], data: Data) -> dict[str, int]:
    """How the starts of the gold answers came about: {"as given": 20302, "found in the context": 0, ...}.

    Args:
        rows: rows of one source split.
        cases: what `question_cases` made of them.
        data: columns of the source.
    """
    counts = Counter({"as given": 0, "found in the context": 0, "nowhere in the context": 0})
    for row, case in zip(rows, cases, strict=True):
        if case is None:
            continue
        given = set(_pairs(row, data.columns["answers"]))
        for answer in case.answers:
            how = "nowhere in" if answer.start is None else "found in"
            counts["as given" if answer in given and answer.start is not None else f"{how} the context"] += 1
    return dict(counts)


def parse_answer(text: str, labels: Sequence[str]) -> str | None:
    r"""The answer that a freely generated text gives: its first line; None where there is no text.

    Where `labels` has `unanswerable`, that word alone means that there is no answer, which is the empty text. Letter
    case and punctuation around it do not count.

    >>> parse_answer(" in the park\nQuestion: Who", ["answerable"])
    'in the park'
    >>> parse_answer("Unanswerable.", ["answerable", "unanswerable"])
    ''

    Args:
        text: the answer as the model gave it.
        labels: the labels of the task.
    """
    line = text.strip().split("\n")[0].strip()
    if UNANSWERABLE in labels and line.casefold().strip(string.punctuation + string.whitespace) == UNANSWERABLE:
        return ""
    return line or None


def _is_unlabelled(gold: object, unlabelled: set[str | None]) -> bool:
    return not isinstance(gold, dict) and key_of(gold) in unlabelled


def _answers(row: Row, task: Task, data: Data) -> tuple[Answer, ...]:
    context, column = text_of(row, data.columns["context"]), data.columns["answers"]
    placed = [Answer(text, _place(context, text, start)) for text, start in _pairs(row, column)]
    if not placed and UNANSWERABLE not in task.labels:
        raise TunediffError(
            f"{row.place}: {column}: found no answer, but task.labels is {task.labels}; expected an "
            f"answer, or task.labels [{ANSWERABLE}, {UNANSWERABLE}]"
        )
    return tuple(dict.fromkeys(placed))


def _pairs(row: Row, column: str) -> list[tuple[str, int | None]]:
    """Text and start of each gold answer as the row gives them."""
    gold, place = row[column], f"{row.place}: {column}"
    texts = gold.get("text") if isinstance(gold, dict) else None
    given = gold.get("answer_start") if isinstance(gold, dict) else None
    if not isinstance(texts, list) or not (given is None or isinstance(given, list)):
        raise TunediffError(f"{place}: found {shown(gold)}, expected {_LAYOUT}")
    numbers = [None] * len(texts) if given is None else given
    if len(numbers) != len(texts):
        raise TunediffError(f"{place}: found {len(texts)} texts and {len(numbers)} starts, expected as many of each")
    for number in numbers:
        if not (number is None or type(number) is int):
            raise TunediffError(f"{place}: answer_start: found {shown(number)}, expected a whole number")
    return [(checked_text(text, place), number) for text, number in zip(texts, numbers, strict=True)]


def _place(context: str, text: str, start: int | None) -> int | None:
    if start is not None and start >= 0 and context.startswith(text, start):
        return start
    found = context.find(text)
    return None if found < 0 else found
