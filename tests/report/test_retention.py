"""What the report says of further test sets, where there are any."""

import pytest

from tests.made_pairs import made_up_pair
from tests.report.made import NO_PRICE, TASK, made_cases, made_results, write_inputs
from tunediff.compare.comparison import compare_tables
from tunediff.compare.evidence import gather
from tunediff.config.report import Report
from tunediff.report.findings import findings
from tunediff.report.page import html_page, markdown_page, page_contents
from tunediff.report.results import read_results

CASES = made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10)


@pytest.fixture
def results(tmp_path):
    """The golden pair forgets on one further set as much as it gains on the other; nothing changes on the third."""
    before, after = made_up_pair()
    sets = {
        "sums": compare_tables(after, before),
        "copies": compare_tables(before, after),
        "same": compare_tables(before, before),
    }
    table = gather(compare_tables(before, after), further=sets).tables["retention"]
    paths = write_inputs(tmp_path, CASES)
    table.to_csv(paths["plots"] / "retention.csv", index=False)
    return read_results(paths, TASK, 0.95, NO_PRICE)


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def test_what_was_lost_elsewhere_is_in_the_headline_and_what_was_not_is_not(results):
    headline = plain(findings(results).headline)
    assert headline.endswith("Losses on other test sets: accuracy on sums fell from 88.0 % to 41.0 %.")
    assert "copies" not in headline
    assert "same" not in headline


def test_each_set_is_told_with_bounds_and_the_adjusted_test(results):
    [sentences] = [one.sentences for one in findings(results).paragraphs if one.about == "What else changed"]
    told = plain(" ".join(sentences))
    assert "On copies (100 cases) accuracy went from 41.0 % to 88.0 %: +47.0 points" in told
    assert "p = 3.5 × 10⁻¹², adjusted for 3 test sets" in told
    assert "2 cases (2.0 %, 0.2 to 7.0 %) were forgotten, 49 cases" in told
    assert "No case was forgotten or gained; the true rates may be up to 3.6 % either way" in told


def test_the_pages_have_a_table_of_them(results):
    contents = page_contents(results, Report(title="t"))
    page, text = html_page(contents), plain(markdown_page(contents))
    assert page.count('<h2 id="retention">') == 1
    assert "| sums | 100 | 88.0 % | 41.0 % | -47.0 points |" in text
    assert "data/plots/retention.csv" in text


def test_without_further_sets_controls_or_epochs_nothing_is_said_of_them(tmp_path):
    made = made_results(tmp_path, CASES)
    found, page = findings(made), html_page(page_contents(made, Report(title="t")))
    assert not {"What else changed", "Controls", "During training"} & {one.about for one in found.paragraphs}
    assert not any(f'<h2 id="{name}">' in page for name in ("retention", "controls", "epochs"))
