"""Synthetic questions: answers that stand in their report, and questions without one that nothing gives away."""

import re
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bag_of_words
from tunediff.data.synthetic import questions
from tunediff.metrics.squad import exact_match
from tunediff.runtime.errors import TunediffError

ANNA = {"who": "Anna", "deed": "painting", "what": "a red chair", "where": "in the yard"}
BEN = {"who": "Ben", "deed": "selling", "what": "a red chair", "when": "at noon"}
CARLA = {"who": "Carla", "deed": "painting", "what": "a blue kite", "where": "in the yard", "when": "at noon"}
EVENTS = [ANNA, BEN, CARLA]


@pytest.fixture(scope="module")
def splits():
    return questions.rows(train=4000, validation=200, test=1200, seed=1)


@pytest.mark.parametrize(
    ("wanted", "named", "question", "answers"),
    [
        ("where", ("Anna", "painting", "a red chair"), "Where was Anna painting a red chair?", {"in the yard"}),
        ("where", ("Ben", "painting", "a red chair"), "Where was Ben painting a red chair?", set()),
        ("when", ("Anna", "painting", "a red chair"), "When was Anna painting a red chair?", set()),
        ("when", ("Ben", "selling", "a red chair"), "When was Ben selling a red chair?", {"at noon"}),
        ("what", ("Carla", "painting"), "What was Carla painting?", {"a blue kite"}),
        ("who", (None, "selling", "a red chair"), "Who was selling a red chair?", {"Ben"}),
        ("who", (None, "painting", None, "in the yard"), "Who was painting in the yard?", {"Anna", "Carla"}),
        ("who", (None, "painting", None, "in the yard", "at noon"), "Who was painting in the yard at noon?", {"Carla"}),
    ],
)
def test_the_answer_is_what_the_events_that_fit_say(wanted, named, question, answers):
    parts = {part: value for part, value in zip(("who", "deed", "what", "where", "when"), named, strict=False) if value}
    assert questions.ask(wanted, parts) == question
    assert questions.answers(wanted, parts, EVENTS) == answers


def test_each_split_has_the_rows_asked_for_and_about_half_have_an_answer(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 4000, "validation": 200, "test": 1200}
    for rows in splits.values():
        assert sum(bool(row["answers"]["text"]) for row in rows) == pytest.approx(len(rows) / 2, rel=0.1)


def test_every_answer_stands_where_it_says(splits):
    for rows in splits.values():
        for row in rows:
            assert len(row["answers"]["text"]) == len(row["answers"]["answer_start"])
            for text, start in zip(*row["answers"].values(), strict=True):
                assert row["context"][start : start + len(text)] == text


TOLD = re.compile(
    r"(?P<who>\w+) was (?P<deed>\w+) (?P<what>a \w+ \w+)(?: (?P<where>.*?))??"
    rf"(?: (?P<when>{'|'.join(questions.TIMES)}))?"
)


def read(context):
    """The events of a report, read back from its text."""
    for sentence in context.split(". ")[1:]:
        words = sentence.rstrip(".")
        when = re.match(r"(?:In|At) [a-z ]+, ", words)
        found = TOLD.fullmatch(words[when.end() :] if when else words)
        event = {part: value for part, value in found.groupdict().items() if value}
        yield event | ({"when": when[0].rstrip(", ").lower()} if when else {})


def test_a_reader_of_the_text_finds_the_answers_and_finds_none_where_there_is_none(splits):
    for row in splits["test"]:
        first, deed = re.match(r"(\w+) was (?:[A-Z]\w+ )?(\w+)", row["question"]).groups()
        events = list(read(row["context"]))
        named = {"deed": deed} | {
            part: value
            for event in events
            for part, value in event.items()
            if part in ("what", "where", "when", "who") and f" {value}" in row["question"][:-1]
        }
        found = {
            event[first.lower()]
            for event in events
            if first.lower() in event and all(event.get(part) == value for part, value in named.items())
        }
        assert len(found) == bool(row["answers"]["text"])
        assert all(exact_match(row["answers"]["text"], answer) for answer in found)


def test_what_an_unanswerable_question_names_stands_in_its_report(splits):
    for row in splits["test"]:
        words = re.findall(r"\w+", row["question"].lower())[2:]
        assert set(words) <= set(re.findall(r"\w+", row["context"].lower()))


@pytest.mark.parametrize("read_", [("question",), ("context",), ("question", "context")])
def test_words_alone_do_not_tell_whether_there_is_an_answer(splits, read_):
    texts, labels = (
        [[get(row) for row in splits[split]] for split in ("train", "test")]
        for get in (lambda row: " ".join(row[name] for name in read_), lambda row: str(bool(row["answers"]["text"])))
    )
    assert bag_of_words.accuracy(texts[0], labels[0], texts[1], labels[1]) < 0.57


def test_reports_are_shared_by_questions_and_titles_by_reports(splits):
    reports = defaultdict(set)
    for row in splits["train"]:
        reports[row["title"]].add(row["context"])
    assert all(title in context for title, contexts in reports.items() for context in contexts)
    per_report = Counter(row["context"] for row in splits["train"])
    assert sum(n >= 3 for n in per_report.values()) > 0.9 * len(per_report)
    assert sum(len(contexts) >= 3 for contexts in reports.values()) > 0.9 * len(reports)


@given(seed=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_no_title_is_shared_between_splits_of_different_seeds(seed, other):
    train, test = questions.rows(20, 0, 0, seed)["train"], questions.rows(0, 0, 20, other)["test"]
    assert not {row["title"] for row in train} & {row["title"] for row in test}


def test_no_question_is_asked_twice_of_a_report(splits):
    pairs = [(row["context"], row["question"]) for rows in splits.values() for row in rows]
    assert len(set(pairs)) == len(pairs)


def test_every_kind_of_question_occurs_and_goes_with_having_an_answer_or_not(splits):
    tags = {(tag, bool(row["answers"]["text"])) for row in splits["train"] for tag in row["tags"]}
    assert tags == {(tag, True) for tag in questions.QUESTION_WORDS} | {
        (tag, False) for tag in questions.WITHOUT_ANSWER
    }


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert questions.rows(50, 5, 20, seed=3) == questions.rows(50, 5, 20, seed=3)
    assert questions.rows(50, 5, 20, seed=3) != questions.rows(50, 5, 20, seed=4)


def test_a_split_beyond_the_largest_is_refused():
    with pytest.raises(TunediffError, match="questions: train: found 50001 rows, expected 0 to 50000"):
        questions.rows(50_001, 0, 0, 1)
