import pandas as pd
import pytest

from tunediff.compare.comparison import diff


def alarms(label, before, after=None):
    cases = [f"case {number}" for number in range(len(label))]
    tables = [
        pd.DataFrame({"case_id": cases, "label": label, "prediction": answers}) for answers in (before, after or label)
    ]
    return diff(*tables, names=("a.csv", "b.csv")).alarms


def test_answers_that_are_called_otherwise_than_the_labels_are_an_alarm_with_both_vocabularies():
    found = alarms(["0", "1"] * 20, ["LABEL_0", "LABEL_1"] * 20, ["LABEL_0"] * 40)
    assert [alarm.name for alarm in found] == [
        f"Answers of {name} are none of the labels" for name in ("a.csv", "b.csv")
    ]
    assert found[0].sentence.startswith(
        "None of the 40 answers of a.csv is among its labels. Labels: '0', '1'; answers: 'LABEL_0', 'LABEL_1'."
    )


def test_a_file_most_of_whose_answers_are_called_otherwise_is_named_too():
    assert alarms(["yes", "no"] * 20, ["yes"] * 5 + ["Yes"] * 35)[0].sentence.startswith(
        "Only 5 of the 40 answers of a.csv are among its labels. Labels: 'no', 'yes'; answers: 'Yes'."
    )
    assert alarms(["yes", "no"] * 20, ["yes"] * 25 + ["Yes"] * 15) == []


def test_wrong_answers_in_words_are_no_other_vocabulary():
    words = [f"answer {number}" for number in range(40)]
    assert alarms(words, [*words[:3], *(f"wrong {number}" for number in range(37))]) == []


@pytest.mark.parametrize("n", [40, 400])
def test_where_no_answer_in_words_is_right_the_file_is_named(n):
    words = [f"answer {number}" for number in range(n)]
    (alarm,) = alarms(words, [f"Answer {number}" for number in range(n)])
    assert alarm.sentence.startswith(f"None of the {n} answers of a.csv is among its labels.")


def test_a_file_whose_answers_are_all_invalid_has_no_vocabulary():
    assert alarms(["yes", "no"] * 20, [None] * 40) == []
