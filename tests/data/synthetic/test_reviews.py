"""Synthetic reviews: labels that follow from how opinions are put together, beyond what a bag of words knows."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.data.synthetic import reviews
from tunediff.data.synthetic.reviews import Opinion, Review
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.baselines import tfidf_logistic

PHENOMENA = (*reviews.SINGLE, *reviews.JOINED)


@pytest.fixture(scope="module")
def splits():
    return reviews.rows(train=4000, validation=200, test=1500, seed=1)


def opinion(quality, wording, degree="", aspect="the plot"):
    return Opinion(aspect, quality, degree, wording)


def reviewed(wording, quality, degree=""):
    return Review((opinion(quality, wording, degree),), "", ())


def joined(joint, first, second):
    return Review(
        tuple(
            opinion(quality, "{aspect} is {degree}{quality}", degree) for degree, quality in (("", first), ("", second))
        )
        if isinstance(first, str)
        else (first, second),
        joint,
        (),
    )


@pytest.mark.parametrize(
    ("review", "text", "label"),
    [
        (reviewed("{aspect} is {degree}{quality}", "dull", "very "), "The plot is very dull.", "negative"),
        (reviewed("I would not call {aspect} {quality}", "dull"), "I would not call the plot dull.", "positive"),
        (reviewed("there is nothing {quality} about {aspect}", "funny"), "There is nothing funny about", "negative"),
        (reviewed("nobody would deny that {aspect} is {quality}", "weak"), "Nobody would deny that", "negative"),
        (reviewed("{aspect} could have been {quality}", "clever"), "The plot could have been clever.", "negative"),
        (reviewed("{aspect} was almost {quality}", "silly"), "The plot was almost silly.", "positive"),
        (reviewed("I expected {aspect} to be {quality}, and I was wrong", "fresh"), "I expected the", "negative"),
        (reviewed("I expected {aspect} to be {quality}, and I was right", "fresh"), "I expected the", "positive"),
        (joined("{first}, but {second}", "dull", "funny"), "The plot is dull, but the plot is funny.", "positive"),
        (joined("although {first}, {second}", "dull", "funny"), "Although the plot is dull, the", "positive"),
        (joined("{first}, even though {second}", "dull", "funny"), "The plot is dull, even though", "negative"),
        (joined("never mind that {first}: {second}", "dull", "funny"), "Never mind that the plot", "positive"),
        (joined("{first}, and {second}", "dull", "funny"), "The plot is dull, and the plot is funny.", None),
        (
            joined(
                "{first}, while {second}",
                opinion("dull", "{aspect} is {degree}{quality}", "slightly "),
                opinion("funny", "{aspect} is {degree}{quality}", "extremely "),
            ),
            "The plot is slightly dull, while the plot is extremely funny.",
            "positive",
        ),
        (
            joined(
                "{first}, but {second}",
                opinion("dull", "I would not call {aspect} {quality}"),
                opinion("funny", "{aspect} is anything but {quality}", aspect="the cast"),
            ),
            "I would not call the plot dull, but the cast is anything but funny.",
            "negative",
        ),
    ],
)
def test_the_label_follows_from_how_opinions_are_put_together(review, text, label):
    assert reviews.render(review).startswith(text)
    assert reviews.label(review) == label


def test_each_split_has_the_rows_asked_for_and_half_of_each_label(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 4000, "validation": 200, "test": 1500}
    for rows in splits.values():
        assert set(Counter(row["label"] for row in rows).values()) == {len(rows) // 2}


def test_no_review_occurs_twice_and_none_in_two_splits(splits):
    sentences = [row["sentence"] for rows in splits.values() for row in rows]
    assert len(set(sentences)) == len(sentences)


@given(seed=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_splits_of_different_seeds_share_no_review_in_any_wording(seed, other):
    held_out = reviews.rows(0, 0, 10, other)["test"]
    opinions = {judged(row["sentence"]) for row in held_out}
    assert not opinions & {judged(row["sentence"]) for row in reviews.rows(10, 0, 0, seed)["train"]}


def judged(sentence):
    """What a review judges, and how: its aspects and qualities in their order, whatever words are around them."""
    words = [word for word in (*reviews.ASPECTS, *reviews.GOOD, *reviews.BAD) if word in sentence.lower()]
    return tuple(sorted(words, key=sentence.lower().index))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert reviews.rows(50, 5, 20, seed=3) == reviews.rows(50, 5, 20, seed=3)
    assert reviews.rows(50, 5, 20, seed=3) != reviews.rows(50, 5, 20, seed=4)


def test_every_phenomenon_occurs_with_both_labels_and_no_other_tag(splits):
    seen = {(tag, row["label"]) for rows in splits.values() for row in rows for tag in row["tags"]}
    assert seen == {(tag, label) for tag in PHENOMENA for label in reviews.LABELS}


def test_a_bag_of_words_knows_plain_reviews_and_half_of_those_with_negation_and_contrast(splits):
    train, test = splits["train"], splits["test"]
    texts, labels = ([[row[key] for row in rows] for rows in (train, test)] for key in ("sentence", "label"))
    answers = tfidf_logistic(texts[0], labels[0], texts[1])
    right = {
        tag: [answer == row["label"] for answer, row in zip(answers, test, strict=True) if tag in row["tags"]]
        for tag in PHENOMENA
    }
    share = {tag: sum(values) / len(values) for tag, values in right.items()}
    assert 0.55 < sum(map(str.__eq__, answers, labels[1])) / len(test) < 0.78
    assert share["plain"] > 0.8
    assert max(share["negation"], share["contrast"], share["expectation"]) < 0.65


def test_every_review_is_a_line_of_one_or_two_sentences(splits):
    for row in splits["test"]:
        assert re.fullmatch(r"([A-Z][A-Za-z ]+\. )?[A-Z][A-Za-z ,;:]+\.", row["sentence"])


def test_a_split_beyond_the_largest_is_refused():
    with pytest.raises(TunediffError, match="reviews: test: found 50001 rows, expected 0 to 50000"):
        reviews.rows(0, 0, 50_001, 1)
