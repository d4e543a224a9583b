import math

import pytest

from tests.report.made import made_cases, made_results
from tunediff.report import explorer
from tunediff.report.explorer import LONGEST, MOST_CASES, chosen, explorer_data


def data(folder, cases, **changes):
    return explorer_data(made_results(folder, cases, **changes))


def test_a_case_carries_what_the_page_shows_of_it(tmp_path):
    cases = made_cases(repaired=1)
    (one,) = data(tmp_path, cases)["cases"]
    assert one["texts"] == [cases[0]["premise"], cases[0]["hypothesis"]]
    assert (one["label"], one["before"], one["after"]) == ("entailment", "neutral", "entailment")
    gold = [cases[0][f"{who}_log_probs"][0] for who in ("base", "tuned")]
    assert one["gold"] == pytest.approx([math.exp(value) for value in gold], abs=1e-4)
    assert one["margins"][0] < 0 < one["margins"][1]
    assert one["transition"] == 1


def test_evidence_is_told_in_words_and_nothing_twice(tmp_path):
    made = data(tmp_path, made_cases(repaired=3, both_right=1), evidence=True)
    flipped, kept = ([one for one in made["cases"] if ("evidence" in one) is is_there] for is_there in (True, False))
    assert (len(flipped), len(kept)) == (3, 1)
    told = dict(flipped[0]["evidence"])
    assert told["same answer at another batch size, before"] == "yes"
    assert told["calibrated margin before, nats"] == "0.12"
    assert told["answer from the hypothesis alone, before"] == "neutral"
    assert told["nearest training cases"].startswith(f"{flipped[0]['label']} at distance 0.10 (0000000000000001); ")
    assert not {"case id", "transition", "label", "alone"} & set(told)
    assert flipped[0]["explanation"].startswith("The gold label trailed by 2.31 nats")


def test_slices_are_numbered_and_tags_stand_in_where_none_were_asked_for(tmp_path):
    made = data(tmp_path / "asked", made_cases(both_right=9), evidence=True)
    assert {made["slices"][at].split(":")[0] for at in made["cases"][0]["slices"]} == {"tag", "label", "negation"}
    plain = data(tmp_path / "plain", made_cases(both_right=9))
    assert plain["slices"][plain["cases"][0]["slices"][0]] == "tag: hypernym"


def test_a_long_text_is_cut_and_says_so(tmp_path):
    cases = made_cases(both_right=1)
    cases[0]["premise"] = "word " * 10_000
    (one,) = data(tmp_path, cases)["cases"]
    assert len(one["texts"][0]) == LONGEST
    assert one["texts"][0].endswith("…")


def test_all_cases_are_held_up_to_the_limit_and_then_only_flips():
    assert chosen(["both_right"] * MOST_CASES).tolist() == list(range(MOST_CASES))
    names = ["both_right", "broken", "repaired", "both_wrong_same"] * 3
    assert chosen(names, most=11).tolist() == [1, 2, 5, 6, 9, 10]


@pytest.mark.parametrize(
    ("broken", "repaired", "expected"), [(50, 50, (5, 5)), (2, 50, (2, 8)), (50, 3, (7, 3)), (0, 50, (0, 10))]
)
def test_broken_and_repaired_cases_share_the_room(broken, repaired, expected):
    names = ["both_right"] * 20 + ["repaired"] * repaired + ["broken"] * broken
    kept = [names[at] for at in chosen(names, most=10)]
    assert (kept.count("broken"), kept.count("repaired")) == expected


def test_too_many_labels_make_no_menu(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "MOST_LABELS", 2)
    assert data(tmp_path, made_cases(both_right=9))["labels"] == []
