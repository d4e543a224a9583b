import tracemalloc
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from tests.label_pairs import LABELS, aligned_pair, many_labels
from tunediff.compare.comparison import Comparison
from tunediff.compare.effects import differences
from tunediff.compare.effects.differences import Difference, no_classes, planned
from tunediff.compare.effects.metric_differences import metric_differences
from tunediff.stats.multiple import holm
from tunediff.tasks.classification import Classification

NO_LABELS = (
    "there are no gold labels, or the files list no labels and there are too many to be classes (more than 100, or "
    "more than 10 with fewer than 10 cases each on average)"
)

score_difference = partial(differences.score_difference, confidence=0.95, clusters=None)


def class_differences(frame, labels, clusters=None):
    return differences.class_differences(differences.class_sums(frame, labels, clusters), labels, 0.95)


def metric(name, gold, answers):
    answers = answers.fillna("(none)")
    if name == "balanced accuracy":
        return np.mean([np.mean(answers[gold == label] == label) for label in sorted(set(gold))])
    return f1_score(gold, answers, average="macro", labels=LABELS, zero_division=0)


def test_the_values_are_those_of_scikit_learn():
    frame = aligned_pair()
    for row in class_differences(frame, LABELS):
        for who in ("base", "tuned"):
            expected = metric(row.metric, frame["label"], frame[f"prediction_{who}"])
            assert getattr(row, who) == pytest.approx(expected)
        assert row.delta == pytest.approx(row.tuned - row.base)
    filled = frame["prediction_base"].fillna("(none)")
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        theirs = balanced_accuracy_score(frame["label"], filled)
    assert class_differences(frame, LABELS)[0].base == pytest.approx(theirs)


def test_of_two_labels_the_last_has_precision_recall_and_f1_of_its_own():
    rng = np.random.default_rng(4)
    gold = pd.Series(rng.choice(["negative", "positive"], 200))
    frame = pd.DataFrame({"label": gold})
    for who, share in (("base", 0.6), ("tuned", 0.9)):
        other = gold.map({"negative": "positive", "positive": "negative"})
        frame[f"prediction_{who}"] = gold.where(rng.random(200) < share, other)
        frame[f"outcome_{who}"] = np.where(frame[f"prediction_{who}"] == gold, "right", "wrong")
    rows = {row.metric: row for row in class_differences(frame, ["negative", "positive"])}
    for name, theirs in (("precision", precision_score), ("recall", recall_score), ("F1", f1_score)):
        row = rows[f"{name} of positive"]
        for who in ("base", "tuned"):
            assert getattr(row, who) == pytest.approx(theirs(gold, frame[f"prediction_{who}"], pos_label="positive"))
        assert 0 < row.low < row.delta < row.high < 1
        assert row.p < 0.001


def test_accuracy_is_adjusted_together_with_the_rates_of_classes():
    frame = aligned_pair()
    rows = metric_differences(Comparison(frame, Classification("", (), LABELS, "text", ""), 0.95))
    assert [row.metric for row in rows] == ["accuracy", "balanced accuracy", "macro F1"]
    assert all(row.p_holm >= row.p for row in rows)
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])


@pytest.mark.slow
def test_the_intervals_are_those_of_a_bootstrap_case_by_case():
    frame, rng = aligned_pair(), np.random.default_rng(1)
    places = {label: np.flatnonzero(frame["label"] == label) for label in LABELS}
    drawn = {"balanced accuracy": [], "macro F1": []}
    for _ in range(300):
        whole = frame.iloc[rng.integers(0, len(frame), len(frame))]
        by_class = frame.iloc[np.concatenate([rng.choice(rows, len(rows)) for rows in places.values()])]
        for name, sample in (("balanced accuracy", by_class), ("macro F1", whole)):
            ends = [metric(name, sample["label"], sample[f"prediction_{who}"]) for who in ("tuned", "base")]
            drawn[name].append(ends[0] - ends[1])
    for row in class_differences(frame, LABELS):
        assert (row.low, row.high) == pytest.approx(np.quantile(drawn[row.metric], [0.025, 0.975]), abs=0.025)


