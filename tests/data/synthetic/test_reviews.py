"""The world of reviews: labels that follow from how opinions are put together, beyond what a bag of words knows."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.data.synthetic import reviews
from tunediff.data.synthetic.reviews import Opinion, Review
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.baselines import tfidf_logistic


@pytest.fixture(scope="module")
def world():
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
    ("review", "said", "label"),
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
def test_the_label_follows_from_how_opinions_are_put_together(review, said, label):
    assert reviews.render(review).startswith(said)
    assert reviews.label(review) == label


def test_each_split_has_the_rows_asked_for_and_half_of_each_label(world):
    assert {split: len(rows) for split, rows in world.items()} == {"train": 4000, "validation": 200, "test": 1500}
    for rows in world.values():
        assert set(Counter(row["label"] for row in rows).values()) == {len(rows) // 2}


def test_no_review_occurs_twice_and_none_in_two_splits(world):
    sentences = [row["sentence"] for rows in world.values() for row in rows]
    assert len(set(sentences)) == len(sentences)


@given(seed=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_splits_of_different_seeds_share_no_review_in_any_wording(seed, other):
    held_out = reviews.rows(0, 0, 10, other)["test"]
    said = {judged(row["sentence"]) for row in held_out}
    assert not said & {judged(row["sentence"]) for row in reviews.rows(10, 0, 0, seed)["train"]}


def judged(sentence):
    """What a review judges, and how: its aspects and qualities in their order, whatever words are around them."""
    words = [word for word in (*reviews.ASPECTS, *reviews.GOOD, *reviews.BAD) if word in sentence.lower()]
    return tuple(sorted(words, key=sentence.lower().index))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert reviews.rows(50, 5, 20, seed=3) == reviews.rows(50, 5, 20, seed=3)
    assert reviews.rows(50, 5, 20, seed=3) != reviews.rows(50, 5, 20, seed=4)


def test_every_phenomenon_occurs_with_both_labels_and_no_other_tag(world):
    seen = {(tag, row["label"]) for rows in world.values() for row in rows for tag in row["tags"]}
    assert seen == {(tag, label) for tag in reviews.PHENOMENA for label in reviews.LABELS}


def test_a_bag_of_words_knows_plain_reviews_and_half_of_those_with_negation_and_contrast(world):
    train, test = world["train"], world["test"]
    found = tfidf_logistic(*([row[key] for row in rows] for rows in (train, test) for key in ("sentence", "label")))
    right = {
        tag: [answer == row["label"] for answer, row in zip(found.predictions, test, strict=True) if tag in row["tags"]]
        for tag in reviews.PHENOMENA
    }
    share = {tag: sum(values) / len(values) for tag, values in right.items()}
    assert 0.55 < found.accuracy < 0.78
    assert share["plain"] > 0.8
    assert max(share["negation"], share["contrast"], share["expectation"]) < 0.65


def test_every_review_is_a_line_of_one_or_two_sentences(world):
    for row in world["test"]:
        assert re.fullmatch(r"([A-Z][A-Za-z ]+\. )?[A-Z][A-Za-z ,;:]+\.", row["sentence"])


def test_a_split_beyond_what_the_world_vouches_for_is_refused():
    with pytest.raises(TunediffError, match="reviews: test asks for 50001 rows, expected 0 to 50000"):
        reviews.rows(0, 0, 50_001, 1)


def test_the_text_holds_no_review_of_the_test_or_validation_split(world):
    documents = reviews.text(1500, seed=1)
    said = {judged(line) for document in documents for line in document.split("\n")}
    held_out = {judged(row["sentence"]) for split in ("validation", "test") for row in world[split]}
    assert not said & held_out
    assert documents[:20] == reviews.text(20, seed=1) != reviews.text(20, seed=2)


def test_the_verdict_of_a_document_does_not_depend_on_the_reviews_before_it():
    signed = [d.rsplit("\nIn a word: ", 1) for d in reviews.text(12_000, seed=2) if "In a word" in d]
    train, test = signed[: len(signed) * 3 // 4], signed[len(signed) * 3 // 4 :]
    found = tfidf_logistic(*([pair[i] for pair in pairs] for pairs in (train, test) for i in (0, 1)))
    assert len(test) > 500
    assert 0.42 < found.accuracy < 0.58
