import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.made_pairs import made_up_pair
from tunediff.compare.comparison import compare_tables
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.predictions import Fields
from tunediff.compare.raised import Run
from tunediff.report import diff_page, explorer
from tunediff.report.diff_page import FILES, diff_pages


def diff(*given):
    return gather(compare_tables(*given), Run(models=FILES))


def pages(found):
    return diff_pages(found, ("before.jsonl", "after.jsonl"))


def held(html):
    """What the case explorer of a page works on."""
    return json.loads(re.search(r'id="case-data">(.*?)</script>', html, re.DOTALL)[1])


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_two_files_make_the_page_of_the_pipeline_without_what_they_do_not_know():
    made = pages(diff(*made_up_pair()))
    for text in (plain(made.html), plain(made.markdown)):
        assert "The change raised accuracy from 41.0 % to 88.0 % on 100 test cases." in text
        assert "exact McNemar test, p = 1.2 × 10⁻¹²" in text
        assert "Outcome of each case" in text
        assert "Balanced accuracy" in text
        assert "before.jsonl" in text
        assert "Two prediction files show neither why the models differ" in text
        for absent in ("Splits and leaks", "Loss by epoch", "Parameters", "trained once", "dvc", "baseline"):
            assert absent not in text, absent
    data = held(made.html)
    assert len(data["cases"]) == data["total"] == 100
    assert data["score"] == ""


def test_scores_give_margins_to_sort_by():
    before, after = made_up_pair()
    for table in (before, after):
        table["scores"] = [
            {"yes": 0.75, "no": 0.25} if answer == "yes" else {"no": 0.75, "yes": 0.25}
            for answer in table["prediction"]
        ]
    data = held(pages(diff(before, after, Fields(scores="scores"))).html)
    assert data["cases"][0]["gold"] == [0.75, 0.75]
    assert data["cases"][40]["margins"] == pytest.approx([-np.log(3), np.log(3)], abs=1e-3)


def test_answers_in_words_have_a_flow_and_cases_but_no_confusion():
    labels = [f"answer {number}" for number in range(80)]
    before = pd.DataFrame({"case_id": range(80), "label": labels, "prediction": labels[:40] + ["other"] * 40})
    after = before.assign(prediction=[*labels[:39], None, *labels[40:79], "another"])
    made = pages(diff(before, after))
    assert (
        "Balanced accuracy and macro F1 are left out: there are no gold labels, or the files list no" in made.markdown
    )
    assert "stayed right" in made.html
    assert "invalid after" in made.html
    assert "Confusion" not in made.html + made.markdown
    data = held(made.html)
    assert data["labels"] == []
    assert data["cases"][39] | {"slices": None} == {
        **{"id": "39", "texts": [], "label": "answer 39", "before": "answer 39", "after": None},
        **{"transition": 2, "slices": None},
    }


def test_an_answer_outside_of_the_labels_is_counted_in_a_column_of_its_own():
    before, after = made_up_pair()
    after.loc[0, "prediction"] = "perhaps"
    made = pages(diff(before, after))
    assert "(no label)" in made.html
    confusion = made.markdown.split("## Confusion")[1].split("##")[0]
    (row,) = re.findall(r"^\| yes \|.*", confusion, re.MULTILINE)
    assert row.endswith("| 0 → 1 |")


def test_of_more_cases_than_fit_the_flips_are_held_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(diff_page, "chosen", lambda names: explorer.chosen(names, most=30))
    made = pages(diff(*made_up_pair()))
    data = held(made.html)
    assert (len(data["cases"]), data["total"]) == (30, 100)
    assert [case["transition"] for case in data["cases"]].count(2) == 2
    assert {case["transition"] for case in data["cases"]} == {1, 2}
    assert "This page shows 30 cases of 100" in plain(made.html)
    assert "The other 70 cases are not shown here" in re.sub(r"\s+", " ", plain(made.html))
    assert re.search(r'value="both_right".*<span class="muted">0</span>', made.html)
    # Counts are those of all cases, whatever the page has room for.
    assert "100 test cases" in plain(made.html)
    assert "Slices of the test set" not in made.html


def test_cases_that_share_a_cluster_are_told_of():
    before, after = (table.assign(premise=[f"p{at // 2}" for at in range(100)]) for table in made_up_pair())
    text = plain(pages(diff(before, after, Fields(cluster="premise"))).markdown)
    assert "The 100 cases share 50 different texts." in text


def test_a_single_case_and_one_label_make_whole_pages():
    one = pd.DataFrame({"case_id": [1], "label": ["a"], "prediction": ["a"]})
    for other in ("a", "b", None):
        made = pages(diff(one, one.assign(prediction=other)))
        for text in made:
            text = re.sub("<script>.*</script>", "", text, flags=re.DOTALL)
            assert not re.search(r"\bnan\b|None|undefined|\binf\b", text)