@pytest.mark.slow
def test_the_p_value_is_that_of_swapping_answers_case_by_case():
    frame, rng = aligned_pair(n=150, seed=3, after=0.6), np.random.default_rng(2)
    for row in class_differences(frame, LABELS):
        as_large = 0
        for _ in range(250):
            swap = rng.random(len(frame)) < 0.5
            one = frame["prediction_base"].where(~swap, frame["prediction_tuned"])
            two = frame["prediction_tuned"].where(~swap, frame["prediction_base"])
            change = metric(row.metric, frame["label"], two) - metric(row.metric, frame["label"], one)
            as_large += abs(change) >= abs(row.delta) - 1e-9
        assert row.p == pytest.approx(as_large / 250, abs=0.09)


def test_copies_of_a_case_in_one_cluster_say_no_more_than_the_case():
    frame = aligned_pair(n=120, seed=5)
    alone = class_differences(frame, LABELS)
    copies = frame.loc[frame.index.repeat(8)].reset_index(drop=True)
    together = class_differences(copies, LABELS, clusters=np.repeat(np.arange(120), 8))
    apart = class_differences(copies, LABELS)
    for one, many, wrong in zip(alone, together, apart, strict=True):
        assert many.delta == pytest.approx(one.delta)
        assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.2)
        assert wrong.high - wrong.low < 0.5 * (one.high - one.low)
        assert many.p == pytest.approx(one.p, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_labels_that_are_named_are_compared_however_many_they_are(clustered):
    frame, labels = many_labels(3000, 77)
    balanced, macro = class_differences(frame, labels, clusters=np.arange(3000) // 3 if clustered else None)
    for who in ("base", "tuned"):
        answers = frame["label"], frame[f"prediction_{who}"]
        assert getattr(balanced, who) == pytest.approx(balanced_accuracy_score(*answers))
        assert getattr(macro, who) == pytest.approx(f1_score(*answers, average="macro"))
    for row in (balanced, macro):
        assert 0.2 < row.low < row.delta < row.high < 0.4
        assert row.p < 0.001


@pytest.mark.slow
def test_memory_does_not_grow_with_labels_times_cases():
    frame, labels = many_labels(10_000, 500)  # as a table, 10,000 cells with 5,000 sums each
    tracemalloc.start()
    assert len(class_differences(frame, labels)) == 2
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "labels", "why"),
    [
        ({}, ["entailment", "neutral"], "a gold label is not among the labels"),
        ({}, ["entailment"], "there is only one label"),
        ({}, [], NO_LABELS),
        ({"outcome_base": "right"}, LABELS, "answers count as right by a rule other than equality with the gold label"),
    ],
)
def test_what_are_no_classes_is_left_out_for_a_reason(change, labels, why):
    frame = aligned_pair().assign(**change)
    comparison = Comparison(frame, Classification("", (), tuple(labels), "text", ""), 0.95)
    assert [row.metric for row in metric_differences(comparison)] == ["accuracy"]
    assert no_classes(frame, labels) == why
    assert no_classes(aligned_pair(), LABELS) is None


def test_a_score_is_compared_by_paragraph():
    rng = np.random.default_rng(0)
    before = rng.random(300)
    after = np.clip(before + rng.normal(0.05, 0.1, 300), 0, 1)
    row = score_difference("F1", before, after)
    assert (row.base, row.tuned) == pytest.approx((before.mean(), after.mean()))
    assert row.low < row.delta < row.high
    assert row.p == pytest.approx(1 / 10_001)
    shared = score_difference(
        "F1", np.repeat(before[:20], 15), np.repeat(after[:20], 15), clusters=np.repeat(range(20), 15)
    )
    alone = score_difference("F1", before[:20], after[:20])
    assert (shared.low, shared.high, shared.p) == pytest.approx((alone.low, alone.high, alone.p), abs=0.01)


def test_one_paragraph_says_nothing_about_another():
    row = score_difference("F1", [0.0, 0.5], [1.0, 0.5], clusters=["p", "p"])
    assert (row.low, row.high, row.p) == (-1.0, 1.0, 1.0)


def test_planned_metrics_are_adjusted_together():
    rows = [Difference(name, 0, 0, 0, 0, 0, p, p) for name, p in (("a", 0.01), ("b", 0.04), ("c", 0.03))]
    assert [row.p_holm for row in planned(rows)] == pytest.approx([0.03, 0.06, 0.06])
    assert [row.p for row in planned(rows)] == [0.01, 0.04, 0.03]
