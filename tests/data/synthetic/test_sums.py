import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunediff.data.synthetic import sums
from tunediff.runtime.errors import TunediffError

SIGNS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "x": lambda a, b: a * b}


def worked_out(answer):
    """The sum that an answer works out: two numbers, their sign, the result, and the result in its last line."""
    [first, sign, second, result, last] = re.fullmatch(r"(\d+) ([-+x]) (\d+) = (\d+)\n#### (\d+)", answer).groups()
    return int(first), sign, int(second), int(result), int(last)


def test_the_result_is_that_of_the_sum_in_the_question():
    for rows in sums.rows(200, 40, 80, 1).values():
        for row in rows:
            first, sign, second, result, last = worked_out(row["answer"])
            assert [int(one) for one in re.findall(r"\d+", row["question"])] == [first, second]
            assert result == last == SIGNS[sign](first, second)
            assert row["tags"] == [{"+": "plus", "-": "minus", "x": "times"}[sign]]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_no_sum_is_shared_between_splits_of_different_seeds(seed, other):
    train = {worked_out(row["answer"])[:3] for row in sums.rows(200, 1, 1, seed)["train"]}
    test = {worked_out(row["answer"])[:3] for row in sums.rows(1, 1, 60, other)["test"]}
    assert not train & test


def test_the_same_seed_gives_the_same_rows_and_the_text_no_question_of_the_test_split():
    assert sums.rows(20, 5, 5, 3) == sums.rows(20, 5, 5, 3)
    assert sums.rows(20, 5, 5, 3) != sums.rows(20, 5, 5, 4)
    text = sums.text(300, 1)
    assert len(text) == 300
    asked = {
        tuple(re.findall(r"\d+|gives|loses|sells|boxes", row["question"])) for row in sums.rows(1, 1, 100, 1)["test"]
    }
    assert not asked & {tuple(re.findall(r"\d+|gives|loses|sells|boxes", one)) for one in text}


def test_a_split_beyond_what_the_data_set_vouches_for_is_refused():
    with pytest.raises(TunediffError, match="sums: train: found 50001 rows"):
        sums.rows(50_001, 1, 1, 1)
