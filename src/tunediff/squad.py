"""SQuAD: exact match and token F1 of each question, as the official scripts of versions 1.1 and 2.0 compute them.

    >>> normalised("The  Eiffel Tower!")
    'eiffel tower'
    >>> exact_match(["Eiffel Tower", "tower"], "the eiffel tower."), token_f1(["Eiffel Tower"], "a tower")
    (1, 0.6666666666666666)
    >>> exact_match([], ""), token_f1([], "Paris")           # a question without an answer
    (1, 0.0)

Both versions score a question by its best reference (Rajpurkar et al. 2016, 2018). They part where texts are empty
once normalised: 2.0 has questions without an answer, which only an empty prediction gets right.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """Lower case, without punctuation, without articles, words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], prediction: str) -> int:
    """1 where the prediction, normalised, is one of the answers, else 0. No answer: 1 where the prediction is empty."""
    found = normalised(prediction)
    return int(any(normalised(answer) == found for answer in _references(answers)))


def token_f1(answers: Sequence[str], prediction: str) -> float:
    """The best F1 of shared words between the prediction and an answer, in 0..1."""
    found = normalised(prediction).split()
    return max(_f1(normalised(answer).split(), found) for answer in _references(answers))


def _references(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalised(answer)] or [""]


def _f1(answer: list[str], prediction: list[str]) -> float:
    if not answer or not prediction:
        return float(answer == prediction)
    shared = sum((Counter(answer) & Counter(prediction)).values())
    # Precision and recall first, as the official scripts do: another order differs in the last digit.
    precision, recall = shared / len(prediction), shared / len(answer)
    return 2 * precision * recall / (precision + recall) if shared else 0.0
