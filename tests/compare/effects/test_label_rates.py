import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from tests.label_pairs import LABELS, aligned_pair, many_labels
from tunediff.compare.comparison import Comparison, compare_tables
from tunediff.compare.effects.differences import class_sums
from tunediff.compare.effects.label_rates import label_rates as rates_of_sums
from tunediff.compare.evidence import EFFECTS, gather
from tunediff.report.diff_page import diff_pages
from tunediff.stats.multiple import benjamini_hochberg
from tunediff.tasks.classification import Classification


def label_rates(frame, labels, clusters=None):
    return rates_of_sums(class_sums(frame, labels, clusters), labels, 0.95)


def rates_of(frame, who):
    """Precision, recall and F1 of each label in its order, by scikit-learn."""
    answers = frame[f"prediction_{who}"].fillna("(none)")
    found = precision_recall_fscore_support(frame["label"], answers, labels=LABELS, zero_division=0)[:3]
    return np.array(found).T.ravel()


def test_the_rates_of_each_label_are_those_of_scikit_learn():
    frame = aligned_pair()
    table = label_rates(frame, LABELS)
    assert table["label"].tolist() == [label for label in LABELS for _ in range(3)]
    assert table["metric"].tolist() == ["precision", "recall", "F1"] * 3
    for who in ("base", "tuned"):
        assert table[who].tolist() == pytest.approx(rates_of(frame, who))
    assert table["delta"].tolist() == pytest.approx((table["tuned"] - table["base"]).tolist())
    assert dict(zip(table["label"], table["n"], strict=True)) == frame["label"].value_counts().to_dict()
    assert table["q"].tolist() == benjamini_hochberg(table["p"].tolist())


def test_the_intervals_of_a_label_are_those_of_a_bootstrap_case_by_case():
    frame, rng = aligned_pair(), np.random.default_rng(1)
    is_gold = np.array([frame["label"] == label for label in LABELS])
    given = [np.array([frame[f"prediction_{who}"] == label for label in LABELS]) for who in ("base", "tuned")]
    drawn = []
    for _ in range(300):
        sample, each = rng.integers(0, len(frame), len(frame)), []
        for answers in given:
            right = (is_gold & answers)[:, sample].sum(axis=1)
            support, found = is_gold[:, sample].sum(axis=1), answers[:, sample].sum(axis=1)
            each.append(np.stack([right / found, right / support, 2 * right / (found + support)], axis=1).ravel())
        drawn.append(each[1] - each[0])
    table = label_rates(frame, LABELS)
    assert table["low"].tolist() == pytest.approx(np.quantile(drawn, 0.025, axis=0), abs=0.04)
    assert table["high"].tolist() == pytest.approx(np.quantile(drawn, 0.975, axis=0), abs=0.04)


def test_copies_of_a_case_in_one_cluster_say_no_more_of_a_label_than_the_case():
    frame = aligned_pair(n=120, seed=5)
    copies = frame.loc[frame.index.repeat(8)].reset_index(drop=True)
    alone = label_rates(frame, LABELS)
    together = label_rates(copies, LABELS, np.repeat(np.arange(120), 8))
    assert together["delta"].tolist() == pytest.approx(alone["delta"].tolist())
    widths = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    assert widths.tolist() == pytest.approx([1] * 9, rel=0.2)
    assert together["p"].tolist() == pytest.approx(alone["p"].tolist(), abs=0.02)


def test_one_cluster_says_nothing_about_another():
    frame = aligned_pair(n=20)
    assert label_rates(frame, LABELS, ["one"] * 20).empty


def tables_of(frame):
    rows = frame.assign(case_id=[f"case {number}" for number in range(len(frame))])
    return [
        rows[["case_id", "label"]].assign(prediction=rows[f"prediction_{who}"].astype(object))
        for who in ("base", "tuned")
    ]


def test_twelve_labels_of_two_tables_are_classes_with_figures_of_their_own():
    frame, labels = many_labels(360, 12)
    found = gather(compare_tables(*tables_of(frame)))
    assert found.tables["labels"]["label"].unique().tolist() == labels
    assert {"balanced accuracy", "macro F1"} <= set(found.tables["differences"]["metric"])
    for page in diff_pages(found, ("before.csv", "after.csv")):
        assert "Labels before and after" in page
        assert "intent 011" in page
        assert "too many" not in page


def test_as_many_gold_answers_as_a_tenth_of_the_cases_are_no_classes_and_a_check_says_so():
    frame, _ = many_labels(110, 12)
    found = gather(compare_tables(*tables_of(frame)))
    assert "labels" not in found.tables
    assert any("fewer than 10 cases each on average" in check.sentence for check in found.checks)


@pytest.mark.slow
def test_labels_whose_confusion_nobody_could_look_at_are_a_table_and_said_to_be_too_many():
    frame, _ = many_labels(600, 60)
    for page in diff_pages(gather(compare_tables(*tables_of(frame))), ("before.csv", "after.csv")):
        assert "60 labels are too many for a" in page
        assert "intent 059" in page


def test_a_rule_of_ones_own_for_what_is_right_has_no_rates_by_label():
    frame = aligned_pair().assign(outcome_base="right", transition="both_right")
    comparison = Comparison(frame, Classification("", (), LABELS, "text", ""), 0.95)
    assert EFFECTS["labels"](comparison).tables == {}
    assert len(EFFECTS["labels"](Comparison(aligned_pair(), comparison.task, 0.95)).tables["labels"]) == 9


def test_a_label_that_nobody_has_or_gives_has_rates_of_zero():
    frame = pd.DataFrame({"label": ["a", "b"] * 5, "prediction_base": ["a"] * 10, "prediction_tuned": ["a", "b"] * 5})
    table = label_rates(frame, ["a", "b", "c"]).set_index(["label", "metric"])
    for name in ("precision", "recall", "F1"):
        assert table.loc[("c", name), ["base", "tuned", "delta", "low", "high"]].tolist() == [0] * 5
        assert table.loc[("c", name), "p"] == 1
    assert table.loc[("b", "recall"), ["base", "tuned"]].tolist() == [0, 1]
