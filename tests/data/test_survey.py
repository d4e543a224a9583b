"""What is found in a table."""

from tunediff.data.sources import Row
from tunediff.data.survey import survey


def found_in(*rows):
    names = ("subject", "body", "team")
    return survey(
        [Row(dict(zip(names, row, strict=True)), "t.csv", n) for n, row in enumerate(rows)], names[:2], "team"
    )


def test_spellings_that_differ_in_case_blanks_and_punctuation_are_one_label():
    teams = ["How-to"] * 3 + ["how to", "HOW_TO ", "Billing", "+", "-"]
    found = found_in(*((f"s{n}", "b", team) for n, team in enumerate(teams)))
    assert found.labels == {"How-to": 5, "+": 1, "-": 1, "Billing": 1}
    assert found.spellings == {"HOW_TO": "How-to", "how to": "How-to"}


def test_a_rare_label_that_is_nearly_a_frequent_one_is_named_and_kept():
    found = found_in(*((f"s{n}", "b", "Billing" if n else "Bililng") for n in range(20)), ("s", "b", "Bills"))
    assert found.alike == {"Bililng": "Billing"}
    assert found.labels["Bililng"] == 1


def test_empty_cells_duplicates_and_contradictions_are_counted():
    found = found_in(
        *[("a", "one", "x"), ("a", "one", "X "), ("a", "one", "y"), ("b", " ", "x"), (None, "two", ""), ("b", "", "x")]
    )
    assert (found.rows, found.unlabelled, found.empty) == (6, 1, {"subject": 1, "body": 2})
    assert (found.duplicates, found.contradictory) == (3, 1)
    assert found.texts == {"subject": ["a", "a", "a", "b", "b"], "body": ["one", "one", "one", "two"]}
