import pandas as pd
import pytest

from tunediff.tasks.families import Family, each_or_quarters, user_families


def test_few_different_numbers_are_slices_each_and_many_are_cut_into_quarters_of_as_many_cases():
    assert list(each_or_quarters(pd.Series(["1", "3", "2", "1"]))) == ["1", "3", "2", "1"]
    values = each_or_quarters(pd.Series([str(number / 2) for number in range(100)]))
    counts = pd.Series(values).value_counts()
    assert counts.to_dict() == {"0 to 12": 25, "12.5 to 24.5": 25, "25 to 37": 25, "37.5 to 49.5": 25}


def test_where_half_of_the_numbers_are_the_same_there_are_fewer_than_four():
    values = each_or_quarters(pd.Series(["5"] * 60 + [str(number) for number in range(6, 46)]))
    assert pd.Series(values).value_counts().to_dict() == {"5": 60, "6 to 20": 15, "21 to 45": 25}


@pytest.mark.parametrize("odd", ["n/a", "inf", "nan", "twelve"])
def test_a_column_with_a_text_among_its_numbers_has_texts(odd):
    values = [str(number) for number in range(20)] + [odd]
    assert list(each_or_quarters(pd.Series(values))) == values


def test_a_column_that_is_called_as_a_family_of_ours_says_that_it_is_a_column():
    found = user_families(["channel", "label", "length"], [Family("words", "length")])
    assert [family.name for family in found] == ["channel", "column label", "column length"]
    assert len({family.column for family in found} | {"words"}) == 4
