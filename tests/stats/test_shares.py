import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.stats import shares
from tunediff.stats.intervals import clopper_pearson, wilson
from tunediff.stats.shares import share_interval


def test_the_documented_example_holds():
    assert doctest.testmod(shares).attempted > 0
    assert doctest.testmod(shares).failed == 0


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_without_clusters_it_is_the_plain_interval(flags):
    found = np.array(flags)
    for plain in (wilson, clopper_pearson):
        expected = plain(sum(flags), len(flags), 0.95)
        assert share_interval(found, plain, 0.95, None) == expected
        assert share_interval(found, plain, 0.95, list(range(len(flags)))) == expected


def test_copies_that_are_named_as_clusters_add_nothing():
    flags = np.repeat([True, False], [14, 186])
    low, high = share_interval(np.repeat(flags, 5), clopper_pearson, 0.95, np.repeat(np.arange(200), 5))
    assert (low, high) == pytest.approx(clopper_pearson(14, 200), abs=0.01)
    assert high - low > 1.5 * np.subtract(*reversed(clopper_pearson(70, 1000)))


def test_one_shared_text_says_nothing_and_cases_that_are_all_alike_have_the_width_of_the_texts():
    assert share_interval(np.array([True, False, False]), wilson, 0.95, ["a"] * 3) == (0.0, 1.0)
    for value in (False, True):
        flags = np.full(30, value)
        expected = clopper_pearson(2 * value, 2, 0.95)
        assert share_interval(flags, clopper_pearson, 0.95, list("ab" * 15)) == expected
