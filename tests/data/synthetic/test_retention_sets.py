"""The generated sets of recipes/retention: what the answer is, follows from what is asked."""

import re

import pytest

from tunediff.data.synthetic import arithmetic, copying, instructions

SETS = {
    "arithmetic": (arithmetic, "question"),
    "copying": (copying, "text"),
    "instructions": (instructions, "instruction"),
}
SIGNS = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__}


@pytest.mark.parametrize("name", SETS)
def test_rows_are_distinct_the_same_each_time_and_in_one_split_alone(name):
    made, asked = SETS[name]
    rows = made.rows(120, 20, 80, 1)
    assert rows == made.rows(120, 20, 80, 1)
    assert rows != made.rows(120, 20, 80, 2)
    texts = {split: {row[asked] for row in each} for split, each in rows.items()}
    assert {split: len(each) for split, each in texts.items()} == {"train": 120, "validation": 20, "test": 80}
    assert not texts["train"] & ({row[asked] for row in made.rows(1, 1, 80, 2)["test"]} | texts["test"])


def test_a_sum_is_right():
    for row in arithmetic.rows(1, 1, 200, 1)["test"]:
        first, sign, second = row["question"].split()
        assert SIGNS[sign](int(first), int(second)) == int(row["answer"]) >= 0


def test_a_copy_is_the_text():
    rows = copying.rows(1, 1, 200, 1)["test"]
    assert all(row["answer"] == row["text"] for row in rows)
    assert {row["tags"][0] for row in rows} == {f"{len(row['text'].split())} words" for row in rows}


def test_what_an_instruction_asks_for_is_the_answer():
    rows = instructions.rows(1, 1, 200, 1)["test"]
    assert {row["tags"][0] for row in rows} == set(instructions.TAGS)
    for row in rows:
        [tag], asked, answer = row["tags"], row["instruction"], row["answer"]
        words = asked.partition(": ")[2]
        if tag == "capitals":
            assert answer == words.upper()
        elif tag == "repeat":
            word, times = re.search(r"the word (\w+) (\d)", asked).groups()
            assert answer.split(", ") == [word] * int(times)
        elif tag == "sort":
            assert answer.split(", ") == sorted(words.split(", "))
        elif tag == "last":
            assert words.endswith(f", {answer}")
        elif tag == "join":
            assert answer == words.replace(", ", "-")
        else:
            assert f" a {answer} " in asked
