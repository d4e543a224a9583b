import doctest

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunediff.compare.pairs import label_order as module
from tunediff.compare.pairs.label_order import (
    LOG_PROBABILITIES,
    LOGITS,
    PROBABILITIES,
    Scored,
    common_labels,
    log_probabilities,
    score_table,
)
from tunediff.runtime.errors import TunediffError

NAMES = ("before.jsonl", "after.jsonl")


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "values", [[[-1.0, -2.0], [-0.5, -3.0]], ["[-1, -2]", "[-0.5, -3.0]"], [np.array([-1, -2]), np.array([-0.5, -3])]]
)
def test_lists_arrays_and_json_text_are_read(values):
    table, labels = score_table(pd.Series(values), "before.csv")
    assert table.tolist() == [[-1.0, -2.0], [-0.5, -3.0]]
    assert labels is None


def test_objects_name_their_labels_in_any_order():
    table, labels = score_table(pd.Series([{"no": 1, "yes": 2}, {"yes": 4, "no": 3}]), "before.jsonl")
    assert labels == ("no", "yes")
    assert table.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "bad", [None, [1.0], [1.0, 2.0, 3.0], ["a", "b"], [1.0, float("nan")], [[1.0], [2.0]], "1.5", {"x": 1, "y": 2}]
)
def test_a_case_without_a_number_for_every_label_is_named(bad):
    for first in ([0.0, 1.0], {"no": 1.0, "yes": 2.0}):
        with pytest.raises(TunediffError, match=r"^before.jsonl, row 12: scores: found .* expected a finite number"):
            score_table(pd.Series([first, bad], index=[11, 12]), "before.jsonl")


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=5))
def test_logits_log_probabilities_and_probabilities_give_the_same(logits):
    # Logits such as 0 and 1 that are shares of one are read as the probabilities that they look like.
    assume(interpretation([logits]) != PROBABILITIES)
    expected = np.array(logits) - np.logaddexp.reduce(logits)
    assert log_probabilities([logits])[0] == pytest.approx(expected, abs=1e-9)
    assert log_probabilities([expected])[0] == pytest.approx(expected, abs=1e-9)
    probabilities = log_probabilities([np.exp(expected)])[0]
    assert np.exp(probabilities) == pytest.approx(np.exp(expected), abs=1e-9)
    assert np.isfinite(probabilities).all()


def interpretation(*parts):
    found = Scored(len(parts[0][0]), None)
    for part in parts:
        found.look(part, [None] * len(part))
    return found.interpretation


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        ([[0.51, 0.49, 0.0], [0.1, 0.07, 0.82]], PROBABILITIES),  # rounded to two places, the second sums to .99
        ([[0.33, 0.33, 0.33]], PROBABILITIES),
        ([[0.2, 0.7], [0.4, 0.5]], PROBABILITIES),
        ([[0.25, 0.7461]], PROBABILITIES),  # in half precision
        ([[1.0, 0.0], [0.0, 1.0]], PROBABILITIES),
        ([[51.0, 49.0], [33.3, 66.6]], PROBABILITIES),  # in percent
        ([[-0.69, -0.69], [-0.1, -2.35]], LOG_PROBABILITIES),
        ([[0.7, 0.6], [0.2, 0.8]], LOGITS),
        ([[0.5, 0.5], [2.0, -1.0]], LOGITS),
        ([[-12.5, -9.0]], LOGITS),
    ],
)
def test_scores_are_taken_for_what_their_sums_say(scores, kind):
    assert interpretation(scores) == kind
    assert interpretation(*([row] for row in scores)) == kind


def test_labels_of_scores_are_read_as_labels_are():
    table, labels = score_table(pd.Series([{"1.0": 0.9, "0.0": 0.1}]), "before.csv")
    assert labels == ("0", "1")
    assert table.tolist() == [[0.1, 0.9]]
    with pytest.raises(TunediffError, match="expected different ones"):
        score_table(pd.Series([{"1.0": 0.9, "1": 0.1}]), "before.csv")


def test_rows_without_their_scores_are_counted():
    rows = pd.Series([[0.1, 0.9], None, [0.2, 0.8], [1], None], index=[2, 3, 4, 5, 6])
    with pytest.raises(TunediffError, match=r"row 3: scores: found None.*; 3 such rows \(3, 5, 6\)"):
        score_table(rows, "before.csv")


def scored(places, predictions, labels=None):
    table = np.full((len(places), 3), -2.0)
    table[np.arange(len(places)), places] = -0.1
    found = Scored(3, labels)
    for at in range(len(places)):  # cases come some at a time: here one
        found.look(table[at : at + 1], predictions[at : at + 1])
    return found


def test_the_order_of_the_labels_is_learnt_from_both_files():
    # The base model always answers the same, as base models do: the tuned one shows the rest.
    before, after = scored([2, 2, 2], ["c", "c", None]), scored([0, 1, 2], ["a", "b", "c"])
    assert before.order == {2: "c"}
    assert common_labels(before, after, NAMES) == ("a", "b", "c")


def test_what_the_scores_are_is_known_of_all_cases_together():
    probabilities, logits = [[0.25, 0.75]], [[1.0, -3.0]]
    found = Scored(2, None)
    found.look(probabilities, ["b"])
    assert found.probable
    found.look(logits, ["a"])
    assert not found.probable
    whole = log_probabilities([*probabilities, *logits])
    parts = [log_probabilities(part, found.probable) for part in (probabilities, logits)]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_another_order_in_the_second_file_is_refused():
    with pytest.raises(TunediffError, match="number 1 of the scores belongs to 'a' in one and to 'b' in the other"):
        common_labels(scored([0, 1, 2], ["a", "b", "c"]), scored([0, 1, 2], ["b", "a", "c"]), NAMES)


@pytest.mark.parametrize(("before", "after"), [(["a", "b", "a"], ["a", "b", "b"]), (["b", "a", "a"], ["a", "b", "c"])])
def test_an_order_that_cannot_be_told_is_refused(before, after):
    with pytest.raises(TunediffError, match=r"label list: number|expected objects of the form \{label: score\}"):
        common_labels(scored([0, 1, 0], before), scored([1, 0, 0], after), NAMES)


def test_label_lists_that_differ_are_refused():
    before = scored([0, 1, 2], ["a", "b", "c"], ("a", "b", "c"))
    for other in (("a", "c", "b"), ("a", "b", "d")):
        with pytest.raises(TunediffError, match=f"found a, b, c in one and {', '.join(other)} in the other"):
            common_labels(before, Scored(3, other), NAMES)
    with pytest.raises(TunediffError, match="found a, b, c in one and 2 numbers per case in the other"):
        common_labels(before, Scored(2, None), NAMES)
