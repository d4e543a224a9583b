import doctest
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.data import values as module
from tunediff.data.values import value_text, verbatim_text


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@given(st.floats(allow_nan=False) | st.integers(-(10**18), 10**18))
def test_a_number_and_what_python_writes_for_it_are_the_same_text(number):
    assert value_text(number) == value_text(repr(number))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_numbers_that_differ_have_texts_that_differ(one, other):
    assert (value_text(one) == value_text(other)) == (one == other)


@pytest.mark.parametrize("text", ["007", "1.10", "0.50", "1e5", "+1", ".5", "1.", "1_000", "nan", "NA", "None", "1,0"])
def test_a_text_that_would_lose_something_as_a_number_stays(text):
    assert value_text(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.00", "1"),
        ("1e+05", "100000"),
        ("-0", "0"),
        (-0.0, "0"),
        (2**53 + 1, "9007199254740993"),
        (1e23, "1" + "0" * 23),
        (np.float32(0.1), "0.1"),
        (Decimal("1.10"), "1.1"),
        (np.bool_(False), "false"),
        ("FALSE", "false"),
        (b"yes", "yes"),
        (float("nan"), None),
        ("  ", None),
    ],
)
def test_values_of_every_type_have_one_text(value, text):
    assert value_text(value) == text


def test_a_list_is_no_value():
    for value in ([1], {"a": 1}, np.array([1]), b"\xff"):
        with pytest.raises(TypeError):
            value_text(value)


def test_a_text_can_be_kept_as_it_stands():
    assert [verbatim_text(value) for value in (" True ", "1.0", 1.0, True, None)] == [
        " True ",
        "1.0",
        "1",
        "true",
        None,
    ]
