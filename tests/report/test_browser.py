"""The page in a headless Chromium: what a reader sees and can do."""

import json

import pytest

from tests.browsing import CASES, choose, status, tick
from tests.report.made import HOSTILE, made_cases, made_results, many_cases, usual_cases
from tunediff.config.report import Report
from tunediff.report.page import html_page, page_contents

pytestmark = pytest.mark.browser

BADGES = f"{CASES}.map(one => one.querySelector('[data-part=transition]').textContent)"
REPORT = Report(title="Captions: base against QLoRA", cases_per_transition=5)


@pytest.fixture
def show(browser, tmp_path):
    """Open the report of made-up cases."""

    def show(cases, change=lambda html: html, **changes):
        results = made_results(tmp_path, cases, **changes)
        path = tmp_path / "report.html"
        path.write_text(change(html_page(page_contents(results, REPORT))), encoding="utf-8")
        browser.look()
        browser.open(path)
        return browser

    return show


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_a_complaint_or_a_request_in_both_modes(show, scheme):
    page = show(usual_cases(), evidence=True)
    page.look(scheme)
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
    assert page.console == []
    assert page.requests() == set()
    assert status(page) == "Cases 1 to 25 of 1,200."


def test_a_script_that_is_not_the_pages_own_does_not_run_and_the_console_is_heard(show):
    page = show(made_cases(repaired=3), lambda html: html.replace("</body>", "<script>window.ran = 1</script></body>"))
    assert page.run("window.ran === undefined")
    assert any("Content Security Policy" in line for line in page.console)


def test_transitions_filter_the_cases_one_or_several_at_a_time(show):
    page = show(made_cases(both_right=30, repaired=20, broken=4, both_wrong_same=3))
    tick(page, "broken")
    assert page.run(BADGES) == ["Broken: right, then wrong"] * 4
    assert status(page) == "Cases 1 to 4 of 4 matching, 57 in total."
    tick(page, "both_wrong_same")
    assert status(page) == "Cases 1 to 7 of 7 matching, 57 in total."


def test_label_slice_and_text_narrow_the_cases_together(show):
    cases = made_cases(both_right=90, repaired=90)
    page = show(cases, evidence=True)
    choose(page, "label", page.run("[...document.querySelectorAll('[name=label] option')].at(-1).value"))
    neutral = [case for case in cases if case["label"] == "neutral"]
    assert status(page) == f"Cases 1 to 25 of {len(neutral)} matching, 180 in total."
    name = "tag: hypernym"
    choose(page, "slice", page.run(f"[...document.querySelectorAll('[name=slice] option')]"
                                   f".find(one => one.textContent === {name!r}).value"))  # fmt: skip
    tagged = [case for case in neutral if case["tags"] == ["hypernym"]]
    assert page.run(f"{CASES}.length") == min(25, len(tagged))
    choose(page, "text", f"{tagged[0]['premise'].upper()}")
    assert page.run(f"{CASES}.map(one => one.querySelector('.foot code').textContent)") == [tagged[0]["case_id"]]
    choose(page, "text", "no case says this")
    assert status(page) == "No case matches these filters."
    page.run("document.querySelector('[type=reset]').click()")
    assert page.run(
        "new Promise(done => setTimeout(() => done(document.getElementById('shown').textContent), 50))"
    ) == ("Cases 1 to 25 of 180.")


def test_the_order_follows_the_margins(show):
    page = show(made_cases(both_right=40, repaired=40, broken=40))
    margins = f"{CASES}.map(one => ['before', 'after'].map(when => Number(one.querySelector(`[data-part=${{when}}]`)" \
              ".textContent.match(/margin.([−+][0-9.]+)/)[1].replace('−', '-'))))"  # fmt: skip
    change = [round(abs(after - before), 2) for before, after in page.run(margins)]
    assert change == pytest.approx(sorted(change, reverse=True), abs=0.021)
    for order, key in (
        ("gained", lambda pair: pair[0] - pair[1]),
        ("lost", lambda pair: pair[1] - pair[0]),
        ("before", lambda pair: pair[0]),
        ("after", lambda pair: pair[1]),
        ("sure", lambda pair: -pair[1]),
    ):
        choose(page, "sort", order)
        values = [round(key(pair), 2) for pair in page.run(margins)]
        assert values == pytest.approx(sorted(values), abs=0.021), order


def test_the_keyboard_goes_through_cases_and_pages_and_opens_the_evidence(show):
    page = show(made_cases(repaired=60), evidence=True)
    at = f"{CASES}.indexOf(document.activeElement)"
    page.run(f"{CASES}[0].focus()")
    page.press("ArrowDown")
    assert page.run(at) == 1
    page.press("Enter")
    assert page.run("document.activeElement.querySelector('details').open")
    assert "nearest training cases" in page.run("document.activeElement.innerText")
    page.press("ArrowRight")
    assert status(page) == "Cases 26 to 50 of 60."
    assert page.run(at) == 0
    page.press("ArrowUp")
    assert status(page) == "Cases 1 to 25 of 60."
    assert page.run(at) == 24
    page.run("document.querySelector('[name=text]').focus()")
    page.type("case 57.")
    assert page.run(f"{CASES}.length") == 1


def test_the_pager_reaches_both_ends(show):
    page = show(made_cases(repaired=60))
    for number, expected in ((3, "51 to 60"), (1, "26 to 50"), (0, "1 to 25"), (2, "26 to 50")):
        page.run(f"document.querySelectorAll('#pager button')[{number}].click()")
        assert status(page) == f"Cases {expected} of 60."
    page.run("document.querySelectorAll('#pager button')[3].click()")
    assert page.run("[...document.querySelectorAll('#pager button')].map(one => one.disabled)") == [
        *(False, False, True, True)
    ]


