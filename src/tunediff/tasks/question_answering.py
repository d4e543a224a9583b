"""Answers to questions, as a language model writes them.

>>> parse_answer(" in the park", ["answerable", "unanswerable"])
'in the park'
>>> parse_answer(" Unanswerable.", ["answerable", "unanswerable"])
''
"""

from collections.abc import Sequence

from tunediff.sections import UNANSWERABLE


def parse_answer(text: str, labels: Sequence[str]) -> str | None:
    """The answer that a text gives: empty where it says that there is none, None where it says nothing.

    Args:
        text: the answer as the model gave it.
        labels: the labels of the task; without `unanswerable` every text is an answer.
    """
    answer = text.strip().partition("\n")[0].strip()
    if UNANSWERABLE in labels and answer.strip(".").casefold() == UNANSWERABLE:
        return ""
    return answer or None
