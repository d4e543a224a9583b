"""The page of two files of answers to questions: sentences, explorer, and what a reader sees in a browser."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browsing import CASES, choose, status, tick
from tests.made_answers import QUESTIONS as TASK
from tests.made_answers import golden_pair, made_questions
from tests.report.made import HOSTILE
from tunediff.compare.comparison import compare_files
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.predictions import Predictions
from tunediff.compare.raised import Run
from tunediff.data.cases import Answer
from tunediff.report.diff_page import FILES, diff_pages
from tunediff.report.explorer import LONGEST, pieces_of
from tunediff.report.results import _case
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import foreign_task

TEST = made_questions(100, "test")


def found(cases=TEST, change=lambda frame: frame):
    """The golden pair as two files that others wrote."""
    files = []
    for frame in golden_pair(cases):
        gold = {case.case_id: case for case in cases}
        frame = change(frame).drop(columns="log_probs")
        frame["answers"] = [gold[one].answers for one in frame["case_id"]]
        frame["cluster"] = [gold[one].inputs["context"] for one in frame["case_id"]]
        for name in TASK.inputs:
            frame[name] = [gold[one].inputs[name] for one in frame["case_id"]]
        kind = {"same": ("cluster", "answers"), "kind": foreign_task(("answers", "f1"))}
        files.append([Predictions(frame, ("question", "context"), tuple(TASK.labels), **kind)])
    return gather(compare_files(*files), Run(models=FILES))


def page(result):
    return diff_pages(result, ("before.json", "after.json"))


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_both_pages_say_exact_match_and_mark_the_answer():
    made = page(found())
    for text in (plain(made.html), plain(made.markdown)):
        assert "The change raised exact match from 41.0 % to 88.0 % on 100 test cases." in text
        assert "F1, based on the words shared" in text
        assert "On the 75 questions that have an answer" in text
        assert "The 100 cases share 50 different contexts." in text
    data = json.loads(re.search(r'id="case-data">(.*?)</script>', made.html, re.DOTALL)[1])
    assert (data["score"], data["labels"]) == ("F1", ["answerable", "unanswerable"])
    for record, case in zip(data["cases"], TEST, strict=True):
        pieces = record["texts"][1]
        assert record["answers"] == [answer.text for answer in case.answers]
        assert (pieces[1:2] if isinstance(pieces, list) else []) == record["answers"]
        assert "".join(pieces) == case.inputs["context"]
    assert "| gold answer | before | after | F1 |" in made.markdown
    assert "(no answer)" in made.markdown


def test_a_line_a_case_holds_the_answers():
    lines = list(found().records)
    assert lines[0]["answers"] == [answer._asdict() for answer in TEST[0].answers]
    assert {line["label"] for line in lines} == set(TASK.labels)
    json.dumps(lines, allow_nan=False)


spans = st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 60)), max_size=4)


@given(st.integers(1, 6000), spans)
def test_a_context_in_pieces_is_the_context_or_the_part_around_its_answer(length, places):
    context = "".join(chr(97 + at % 26) for at in range(length))
    answers = [{"text": context[start : start + size], "start": start} for start, size in places if start < length] + [
        {"text": "nowhere", "start": None}
    ]
    pieces = pieces_of(context, answers)
    assert len(pieces) % 2 == 1
    whole = "".join(pieces).strip("…")
    assert whole in context
    assert len(whole) == min(length, LONGEST)
    marked = "\n".join(pieces[1::2])
    if answers[:-1]:
        first = min(answers[:-1], key=lambda one: one["start"])
        assert first["text"][:1] in marked
    if length <= LONGEST:
        assert all(answer["text"] in marked for answer in answers[:-1])


RECORD = {
    **{"case_id": "c", "question": "Who?", "context": "Rollo.", "label": "answerable", "tags": []},
    **{"answers": [{"text": "Rollo", "start": 0}], "base_prediction": "", "tuned_prediction": None},
    **{"transition": "both_wrong_changed", "base_f1": 0.0, "tuned_f1": 0.0},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": None}, "answers: found None, expected a list of texts"),
        ({"answers": [{"start": 3}]}, "expected a list of texts"),
        ({"base_f1": -0.1}, "base_f1: found -0.1, expected a number in 0..1"),
        ({"tuned_f1": 57.5}, "tuned_f1: found 57.5, expected a number in 0..1"),
        ({"base_f1": None}, "base_f1: found None, expected a number in 0..1"),
        ({"tuned_prediction": 3}, "tuned_prediction: found 3, expected null or text"),
        ({"base_log_probs": [-1.0]}, "base_log_probs: found [-1.0], expected 2 numbers"),
        ({"label": "yes"}, "label: found 'yes', expected one of answerable, unanswerable"),
    ],
)
def test_a_record_at_fault_is_named(change, message):
    assert _case("row 1", RECORD, TASK)["answers"] == [{"text": "Rollo", "start": 0}]
    with pytest.raises(TunediffError, match=re.escape(message)):
        _case("row 1", RECORD | change, TASK)


@pytest.fixture
def show(browser, tmp_path):
    def show(result):
        (tmp_path / "report.html").write_text(page(result).html, encoding="utf-8")
        browser.look()
        browser.open(tmp_path / "report.html")
        return browser

    return show


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_questions_loads_alone_and_its_filters_work(show, scheme):
    opened = show(found())
    opened.look(scheme)
    assert (opened.console, opened.requests()) == ([], set())
    assert status(opened) == "Cases 1 to 25 of 100."
    tick(opened, "broken")
    assert status(opened) == "Cases 1 to 2 of 2 matching, 100 in total."
    tick(opened, "broken")
    choose(opened, "label", "1")
    assert status(opened) == "Cases 1 to 25 of 25 matching, 100 in total."
    assert set(opened.run(f"{CASES}.map(one => one.querySelector('[data-part=label]').textContent)")) == {"no answer"}
    assert opened.run("document.querySelectorAll('#case-list mark').length") == 0
    choose(opened, "label", "0")
    assert opened.run("document.querySelectorAll('#case-list mark').length") == 25
    # The text of a context in pieces is searched like any other.
    choose(opened, "text", "in 1207 she")
    assert status(opened) == "Cases 1 to 1 of 1 matching, 100 in total."
    assert opened.run("document.querySelector('mark').textContent") == "1207"
    assert opened.console == []


@pytest.mark.browser
def test_questions_are_ordered_by_f1(show):
    opened = show(found())
    f1 = f"{CASES}.map(one => ['before', 'after'].map(when => Number(one.querySelector(`[data-part=${{when}}]`)" \
         ".textContent.match(/F1.([0-9.]+)/)[1])))"  # fmt: skip
    for order, key in (("change", lambda one: -abs(one[1] - one[0])), ("before", lambda one: one[0])):
        choose(opened, "sort", order)
        values = [key(pair) for pair in opened.run(f1)]
        assert values == sorted(values)


@pytest.mark.browser
def test_the_marked_answer_of_a_long_context_is_in_sight(show):
    cases = made_questions(100, "test")
    filler = "Nothing is told here of anybody. " * 40
    cases = [
        case.__class__(
            case.case_id,
            {**case.inputs, "context": filler + case.inputs["context"]},
            case.label,
            case.tags,
            tuple(Answer(answer.text, answer.start + len(filler)) for answer in case.answers),
        )
        for case in cases
    ]
    opened = show(found(cases))
    choose(opened, "label", "0")
    inside = opened.run(
        "[...document.querySelectorAll('#case-list mark')].every(mark => { "
        "const box = mark.parentElement.getBoundingClientRect(), own = mark.getBoundingClientRect(); "
        "return own.top >= box.top && own.bottom <= box.bottom; })"
    )
    assert inside
    assert opened.run("document.querySelector('#case-list mark').parentElement.clientHeight") < 300


@pytest.mark.browser
def test_hostile_answers_stay_text(show):
    def hostile(frame):
        return frame.assign(prediction=[HOSTILE[at % len(HOSTILE)] for at in range(len(frame))])

    opened = show(found(change=hostile))
    assert opened.run("document.querySelectorAll('script').length") == 2
    assert opened.run("document.querySelectorAll('img, iframe, #case-list style, #case-list a').length") == 0
    choose(opened, "text", "alert('text became a script')")
    assert "<script>alert(" in opened.run("document.getElementById('case-list').innerText")
    assert opened.console == []


@pytest.mark.browser
@pytest.mark.parametrize(("media", "width"), [("screen", 1100), ("screen", 360), ("print", 690)])
def test_nothing_stands_out_of_the_page(show, media, width):
    opened = show(found())
    opened.look(media=media, width=width)
    assert opened.run("document.documentElement.scrollWidth") <= width


def test_two_models_without_an_error_make_whole_pages():
    result = found(change=lambda frame: frame.assign(outcome="right", f1=1.0))
    for text in page(result):
        assert "No difference was shown" in text
        assert not re.search(r"\bnan\b|undefined", re.sub("<script.*?</script>", "", text, flags=re.DOTALL))
