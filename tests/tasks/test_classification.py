import doctest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunediff.config.data import Data
from tunediff.config.task import Task
from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import classification
from tunediff.tasks.classification import labelled_cases, parse_answer

LABELS = ["entailment", "neutral", "contradiction"]
TASK = Task(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=LABELS,
    source_input="premise",
    partial_input="hypothesis",
)
NUMBERS = dict(enumerate(LABELS))


def section(**changes):
    values = {
        "source": "files",
        "path": "data/raw",
        "files": {"train": "train.jsonl"},
        "columns": {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold"},
        **{split: {"source": "train"} for split in ("train", "validation", "test")},
    }
    return Data(**values | changes)


def row(number=1, **changes):
    values = {"sentence1": "A man is feeding two dogs.", "sentence2": "A man feeds animals.", "gold": "entailment"}
    return Row(values | changes, "data/raw/train.jsonl", number)


def error_of(bad, **changes):
    with pytest.raises(TunediffError) as caught:
        labelled_cases([bad], TASK, section(**changes))
    [line] = caught.value.args
    assert line.startswith("data/raw/train.jsonl, row 12: ")
    return line.removeprefix("data/raw/train.jsonl, row 12: ")


def test_the_documented_example_holds():
    assert doctest.testmod(classification) == (0, 1)


def test_columns_become_inputs_and_the_label():
    [case] = labelled_cases([row()], TASK, section())
    assert case.inputs == {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals."}
    assert case.label == "entailment"
    assert case.tags == ()


@pytest.mark.parametrize("value", [1, "1"])
def test_a_label_may_be_a_number_or_the_text_of_one(value):
    [case] = labelled_cases([row(gold=value)], TASK, section(labels=NUMBERS))
    assert case.label == "neutral"


@pytest.mark.parametrize("value", [-1, "-1", "-", "", None])
def test_rows_without_a_gold_label_leave_a_gap_in_the_order_of_the_rows(value):
    rows = [row(1), row(2, gold=value, sentence1=None), row(3, gold="neutral")]
    first, gap, last = labelled_cases(rows, TASK, section(unlabelled=[-1, "-", "", None]))
    assert (first.label, gap, last.label) == ("entailment", None, "neutral")


def test_a_missing_label_is_no_label_unless_the_parameters_say_so():
    assert error_of(row(12, gold=None)).startswith("gold: found None, expected one of")
    assert error_of(row(12, gold="None"), unlabelled=[None]).startswith("gold: found 'None', expected one of")


def test_tags_pass_through_where_the_row_has_them():
    rows = [row(tags=["negation", "activity"]), row(tags="negation"), row(tags=None), row(tags=[]), row(tags="")]
    tags = [case.tags for case in labelled_cases(rows, TASK, section())]
    assert tags == [("negation", "activity"), ("negation",), (), (), ()]


def test_a_missing_column_is_named_with_those_there_are():
    bad = Row({"sentence1": "a", "gold": "neutral"}, "data/raw/train.jsonl", 12)
    assert error_of(bad) == "has no column 'sentence2'; its columns: 'sentence1', 'gold'"


def test_an_unknown_label_is_named_with_those_expected():
    line = error_of(row(12, gold="entails"))
    assert line.startswith("gold: found 'entails', expected one of entailment, neutral, contradiction")
    assert error_of(row(12, gold=3), labels=NUMBERS).startswith("gold: found 3, expected one of 0, 1, 2")


@pytest.mark.parametrize("value", [None, 7, 0.5, float("nan"), ["text"], "", "  \n"])
def test_an_input_that_is_not_text_or_is_empty_is_named(value):
    assert error_of(row(12, sentence2=value)) == f"sentence2: found {value!r}, expected text that is not empty"


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_a_character_that_no_file_or_tokenizer_takes_is_named(character):
    expected = f"sentence1: found the character {character!r}, expected text without it"
    assert error_of(row(12, sentence1=f"A man{character}")) == expected
    assert error_of(row(12, tags=[character])).startswith("tags: found")


def test_the_text_of_an_input_is_kept_as_published():
    [case] = labelled_cases([row(sentence1=" <b>two</b>\u2028dogs \n")], TASK, section())
    assert case.inputs["premise"] == " <b>two</b>\u2028dogs \n"


CHOICES = {"entailment": "Yes", "neutral": "It is not possible to tell", "contradiction": "No"}


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Yes", "entailment"),
        (" yes.\n", "entailment"),
        ("YES, because a dog is an animal", "entailment"),
        ("no\nPremise: another", "contradiction"),
        ("It is not possible to tell!", "neutral"),
        ("No, yes", "contradiction"),
        ("Nothing", None),
        ("yes_", None),
        ("It is not possible", None),
        ("The answer is yes", None),
        ('"Yes"', None),
        ("", None),
        ("  \n", None),
    ],
)
def test_an_answer_counts_when_it_starts_with_one_choice(answer, label):
    assert parse_answer(answer, CHOICES) == label


