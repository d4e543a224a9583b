"""Features of a question and its context: question word, lengths, shared words, position of the answer.

    question  In what country is Normandy located?
    context   The Normans gave their name to Normandy, a region in France. They were ...
    question_word "what", answer_words 1, overlap 0.33, answer_overlap 0.33 (of the sentence with the answer),
    position 0.79

The features reveal models that only match words, and look for the sentence that repeats the question (Weissenborn et
al. 2017, "Making Neural QA as Simple as Possible but not Simpler"; Jia and Liang 2017, "Adversarial Examples").
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tunediff.data.cases import Case
from tunediff.metrics.squad import normalised

SAME_AS = {"whose": "who", "whom": "who"}
QUESTION_WORDS = ("what", "who", "when", "where", "why", "how", "which")
OTHER = "other"

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
# A full stop followed by a space; this wrongly splits at "U.S. Army".
_END = re.compile(r"(?<=[.!?])\s+")


def question_wording(cases: Sequence[Case]) -> pd.DataFrame:
    """Return the features of each question, by case_id, in the order of the cases.

    Returns:
        question_word: the first of `QUESTION_WORDS` in the question, or other. context_words: number of words in the
        context. overlap: share of the question's words in the context, 0..1. Missing if there is no answer or its
        position is unknown: answer_words, number of words in the shortest gold answer; answer_overlap, share of the
        question's words in the sentence with the answer, 0..1; position, relative start of the answer in the context,
        0..1.
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
                "answer_overlap": np.nan if sentence is None else shared(question, context[sentence]),
                "position": np.nan if place is None else place / max(len(context), 1),
            }
        )
    return pd.DataFrame(rows, index=pd.Index([case.case_id for case in cases], name="case_id"))


def question_word(question: str) -> str:
    """Return the first question word of a question."""
    found = (SAME_AS.get(word, word) for word in words(question))
    return next((word for word in found if word in QUESTION_WORDS), OTHER)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.casefold())


def shared(question: str, text: str) -> float:
    """Return the share of the question's words that occur in a text, 0..1; 0 if the question has none."""
    wanted, found = words(question), set(words(text))
    return sum(word in found for word in wanted) / max(len(wanted), 1)


def answer_place(case: Case) -> int | None:
    """Return the start of the first gold answer in the context, in characters; None if unknown."""
    return next((answer.start for answer in case.answers if answer.start is not None), None)


def sentences(text: str) -> Iterator[slice]:
    """Yield the places of the sentences of a text, split at full stops."""
    start = 0
    for end in _END.finditer(text):
        yield slice(start, end.start())
        start = end.end()
    yield slice(start, len(text))


def sentence_at(text: str, place: int) -> slice:
    """Return the place of the sentence at a position."""
    return next((span for span in sentences(text) if place < span.stop), slice(0, len(text)))


def capitalised(question: str, context: str) -> str:
    """Answer a question without a model, with a name or a figure from the sentence most similar to the question.

    The sentence is the one with the largest share of the question's words. The answer is its longest sequence of words
    that begin with a capital letter or a digit and do not occur in the question; of ties, the first. Without such a
    sequence, the answer is the whole sentence.
    """
    spans = [context[span] for span in sentences(context)]
    sentence = max(spans, key=lambda text: shared(question, text))
    in_question = set(words(question))
    runs: list[slice] = []
    joined = False
    for word in _WORD.finditer(sentence):
        named = (word[0][0].isupper() or word[0][0].isdigit()) and word[0].casefold() not in in_question
        if named and joined and not sentence[runs[-1].stop : word.start()].strip():
            runs[-1] = slice(runs[-1].start, word.end())
        elif named:
            runs.append(slice(*word.span()))
        joined = named
    # An article at the start of a sentence is not a name.
    texts = (sentence[run] for run in runs)
    found = max(texts, key=lambda text: len(normalised(text).split()), default="")
    return found if normalised(found) else sentence
