"""Synthetic captions: labels that follow from sets, splits that share no premise, text that answers nothing."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bag_of_words
from tunediff.data.leaks import nearly_equal
from tunediff.data.synthetic import captions, lexicon, scenes, stories
from tunediff.runtime.errors import TunediffError

PHENOMENA = {
    *("hypernym", "hyponym", "noun_swapped", "modifier_dropped", "modifier_added", "colour_swapped", "quantifier"),
    *(
        "count_swapped",
        "detail_dropped",
        "unsupported_detail",
        "activity",
        "place",
        "voice",
        "role_swapped",
        "negation",
    ),
}


@pytest.fixture(scope="module")
def splits():
    return captions.rows(train=6000, validation=300, test=1200, seed=1)


@pytest.fixture(scope="module")
def documents():
    return stories.text(3000, seed=1)


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ({"noun": "man"}, {"noun": "person"}, "entailment"),
        ({"noun": "person"}, {"noun": "man"}, "neutral"),
        ({"noun": "man"}, {"noun": "woman"}, "contradiction"),
        ({"number": "three"}, {"number": "some"}, "entailment"),
        ({"number": "some"}, {"number": "three"}, "neutral"),
        ({"number": "two"}, {"number": "three"}, "contradiction"),
        ({"colour": "black"}, {"colour": "white"}, "contradiction"),
        ({"noun": "dog", "colour": "black"}, {"noun": "dog"}, "entailment"),
        ({"noun": "dog"}, {"noun": "dog", "colour": "black"}, "neutral"),
        ({"activity": "running"}, {"activity": "moving"}, "entailment"),
        ({"activity": "reading a book"}, {"activity": "reading"}, "entailment"),
        ({"activity": "reading a book"}, {"activity": "sitting"}, "neutral"),
        ({"activity": "sitting"}, {"activity": "standing"}, "contradiction"),
        ({"activity": "chasing"}, {"activity": "feeding"}, "contradiction"),
        ({"activity": "sitting"}, {"activity": "not running"}, "entailment"),
        ({"activity": "not running"}, {"activity": "sitting"}, "neutral"),
        ({"activity": "not moving"}, {"activity": "running"}, "contradiction"),
        ({"place": "in the park"}, {"place": "outdoors"}, "entailment"),
        ({"place": "outdoors"}, {"place": "in the kitchen"}, "contradiction"),
        ({"place": "in the park"}, {"place": "not indoors"}, "entailment"),
        ({"noun": "man", "patient": "dog"}, {"noun": "dog", "patient": "man"}, "contradiction"),
        ({"noun": "dog", "colour": "black"}, {"noun": "animal", "colour": "white"}, "contradiction"),
    ],
)
def test_the_label_follows_from_what_each_word_allows(premise, hypothesis, label):
    assert scenes.label(premise, hypothesis) == label


@pytest.mark.slow
def test_each_split_has_the_rows_asked_for_and_a_third_of_each_label(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 6000, "validation": 300, "test": 1200}
    for rows in splits.values():
        assert set(Counter(row["label"] for row in rows).values()) == {len(rows) // 3}


@pytest.mark.slow
def test_no_case_occurs_twice(splits):
    pairs = [(row["premise"], row["hypothesis"]) for rows in splits.values() for row in rows]
    assert len(set(pairs)) == len(pairs)


def test_no_premise_is_shared_between_splits(splits):
    premises = [{row["premise"] for row in rows} for rows in splits.values()]
    assert all(premises)
    assert len(set.union(*premises)) == sum(len(split) for split in premises)


def test_no_training_row_is_a_near_duplicate_of_a_validation_or_test_row(splits):
    pairs = {split: [(row["premise"], row["hypothesis"]) for row in rows] for split, rows in splits.items()}
    for split in ("validation", "test"):
        assert nearly_equal(pairs[split], pairs["train"]) == {}
    # So it would be without drawing again.
    alone = captions.rows(6000, 0, 0, seed=1)["train"]
    assert len(nearly_equal(pairs["test"], [(row["premise"], row["hypothesis"]) for row in alone])) > 50


@given(seed=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_no_premise_is_shared_between_splits_of_different_seeds(seed, other):
    train, test = captions.rows(20, 0, 0, seed)["train"], captions.rows(0, 0, 20, other)["test"]
    assert not {row["premise"] for row in train} & {row["premise"] for row in test}


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert captions.rows(50, 5, 20, seed=3) == captions.rows(50, 5, 20, seed=3)
    assert captions.rows(50, 5, 20, seed=3) != captions.rows(50, 5, 20, seed=4)


def test_every_phenomenon_occurs_and_no_other_tag(splits):
    assert {tag for rows in splits.values() for row in rows for tag in row["tags"]} == PHENOMENA


@pytest.mark.parametrize(
    ("tag", "labels"),
    [
        ("hypernym", {"entailment"}),
        ("modifier_dropped", {"entailment"}),
        ("modifier_added", {"neutral"}),
        ("unsupported_detail", {"neutral"}),
        ("colour_swapped", {"contradiction"}),
        ("count_swapped", {"contradiction"}),
        ("role_swapped", {"contradiction"}),
        ("voice", {"entailment"}),
        ("negation", {"entailment", "neutral", "contradiction"}),
    ],
)
def test_a_phenomenon_goes_with_the_labels_it_can_have(splits, tag, labels):
    assert {row["label"] for row in splits["train"] if tag in row["tags"]} == labels


def test_every_sentence_is_one_line_with_a_capital_and_a_full_stop(splits):
    for row in splits["test"]:
        for sentence in (row["premise"], row["hypothesis"]):
            assert re.fullmatch(r"[A-Z][a-z ,]+\.", sentence)


def test_an_indefinite_article_fits_the_word_after_it(splits):
    for row in splits["train"]:
        for article, word in re.findall(r"\b(an?) (\w+)", row["premise"], re.IGNORECASE):
            assert (article.lower() == "an") == (word[0] in "aeiou")


def test_the_hypothesis_alone_says_nothing_about_the_label(splits):
    train, test = splits["train"], splits["test"]
    found = bag_of_words.accuracy(
        *([row[key] for row in rows] for rows in (train, test) for key in ("hypothesis", "label"))
    )
    assert found < 0.40


def test_a_split_beyond_the_largest_is_refused():
    with pytest.raises(TunediffError, match="captions: train: found 50001 rows, expected 0 to 50000"):
        captions.rows(50_001, 0, 0, 1)


def test_the_text_holds_no_premise_of_the_test_or_validation_split(splits, documents):
    lines = {line.removeprefix("Both: ") for document in documents for line in document.split("\n")}
    held_out = {row["premise"] for split in ("validation", "test") for row in splits[split]}
    assert not lines & held_out


@pytest.mark.slow
def test_what_a_sign_says_does_not_depend_on_the_captions_before_it(documents):
    signed = [d.rsplit("\n", 1) for d in stories.text(20_000, seed=2) if "A sign says" in d]
    train, test = signed[: len(signed) * 3 // 4], signed[len(signed) * 3 // 4 :]
    found = bag_of_words.accuracy(*([pair[i] for pair in pairs] for pairs in (train, test) for i in (0, 1)))
    assert len(test) > 500
    assert 0.26 < found < 0.41


def test_a_document_has_three_lines_and_the_same_seed_gives_the_same(documents):
    assert all(len(document.split("\n")) == 3 for document in documents)
    assert stories.text(100, seed=5) == stories.text(100, seed=5) != stories.text(100, seed=6)


def test_a_caption_of_both_pictures_says_nothing_that_one_of_them_rules_out(documents):
    numbers = {f"{n} " for n in lexicon.NUMBERS if n not in ("one", "some")}
    seen = 0
    for document in documents:
        *pictures, both = document.split("\n")
        for number in numbers:
            if both.startswith(f"Both: {number.capitalize()}"):
                seen += 1
                assert all(number in picture.lower() for picture in pictures)
    assert seen > 50
