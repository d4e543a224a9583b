import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_tasks import ONE
from tests.small_tasks import PAIR as TASK
from tunediff.data.cases import make_cases
from tunediff.tasks import wording as module
from tunediff.tasks.wording import RARE, wording


def cases(*pairs):
    return make_cases(({"premise": premise, "hypothesis": hypothesis}, "yes", ()) for premise, hypothesis in pairs)


def described(premise, hypothesis, train=()):
    return wording(cases((premise, hypothesis)), TASK.inputs, "hypothesis", cases(*train)).iloc[0].to_dict()


def test_the_example_of_the_module():
    found = described("A man in a red coat is feeding two dogs.", "A man is not feeding two dogs.")
    assert found == {
        "words": 17,
        "negation": "in hypothesis",
        "number_words": True,
        "overlap": pytest.approx(6 / 7),
        "subsequence": False,
    }


@pytest.mark.parametrize(
    ("premise", "hypothesis", "place"),
    [
        ("It isn't raining.", "It rains.", "in premise"),
        ("It rains.", "It isn’t raining.", "in hypothesis"),
        ("Nobody is out.", "There are no people.", "in premise and hypothesis"),
        ("A knot is tied.", "Nothingness notes.", "none"),
        ("A CAT WITHOUT A HAT", "A cat", "in premise"),
    ],
)
def test_a_negation_is_found_where_it_stands(premise, hypothesis, place):
    assert described(premise, hypothesis)["negation"] == place


@pytest.mark.parametrize(
    ("text", "figure"), [("Three men", True), ("Room 4b", True), ("A someone", False), ("often", False)]
)
def test_figures_and_number_words_are_found(text, figure):
    assert described(text, "x")["number_words"] is figure


@pytest.mark.parametrize(
    ("premise", "hypothesis", "overlap", "subsequence"),
    [
        ("The dog sees the man", "the man sees the dog", 1, False),
        ("The dog sees the man.", "The dog sees", 1, True),
        ("Redness is here", "red", 0, False),
        ("a b", "?!", 0, False),
        ("", "a", 0, False),
    ],
)
def test_overlap_and_subsequence_speak_of_whole_words(premise, hypothesis, overlap, subsequence):
    found = described(premise, hypothesis)
    assert (found["overlap"], found["subsequence"]) == (overlap, subsequence)


def test_words_are_rare_by_the_training_cases_that_have_them():
    train = [("common common", "rare")] + [("common", f"other {i}") for i in range(RARE - 1)]
    assert described("common", "common", train)["rare_words"] == "none"
    assert described("common", "rare", train)["rare_words"] == "rare"
    assert described("rare", "new", train)["rare_words"] == "unseen"


def test_without_training_cases_no_word_is_rare():
    assert "rare_words" not in described("a", "b")


def test_a_task_with_one_input_has_no_overlap():
    found = wording(make_cases([({"sentence": "not bad"}, "yes", ())]), ONE.inputs, "sentence")
    assert list(found) == ["words", "negation", "number_words"]
    assert found["negation"].tolist() == ["in sentence"]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "no", "two", "isn't"]), max_size=5).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12)


@given(PAIRS, PAIRS, st.integers(1, 5))
def test_all_cases_at_once_are_described_as_one_by_one_in_plain_words(pairs, train, chunk):
    rows, size = cases(*pairs), module._CHUNK
    try:
        module._CHUNK = chunk
        found = wording(rows, TASK.inputs, "hypothesis", cases(*train))
    finally:
        module._CHUNK = size
    assert found.index.tolist() == [case.case_id for case in rows]
    seen = [set(f"{p} {h}".split()) for p, h in train]
    for (premise, hypothesis), row in zip(pairs, found.to_dict("records"), strict=True):
        left, right = premise.split(), hypothesis.split()
        assert row["words"] == len(left) + len(right)
        assert row["overlap"] == pytest.approx(sum(word in left for word in right) / max(1, len(right)))
        whole = bool(right) and re.search(rf"(^| ){re.escape(hypothesis)}( |$)", premise) is not None
        assert row["subsequence"] == whole
        assert row["number_words"] == ("two" in left + right)
        fewest = min((sum(word in case for case in seen) for word in left + right), default=RARE)
        assert row["rare_words"] == ("unseen" if fewest == 0 else "rare" if fewest < RARE else "none")
