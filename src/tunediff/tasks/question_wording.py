"""What a question and its paragraph look like: the question word, lengths, shared words, where the answer stands.

    question  In what country is Normandy located?
    context   The Normans gave their name to Normandy, a region in France. They were ...
    question_word "what", answer_words 1, overlap 0.33, answer_overlap 0.33 (of the sentence with the answer),
    position 0.79

Models that match words look for the sentence that repeats the question (Weissenborn et al. 2017, "Making Neural QA as
Simple as Possible but not Simpler"; Jia and Liang 2017, "Adversarial Examples"); these are the features that show it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tunediff.data.cases import Case
from tunediff.metrics.squad import normalised

SAME_AS = {"whose": "who", "whom": "who"}
QUESTION_WORDS = ("what", "who", "when", "where", "why", "how", "which")
OTHER = "other"

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
# A full stop after which a space follows; one inside of "U.S. Army" ends a sentence too early.
_END = re.compile(r"(?<=[.!?])\s+")


class Extent(NamedTuple):
    """A part of a text, from one place to another in characters."""

    start: int
    end: int


def question_wording(cases: Sequence[Case]) -> pd.DataFrame:
    """Return what each question looks like, by case_id, in the order of the cases.

    Returns:
        question_word: one of `QUESTION_WORDS`, the first that stands in the question, or other. context_words: of the
        context. overlap: share of the question's words that stand in the context, 0..1. And missing where there is no
        answer, or nobody said where it stands: answer_words, of the shortest gold answer; answer_overlap: share of the
        question's words that stand in the sentence with the answer, 0..1; position: where in the context the answer
        starts, 0..1.
    """
    rows = []
    for case in cases:
        question, context = case.inputs["question"], case.inputs["context"]
        place = answer_place(case)
        sentence = None if place is None else sentence_at(context, place)
        lengths = [len(answer.text.split()) for answer in case.answers]
        rows.append(
            {
                "question_word": question_word(question),
                "context_words": len(words(context)),
                "overlap": shared(question, context),
                "answer_words": min(lengths) if lengths else np.nan,
                "answer_overlap": np.nan if sentence is None else shared(question, context[slice(*sentence)]),
                "position": np.nan if place is None else place / max(len(context), 1),
            }
        )
    return pd.DataFrame(rows, index=pd.Index([case.case_id for case in cases], name="case_id"))


def question_word(question: str) -> str:
    """Return the first question word of a question."""
    found = (SAME_AS.get(word, word) for word in words(question))
    return next((word for word in found if word in QUESTION_WORDS), OTHER)


def words(text: str) -> list[str]:
    """Return the words of a text, without regard to case."""
    return _WORD.findall(text.casefold())


def shared(question: str, text: str) -> float:
    """Return the share of the question's words that stand in a text, 0..1; 0 where the question has none."""
    wanted, found = words(question), set(words(text))
    return sum(word in found for word in wanted) / max(len(wanted), 1)


def answer_place(case: Case) -> int | None:
    """Return where the first gold answer starts in the context, in characters; None where there is no place."""
    return next((answer.start for answer in case.answers if answer.start is not None), None)


def sentences(text: str) -> Iterator[Extent]:
    """Yield the sentences of a text, as far as full stops tell."""
    start = 0
    for end in _END.finditer(text):
        yield Extent(start, end.start())
        start = end.end()
    yield Extent(start, len(text))


def sentence_at(text: str, place: int) -> Extent:
    """Return the sentence that holds a place."""
    return next((span for span in sentences(text) if place < span.end), Extent(0, len(text)))


def capitalised(question: str, context: str) -> str:
    """Answer a question without a model: a name or a figure out of the sentence that is most like the question.

    The sentence is the one with the largest share of the question's words; of it, the longest run of words that begin
    with a capital letter or a digit and do not stand in the question; of equals, the first. A sentence without such a
    run is the answer itself.
    """
    spans = [context[slice(*span)] for span in sentences(context)]
    sentence = max(spans, key=lambda text: shared(question, text))
    in_question = set(words(question))
    runs: list[Extent] = []
    joined = False
    for word in _WORD.finditer(sentence):
        named = (word[0][0].isupper() or word[0][0].isdigit()) and word[0].casefold() not in in_question
        if named and joined and not sentence[runs[-1].end : word.start()].strip():
            runs[-1] = Extent(runs[-1].start, word.end())
        elif named:
            runs.append(Extent(*word.span()))
        joined = named
    # An article at the start of a sentence is no name.
    texts = (sentence[slice(*run)] for run in runs)
    found = max(texts, key=lambda text: len(normalised(text).split()), default="")
    return found if normalised(found) else sentence
