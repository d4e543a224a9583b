import doctest
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.imports import ROOT
from tunediff.config.data import Data
from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import label_parsing
from tunediff.tasks.classification import Classification
from tunediff.tasks.label_parsing import parse_answer

LABELS = ["entailment", "neutral", "contradiction"]
TASK = Classification("nli", ["premise", "hypothesis"], LABELS, "premise", "hypothesis")
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
        TASK.cases([bad], section(**changes))
    [line] = caught.value.args
    assert line.startswith("data/raw/train.jsonl, row 12: ")
    return line.removeprefix("data/raw/train.jsonl, row 12: ")


def test_the_documented_example_holds():
    assert doctest.testmod(label_parsing) == (0, 3)


def test_columns_become_inputs_and_the_label():
    [case] = TASK.cases([row()], section())
    assert case.inputs == {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals."}
    assert case.label == "entailment"
    assert case.tags == ()


@pytest.mark.parametrize("value", [1, "1"])
def test_a_label_may_be_a_number_or_the_text_of_one(value):
    [case] = TASK.cases([row(gold=value)], section(labels=NUMBERS))
    assert case.label == "neutral"


@pytest.mark.parametrize("value", [-1, "-1", "-", "", None])
def test_rows_without_a_gold_label_leave_a_gap_in_the_order_of_the_rows(value):
    rows = [row(1), row(2, gold=value, sentence1=None), row(3, gold="neutral")]
    first, gap, last = TASK.cases(rows, section(unlabelled=[-1, "-", "", None]))
    assert (first.label, gap, last.label) == ("entailment", None, "neutral")


def test_a_missing_label_is_no_label_unless_the_parameters_say_so():
    assert error_of(row(12, gold=None)).startswith("gold: found None, expected one of")
    assert error_of(row(12, gold="None"), unlabelled=[None]).startswith("gold: found 'None', expected one of")


def test_tags_pass_through_where_the_row_has_them():
    rows = [row(tags=["negation", "activity"]), row(tags="negation"), row(tags=None), row(tags=[]), row(tags="")]
    tags = [case.tags for case in TASK.cases(rows, section())]
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
    [case] = TASK.cases([row(sentence1=" <b>two</b>\u2028dogs \n")], section())
    assert case.inputs["premise"] == " <b>two</b>\u2028dogs \n"


CHOICES = {"yes": "yes", "maybe": "maybe", "no": "no"}
# Answer, the label that it names, and why: the table of docs/parsing.md.
READ = [
    ("yes", "yes", ""),
    (" Yes\n", "yes", "letter case and surrounding whitespace are ignored"),
    ("YES!", "yes", "trailing punctuation is ignored"),
    ('"yes"', "yes", "quotes are ignored"),
    ("(yes)", "yes", "brackets"),
    ("**Yes**", "yes", "emphasis"),
    ("_yes_", "yes", ""),
    ("`yes`", "yes", ""),
    ("- yes", "yes", "list markers"),
    ("1. yes", "yes", ""),
    ("> yes", "yes", "quotation markers"),
    ("# Yes", "yes", "heading markers"),
    ("Yes, because a dog is an animal.", "yes", "punctuation ends the choice; an explanation may follow"),
    ("yes - it is", "yes", ""),
    ("yes (the man sleeps)", "yes", ""),
    ("Yes.No reason", "yes", ""),
    ("no\nPremise: another", "no", "only the first line is read"),
    ("yes\nno", "yes", ""),
    ("Yes, no doubt.", "yes", "`no doubt` is not a choice"),
    ("yes. Yes!", "yes", "the same choice twice"),
    ("yes, no", None, "two choices"),
    ("Yes. No.", None, "two choices"),
    ("no (maybe)", None, "two choices"),
    ("yes/no", None, "two choices"),
    ("yes and no", None, "a word follows"),
    ("no idea", None, "a word follows; this is another phrase"),
    ("not sure", None, "`no` is only the start of a word"),
    ("nothing", None, ""),
    ("no-one", None, ""),
    ("no's", None, ""),
    ("yes it is", None, "a word follows; a rule cannot distinguish it from `no idea`"),
    ("maybe yes", None, ""),
    ("Answer: yes", None, "other words come first"),
    ("The answer is yes", None, "other words come first"),
    ("I think so", None, "no choice"),
    ("-yes", None, "without a space, `-` is not a list marker"),
    ("", None, "no answer"),
    ("...", None, "no answer"),
]


@pytest.mark.parametrize(("answer", "label", "why"), READ)
def test_an_answer_counts_when_it_is_one_choice_and_nothing_goes_on_with_it(answer, label, why):
    assert parse_answer(answer, CHOICES) == label


def test_the_page_on_parsing_shows_the_same_answers():
    def code(answer):
        fence = "``" if "`" in answer else "`"
        pad = " " if fence == "``" or answer != answer.strip() else ""
        return f"{fence}{pad}{answer}{pad}{fence}".replace("\n", "⏎") if answer else "(empty)"

    page = (ROOT / "docs" / "parsing.md").read_text(encoding="utf-8")
    rows = [f"| {code(answer)} | {label or 'invalid'} | {why} |" for answer, label, why in READ]
    written = page[page.index("| Answer |") :].split("\n\n")[0].splitlines()[2:]
    assert written == rows, "\n".join(["the rows should be:", *rows])


@pytest.mark.parametrize(
    ("choices", "answers"),
    [
        ({"a": "(A)", "b": "(B)"}, {"(A)": "a", "A": "a", "b.": "b", "A man": None}),
        ({"a": "+", "b": "-"}, {"+": "a", "- ": "b", "-5": None}),
        ({"a": "A", "b": "A*", "c": "B-"}, {"A*": "b", "A": "a", "B-.": "c"}),
        ({"a": "1", "b": "2"}, {"1": "a", "2.": "b", "1.5": None, "1,000": None, "1-2": None}),
        ({"a": "C", "b": "C++"}, {"C++": "b", "C": "a", "C#": None}),
        ({"a": "是", "b": "不是"}, {"是。": "a", "「不是": None, "是的": None}),
    ],
)
def test_choices_may_be_signs_numbers_and_other_scripts(choices, answers):
    assert {answer: parse_answer(answer, choices) for answer in answers} == answers


def test_of_choices_that_start_alike_the_longest_is_meant():
    choices = {"a": "not", "b": "not entailed", "c": "not entailed at all"}
    assert parse_answer("Not entailed.", choices) == "b"
    assert parse_answer("not entailed at all", choices) == "c"
    assert parse_answer("not entailment", choices) is None


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
def test_an_answer_is_read_as_the_longest_choice_that_ends_at_a_stop_unless_another_one_follows(choices, answer):
    def first(text):
        whole = {label: c for label, c in choices.items() if re.fullmatch(rf"{c}( *[.!].*| *)", text)}
        label = max(whole, key=lambda one: len(whole[one]), default=None)
        return label, text[len(whole.get(label, text)) :].lstrip(" .!")

    label, rest = first(answer.strip())
    assert parse_answer(answer, choices) == (label if first(rest)[0] in (None, label) else None)


@given(choices=CHOICE_SETS, answer=st.text(max_size=20))
def test_the_order_of_the_choices_does_not_matter(choices, answer):
    assume(answer)
    assert parse_answer(answer, choices) == parse_answer(answer, dict(reversed(choices.items())))


def test_all_rows_at_fault_are_reported_together_by_kind():
    rows = [row(n, gold="entails" if n % 2 else "neutral") for n in range(1, 8)]
    rows += [row(8, sentence2=""), Row({"sentence1": "a", "gold": "neutral"}, "data/raw/dev.csv", "3 (line 5)")]
    with pytest.raises(TunediffError) as error:
        TASK.cases(rows, section())
    first, second, third = error.value.args
    assert first.startswith(f"{rows[0].place}: gold: found 'entails', expected one of entailment, neutral")
    assert first.endswith("; 4 such rows (1, 3, 5, ...)")
    assert second.endswith("row 8: sentence2: found '', expected text that is not empty")
    assert third.startswith("data/raw/dev.csv, row 3 (line 5): has no column 'sentence2'")


@pytest.mark.parametrize("value", [1.0, "1.0", " 1 ", "1"])
def test_a_number_is_the_same_label_however_it_is_stored(value):
    [case] = TASK.cases([row(gold=value)], section(labels=NUMBERS))
    assert case.label == "neutral"


def test_truth_values_are_the_same_in_every_format():
    labels = {"true": "entailment", "False": "neutral", "other": "contradiction"}
    values = [True, "True", "true", "FALSE"]
    cases = TASK.cases([row(n, gold=value) for n, value in enumerate(values)], section(labels=labels))
    assert [case.label for case in cases] == ["entailment"] * 3 + ["neutral"]


def test_values_of_one_text_cannot_stand_for_two_labels():
    with pytest.raises(TunediffError, match=r"data.labels: found \['1', '1.0', '2'\], expected values that differ"):
        TASK.cases([row()], section(labels={"1": "entailment", "1.0": "neutral", "2": "contradiction"}))


def test_an_empty_cell_is_no_label_in_any_format():
    rows = [row(n, gold=value) for n, value in enumerate([None, "", "  ", float("nan")], start=1)]
    with pytest.raises(TunediffError, match=r"row 1: gold: found None, expected one of .*; 4 such rows"):
        TASK.cases(rows, section())
    assert TASK.cases(rows, section(unlabelled=[None])) == [None] * 4


@pytest.mark.parametrize(
    ("value", "n"),
    [(["entailment", "neutral"], 2), ("entailment|neutral", 2), ("neutral; entailment ;contradiction", 3)],
)
def test_several_labels_in_one_cell_are_refused_by_name(value, n):
    message = error_of(row(12, gold=value))
    assert f"{n} labels for one case; expected one label: multi-label classification is not supported" in message


def test_a_label_with_a_separator_in_it_is_one_label():
    names = {"yes|no": "entailment", "yes": "neutral", "no": "contradiction"}
    [case] = TASK.cases([row(gold="yes|no")], section(labels=names))
    assert case.label == "entailment"


def test_three_inputs_are_read_together_and_no_word_of_language_inference_is_said():
    tickets = Classification("classification", ["subject", "body", "product"], ["billing", "login"], "subject", "body")
    rows = [
        Row(
            {"s": f"Not working {number}", "b": "invoice is wrong" if number % 2 else "password is lost", "p": "app",
             "team": "billing" if number % 2 else "login"},
            "tickets.csv", number,
        )
        for number in range(20)
    ]  # fmt: skip
    cases = tickets.cases(rows, section(columns={"subject": "s", "body": "b", "product": "p", "label": "team"}))
    assert cases[0].inputs == {"subject": "Not working 0", "body": "password is lost", "product": "app"}
    found = tickets.baselines(cases, cases, {})
    assert found["bag_of_words"] == found["partial_input"] == [case.label for case in cases]
    assert list(tickets.features(cases)) == ["words", "number_words"]
    assert set(tickets.case_evidence(cases)) == {"alone", "others"}
    assert tickets.case_evidence(cases)["others"][0] == "subject and product"