def test_a_link_of_a_table_shows_its_cases(show):
    page = show(made_cases(both_right=30, repaired=20, broken=4), evidence=True)
    page.run("document.querySelector('a[data-transition=broken]').click()")
    assert status(page) == "Cases 1 to 4 of 4 matching, 54 in total."
    page.run("document.querySelector('a[data-slice=\"label: neutral\"]').click()")
    assert status(page) == "Cases 1 to 18 of 18 matching, 54 in total."


def test_hostile_text_stays_text_wherever_it_stands(show):
    cases = made_cases(both_right=10, repaired=10, broken=10, both_wrong_changed=10)
    for number, case in enumerate(cases):
        text = HOSTILE[number % len(HOSTILE)]
        case.update(premise=text, hypothesis=text[::-1], tags=[text[:60]], explanation=text, evidence={text: text})
    page = show(cases)
    for _ in range(2):
        assert page.run("document.querySelectorAll('script').length") == 2
        assert page.run("document.querySelectorAll('img, iframe, #case-list style, #case-list a').length") == 0
        page.run("document.querySelectorAll('#pager button')[2].click()")
    choose(page, "text", "alert('text became a script')")
    assert page.run("document.getElementById('case-list').innerText").count("<script>alert(") >= 3
    assert page.console == []
    assert page.run("getComputedStyle(document.body).display") == "block"


def test_ten_thousand_cases_are_all_searched_and_a_page_of_them_drawn(show):
    page = show(many_cases(), evidence=True)
    assert status(page) == "Cases 1 to 25 of 10,000."
    assert page.run(f"{CASES}.length") == 25
    choose(page, "text", "case 9999.")
    assert status(page) == "Cases 1 to 1 of 1 matching, 10,000 in total."
    choose(page, "text", "")
    tick(page, "broken")
    assert status(page) == "Cases 1 to 25 of 500 matching, 10,000 in total."
    assert page.console == []


@pytest.mark.parametrize(
    "counts",
    [
        {"repaired": 1},
        {"both_right": 1},
        {"broken": 2},
        {"both_right": 30, "repaired": 70},
        {"both_right": 20, "repaired": 20, "gold": "neutral"},
        {"both_wrong_same": 4},
    ],
)
def test_tiny_and_perfect_results_work_as_well(show, counts):
    page = show(made_cases(**counts))
    assert page.console == []
    n = sum(count for count in counts.values() if isinstance(count, int))
    assert status(page) == f"Cases 1 to {min(n, 25)} of {n}."
    assert page.run("document.getElementById('pager').hidden") == (n <= 25)


@pytest.mark.parametrize(("media", "width"), [("screen", 1100), ("screen", 360), ("print", 690)])
def test_nothing_stands_out_of_the_page_on_a_screen_a_telephone_or_paper(show, media, width):
    page = show(usual_cases(), evidence=True)
    page.look(media=media, width=width)
    assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_the_contents_stay_in_sight_and_cover_no_heading_that_they_lead_to(show, width):
    page = show(usual_cases(), evidence=True)
    page.look(width=width)
    page.run("document.documentElement.style.scrollBehavior = 'auto'")
    for place in ("slices", "cases", "method"):
        page.run(f"document.querySelector('nav a[href=\"#{place}\"]').click()")
        page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        nav, heading = (
            page.run(f"(({{top, bottom, left, right}}) => [top, bottom, left, right])({one}.getBoundingClientRect())")
            for one in ("document.querySelector('nav')", f"document.getElementById('{place}')")
        )
        assert 0 <= nav[0] < nav[1] <= 900
        assert heading[0] >= nav[1] or heading[2] >= nav[3], place


def test_what_is_wider_than_a_telephone_scrolls_and_a_shade_says_so(show):
    page = show(usual_cases(), evidence=True)
    page.look(width=390)
    wider = "[...document.querySelectorAll('nav, .scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    shades = page.run(f"{wider}.map(one => getComputedStyle(one).backgroundImage.split('linear-gradient').length - 1)")
    assert len(shades) > 2
    assert set(shades) == {4}
    page.look(media="print", width=690)
    assert page.run("getComputedStyle(document.querySelector('.scroll')).backgroundImage") == "none"


def test_a_button_copies_a_case_as_json_under_the_names_of_its_file(show):
    cases = made_cases(repaired=3)
    page = show(cases, evidence=True)
    page.run("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.run(f"{CASES}[1].querySelector('[data-part=copy]').click()")
    copied = json.loads(page.run("window.copied"))
    [case] = [case for case in cases if case["case_id"] == copied["case_id"]]
    for name in ("premise", "hypothesis", "label", "transition", "base_prediction", "tuned_prediction"):
        assert copied[name] == case[name]
    assert {"base_margin", "tuned_gold_probability", "slices", "explanation", "evidence"} <= set(copied)
    assert page.run(f"{CASES}[1].querySelector('[data-part=copy]').textContent") == "Copied"


def test_paper_shows_what_is_folded_and_hides_what_cannot_be_pressed(show):
    page = show(made_cases(repaired=5), evidence=True)
    page.look(media="print", width=690)
    hidden = "['nav', '#filters', '#case-list button'].map(one => document.querySelector(one).offsetHeight)"
    assert page.run(hidden) == [0, 0, 0]
    assert page.run("document.querySelector('#case-list details dl').getBoundingClientRect().height") > 50
    assert page.run("document.querySelector('#case-list .case').getBoundingClientRect().height") > 50
