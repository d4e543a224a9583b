import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunediff.data.synthetic import rankings
from tunediff.runtime.errors import TunediffError


def order_of(row):
    """What is compared, and the three names from the first to the last, by the sentences."""
    pairs = re.findall(r"(\w+) is (\w+) than (\w+)\.", row["question"])
    (first, more, _), *_ = [one for one in pairs if one[0] not in {last for *_, last in pairs}]
    followers = {before: after for before, _, after in pairs}
    return more, first, followers[first], followers[followers[first]]


def test_the_right_option_is_the_one_that_follows_from_the_sentences():
    for rows in rankings.rows(200, 40, 80, 1).values():
        for row in rows:
            more, first, middle, last = order_of(row)
            asked = re.search(r"Who is the (\w+)\?", row["question"])[1]
            [(most, least)] = [scale[1:] for scale in rankings.SCALES if scale[0] == more]
            right = {most: first, least: last}[asked]
            assert row["options"]["ABCD".index(row["answer"])] == right
            assert {first, middle, last} < set(row["options"])
            assert len(set(row["options"])) == 4


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_no_three_people_in_one_order_are_shared_between_splits_of_different_seeds(seed, other):
    train = {order_of(row) for row in rankings.rows(200, 1, 1, seed)["train"]}
    assert not train & {order_of(row) for row in rankings.rows(1, 1, 60, other)["test"]}


def test_the_same_seed_gives_the_same_rows_and_every_place_is_right_as_often():
    assert rankings.rows(20, 5, 5, 3) == rankings.rows(20, 5, 5, 3)
    assert rankings.rows(20, 5, 5, 3) != rankings.rows(20, 5, 5, 4)
    counts = Counter(row["answer"] for row in rankings.rows(2000, 1, 1, 1)["train"])
    assert min(counts.values()) > 430
    assert len(rankings.text(30, 1)) == 30


def test_a_split_beyond_what_the_data_set_vouches_for_is_refused():
    with pytest.raises(TunediffError, match="rankings: train: found 50001 rows"):
        rankings.rows(50_001, 1, 1, 1)
