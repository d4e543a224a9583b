"""The cost of a net repaired case follows from the interval of the difference, its open end said plainly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.compare.effects.net_repair_cost import figure, per_net_repair, per_net_repair_clause
from tunediff.stats.paired import difference_interval


def test_the_ends_are_those_of_the_difference_in_reverse():
    # 49 repaired, 2 broken of 100: delta 0.47, Tango's interval 0.361 to 0.572; by hand 94 / 47 = 2.
    low, high = difference_interval(49, 2, 100)
    found = per_net_repair(94.0, 100, 0.47, low, high)
    assert found.value == pytest.approx(2.0)
    assert found.low == pytest.approx(0.94 / 0.572, rel=2e-3)
    assert found.high == pytest.approx(0.94 / 0.361, rel=2e-3)
    clause = per_net_repair_clause(found, 0.95, "EUR")
    assert clause == "2.00 EUR per net repaired case, 95% interval 1.64 to 2.60 EUR"


@pytest.mark.parametrize(("repaired", "broken"), [(6, 3), (1, 0)])
def test_an_interval_that_touches_zero_has_no_upper_end(repaired, broken):
    found = per_net_repair(30.0, 100, (repaired - broken) / 100, *difference_interval(repaired, broken, 100))
    assert found.high is None
    assert found.low < found.value
    assert per_net_repair_clause(found, 0.9, "s").endswith(
        "s up, with no upper bound: the interval of the difference includes zero"
    )


@pytest.mark.parametrize(("repaired", "broken"), [(3, 6), (0, 0), (5, 5)])
def test_without_a_net_repair_there_is_a_lower_end_alone(repaired, broken):
    found = per_net_repair(30.0, 100, (repaired - broken) / 100, *difference_interval(repaired, broken, 100))
    assert (found.value, found.high) == (None, None)
    assert found.low > 0
    assert per_net_repair_clause(found, 0.95, "s").startswith("no net repaired case, 95% interval from ")


def test_where_the_model_got_worse_there_is_no_such_cost():
    assert per_net_repair(30.0, 100, -0.3, *difference_interval(0, 30, 100)) is None
    assert "no case was repaired on balance" in per_net_repair_clause(None, 0.95, "s")


def test_no_cases_have_no_cost():
    assert per_net_repair(30.0, 0, 0.0, -1.0, 1.0) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 900), st.floats(0, 1e6))
def test_the_interval_holds_the_value_and_its_ends_give_back_those_of_the_difference(repaired, broken, rest, cost):
    n = repaired + broken + rest + 1
    low, high = difference_interval(repaired, broken, n)
    delta = (repaired - broken) / n
    found = per_net_repair(cost, n, delta, low, high)
    if found is None:
        assert high <= 0
        return
    assert found.low * n * high == pytest.approx(cost)
    assert (found.value is None) == (repaired <= broken)
    if found.high is None:
        assert low <= 0
    else:
        assert found.low <= found.value <= found.high
        assert found.high * n * low == pytest.approx(cost)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234.50"), (1, "1.00"), (0.0123456, "0.0123"), (0, "0"), (0.99, "0.99")]
)
def test_a_small_figure_keeps_three_digits(value, text):
    assert figure(value) == text
