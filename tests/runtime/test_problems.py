import pytest

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.problems import MAX_KINDS, Problems


def lines(problems):
    with pytest.raises(TunediffError) as error:
        problems.check()
    return list(error.value.args)


def test_each_kind_is_a_line_with_its_count_and_first_rows():
    problems = Problems("a.csv")
    problems.check()
    for row in (3, "4 (line 9)", 5, 6):
        problems.add(row, f"label: found {row!r}, expected yes or no", kind="label")
    problems.add(8, "text: found nothing")
    assert len(problems) == 5
    assert lines(problems) == [
        "a.csv, row 3: label: found 3, expected yes or no; 4 such rows (3, 4 (line 9), 5, ...)",
        "a.csv, row 8: text: found nothing",
    ]


def test_a_place_with_a_name_of_its_own_is_named_by_it():
    problems = Problems("dev.json")
    problems.add("article 1, question 2", "answers: found 3")
    assert lines(problems) == ["dev.json, article 1, question 2: answers: found 3"]


def test_further_kinds_are_counted():
    problems = Problems("a.csv")
    for row in range(MAX_KINDS + 5):
        problems.add(row, f"problem {row}")
    assert lines(problems)[-1] == "a.csv: 5 further problems"
    assert len(lines(problems)) == MAX_KINDS + 1