def test_of_choices_that_start_alike_the_longest_is_meant():
    choices = {"a": "not", "b": "not entailed", "c": "not entailed at all"}
    assert parse_answer("Not entailed.", choices) == "b"
    assert parse_answer("not entailed at all", choices) == "c"
    assert parse_answer("not entailment", choices) == "a"


def test_the_end_of_a_choice_does_not_count():
    assert parse_answer("yes", {"a": " Yes.", "b": " No."}) == "a"
    assert parse_answer("+", {"a": "+", "b": "-"}) == "a"


def test_two_choices_that_read_the_same_name_neither():
    assert parse_answer("yes", {"a": "Yes", "b": "yes."}) is None


WORDS = st.lists(st.text("abcdeé", min_size=1, max_size=4), min_size=1, max_size=3).map(" ".join)
CHOICE_SETS = st.lists(WORDS, min_size=2, max_size=4, unique=True).map(
    lambda texts: {f"label {i}": text for i, text in enumerate(texts)}
)


@given(
    choices=CHOICE_SETS, data=st.data(), before=st.text(" \n\t", max_size=3), after=st.sampled_from(["", ".", "!\n"])
)
def test_every_choice_is_read_back_in_any_letter_case(choices, data, before, after):
    label = data.draw(st.sampled_from(sorted(choices)))
    text = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in choices[label])
    assert parse_answer(before + text + after, choices) == label


@given(choices=CHOICE_SETS, answer=st.text("abcdeé .!", max_size=12))
def test_an_answer_is_read_as_the_longest_run_of_whole_words_that_is_a_choice(choices, answer):
    starts = [answer.strip()[:n] for n in range(len(answer) + 1)]
    whole = [s for s in starts if not answer.strip()[len(s) : len(s) + 1].isalpha()]
    expected = [label for text in whole for label, choice in choices.items() if choice == text]
    assert parse_answer(answer, choices) == (expected[-1] if expected else None)


@given(choices=CHOICE_SETS, answer=st.text(max_size=20))
def test_the_order_of_the_choices_does_not_matter(choices, answer):
    assume(answer)
    assert parse_answer(answer, choices) == parse_answer(answer, dict(reversed(choices.items())))


def test_all_rows_at_fault_are_reported_together_by_kind():
    rows = [row(n, gold="entails" if n % 2 else "neutral") for n in range(1, 8)]
    rows += [row(8, sentence2=""), Row({"sentence1": "a", "gold": "neutral"}, "data/raw/dev.csv", "3 (line 5)")]
    with pytest.raises(TunediffError) as error:
        labelled_cases(rows, TASK, section())
    first, second, third = error.value.args
    assert first.startswith(f"{rows[0].place}: gold: found 'entails', expected one of entailment, neutral")
    assert first.endswith("; 4 such rows (1, 3, 5, ...)")
    assert second.endswith("row 8: sentence2: found '', expected text that is not empty")
    assert third.startswith("data/raw/dev.csv, row 3 (line 5): has no column 'sentence2'")


@pytest.mark.parametrize("value", [1.0, "1.0", " 1 ", "1"])
def test_a_number_is_the_same_label_however_it_is_stored(value):
    [case] = labelled_cases([row(gold=value)], TASK, section(labels=NUMBERS))
    assert case.label == "neutral"


def test_truth_values_are_the_same_in_every_format():
    labels = {"true": "entailment", "False": "neutral", "other": "contradiction"}
    values = [True, "True", "true", "FALSE"]
    cases = labelled_cases([row(n, gold=value) for n, value in enumerate(values)], TASK, section(labels=labels))
    assert [case.label for case in cases] == ["entailment"] * 3 + ["neutral"]


def test_values_of_one_text_cannot_stand_for_two_labels():
    with pytest.raises(TunediffError, match=r"data.labels: found \['1', '1.0', '2'\], expected values that differ"):
        labelled_cases([row()], TASK, section(labels={"1": "entailment", "1.0": "neutral", "2": "contradiction"}))


def test_an_empty_cell_is_no_label_in_any_format():
    rows = [row(n, gold=value) for n, value in enumerate([None, "", "  ", float("nan")], start=1)]
    with pytest.raises(TunediffError, match=r"row 1: gold: found None, expected one of .*; 4 such rows"):
        labelled_cases(rows, TASK, section())
    assert labelled_cases(rows, TASK, section(unlabelled=[None])) == [None] * 4
