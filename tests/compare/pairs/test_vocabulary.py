import pandas as pd
import pytest

from tunediff.compare.comparison import compare_tables
from tunediff.compare.evidence import gather


def raised(label, before, after=None):
    cases = [f"case {number}" for number in range(len(label))]
    tables = [
        pd.DataFrame({"case_id": cases, "label": label, "prediction": answers}) for answers in (before, after or label)
    ]
    found = gather(compare_tables(*tables, names=("a.csv", "b.csv")))
    return [check for check in found.checks if check.code == "TD401"]


def test_answers_that_have_other_names_than_the_labels_are_named_with_both_vocabularies():
    found = raised(["0", "1"] * 20, ["LABEL_0", "LABEL_1"] * 20, ["LABEL_0"] * 40)
    assert ["of a.csv" in check.sentence for check in found] == [True, False]
    assert "Of the 40 answers of b.csv, none is" in found[1].sentence
    assert found[0].sentence.startswith(
        "Of the 40 answers of a.csv, none is among its labels. Labels: '0', '1'; answers: 'LABEL_0', 'LABEL_1'."
    )


def test_a_file_most_of_whose_answers_have_other_names_is_named_too():
    assert raised(["yes", "no"] * 20, ["yes"] * 5 + ["Yes"] * 35)[0].sentence.startswith(
        "Of the 40 answers of a.csv, only 5 are among its labels. Labels: 'no', 'yes'; answers: 'Yes'."
    )
    assert raised(["yes", "no"] * 20, ["yes"] * 25 + ["Yes"] * 15) == []


def test_wrong_answers_in_words_are_no_other_vocabulary():
    words = [f"answer {number}" for number in range(40)]
    assert raised(words, [*words[:3], *(f"wrong {number}" for number in range(37))]) == []


@pytest.mark.parametrize("n", [40, 400])
def test_where_no_answer_in_words_is_right_the_file_is_named(n):
    words = [f"answer {number}" for number in range(n)]
    (check,) = raised(words, [f"Answer {number}" for number in range(n)])
    assert check.sentence.startswith(f"Of the {n} answers of a.csv, none is among its labels.")


def test_a_file_whose_answers_are_all_invalid_has_no_vocabulary():
    assert raised(["yes", "no"] * 20, [None] * 40) == []
