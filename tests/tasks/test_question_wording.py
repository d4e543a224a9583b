import pytest

from tests.made_answers import made_questions
from tunediff.data.cases import Answer, Case
from tunediff.tasks.question_wording import (
    capitalised,
    question_word,
    question_wording,
    sentence_at,
    sentences,
    shared,
)

NORMANS = (
    "The Normans gave their name to Normandy, a region in France. They were descended from Norse raiders. "
    "Their leader Rollo swore fealty to King Charles III of West Francia."
)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("In what country is Normandy?", "what"),
        ("WHOSE king was Rollo's?", "who"),
        ("The Normans came from where?", "where"),
        ("How many were there, and when?", "how"),
        ("Is it a region?", "other"),
        ("", "other"),
    ],
)
def test_the_question_word_is_the_first_that_stands_in_the_question(question, word):
    assert question_word(question) == word


def test_sentences_cover_the_text_and_a_place_is_in_one_of_them():
    spans = list(sentences(NORMANS))
    assert [NORMANS[span].split()[0] for span in spans] == ["The", "They", "Their"]
    for place, char in enumerate(NORMANS):
        span = sentence_at(NORMANS, place)
        assert span.start <= place < span.stop or char == " "
    assert list(sentences("")) == [slice(0, 0)]


def test_the_wording_of_a_question_counts_what_stands_where():
    answer = Answer("King Charles III", NORMANS.index("King"))
    longer = Answer("King Charles III of West Francia", answer.start)
    case = Case(
        "c", {"question": "To whom did Rollo swear fealty?", "context": NORMANS}, "answerable", (), (longer, answer)
    )
    [row] = question_wording([case]).to_dict("records")
    assert row["question_word"] == "who"
    assert row["answer_words"] == 3  # of the shortest answer
    assert row["context_words"] == len(NORMANS.split())
    assert row["overlap"] == pytest.approx(3 / 6)  # to, rollo, fealty
    assert row["answer_overlap"] == pytest.approx(3 / 6)
    assert row["position"] == pytest.approx(answer.start / len(NORMANS))


def test_what_a_question_without_an_answer_has_not_is_missing():
    none = question_wording([case for case in made_questions(8, "test") if not case.answers])
    assert none[["answer_words", "answer_overlap", "position"]].isna().all(axis=None)
    nowhere = Case("c", {"question": "Who?", "context": NORMANS}, "answerable", (), (Answer("Rollo", None),))
    row = question_wording([nowhere]).iloc[0]
    assert (row["answer_words"], row["position"] != row["position"]) == (1, True)


def test_the_cheap_answer_is_the_longest_name_of_the_likeliest_sentence():
    assert capitalised("To whom did Rollo swear fealty?", NORMANS) == "King Charles III"
    # Words of the question are no answer, nor is an article that begins the sentence.
    assert capitalised("In what country is Normandy?", "The region of Normandy is in France.") == "France"
    assert capitalised("What were they?", "They were descended from raiders.") == "They were descended from raiders."
    assert shared("what were they?", "They were raiders.") == pytest.approx(2 / 3)
