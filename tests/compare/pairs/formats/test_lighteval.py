import pytest

from tests.compare.pairs.formats.reading import read, told
from tests.foreign_logs import choice, old, written
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError


def test_the_choice_is_that_of_the_likelihoods_and_the_outcome_that_of_the_metric(tmp_path):
    rows = [choice(0, 0, [-1.0, -2.0], {"acc": 1.0}), choice(1, 1, [-1.0, -2.0], {"acc": 0.0})]
    found = read(tmp_path, "details.parquet", rows)
    assert told(found, "case_id", "label", "prediction", "outcome", "prompt") == [
        ["0", "yes", "yes", "right", "q0?"],
        ["1", "no", "yes", "wrong", "q1?"],
    ]
    assert found.labels == ("yes", "no")
    assert found.scores.tolist() == [[-1.0, -2.0]] * 2
    assert found.origin == "details of lighteval, metric acc"
    assert told(read(tmp_path, "details.parquet", rows, Fields(cluster="topic")), "cluster") == [["x"], ["x"]]


@pytest.mark.parametrize(
    ("response", "choices"),
    [
        ({"output_tokens": [[1, 2, 3, 4], [2]]}, (" yes", " no")),
        ({"unconditioned_logprobs": [-4.0, -1.0]}, (" yes", " no")),
        ({}, (" certainly", " no")),
    ],
)
def test_the_normalisation_is_the_one_that_fits_the_outcomes(tmp_path, response, choices):
    # By likelihood the second choice, by length or less what it has without the prompt the first.
    rows = [choice(n, 0, [-3.0, -2.0], {"acc:norm": 1}, choices, **response) for n in range(3)]
    found = read(tmp_path, "details.parquet", rows)
    assert found.frame["prediction"].tolist() == [choices[0].strip()] * 3
    assert found.checks == ()


def test_likelihoods_with_and_without_the_prompt_may_stand_in_one_list(tmp_path):
    rows = [choice(n, 0, [-3.0, -2.0, -4.0, -1.0], {"acc:pmi": 1}) for n in range(3)]
    assert read(tmp_path, "details.parquet", rows).frame["prediction"].tolist() == ["yes"] * 3


def test_written_answers_are_the_text(tmp_path):
    rows = [written(0, "4", ["4"], {"em": 1.0}), written(1, "5", ["a", "b"], {"em": 0.0})]
    found = read(tmp_path, "details.parquet", rows)
    assert told(found, "label", "prediction", "outcome") == [["4", "4", "right"], ["5", "a, b", "wrong"]]


def test_a_metric_that_some_documents_lack_leaves_them_invalid(tmp_path):
    rows = [choice(0, 0, [-1.0, -2.0], {"acc": 1.0, "f1": None}), choice(1, 1, [-1.0, -2.0], {"acc": None, "f1": 0.4})]
    found = read(tmp_path, "details.parquet", rows)
    assert found.frame["outcome"].tolist() == ["right", "invalid"]
    assert [code for code, _ in found.checks] == ["TD405"]
    assert found.origin == "details of lighteval, metric acc (of acc, f1)"
    with pytest.raises(TunediffError, match=r"row 2: f1: found 0.4, expected 0 or 1"):
        read(tmp_path, "details.parquet", rows, metric="f1")


@pytest.mark.parametrize("printed", [False, True])
def test_older_details_say_the_same(tmp_path, printed):
    rows = [
        old(n, gold, [-1.0, -2.0], {"acc": int(gold == 0), "acc_norm": int(gold == 0)}, printed)
        for n, gold in enumerate((0, 1, 0))
    ]
    found = read(tmp_path, "details.parquet", rows)
    assert told(found, "label", "prediction", "outcome", "prompt")[:2] == [
        ["yes", "yes", "right", "Question: q0?"],
        ["no", "yes", "wrong", "Question: q1?"],
    ]
    assert found.origin == "details of lighteval, metric acc (of acc, acc_norm)"


def test_likelihoods_beside_whether_they_are_greedy_are_read(tmp_path):
    rows = [old(n, 0, str([(-1.0, True), (-2.0, False)]), str({"acc": 1})) for n in range(2)]
    rows = [{key: str(value) for key, value in row.items()} for row in rows]
    found = read(tmp_path, "details.parquet", rows)
    assert told(found, "prediction") == [["yes"], ["yes"]]


def test_documents_that_have_one_id_are_known_by_their_place(tmp_path):
    rows = [choice("", 0, [-1.0, -2.0], {"acc": 1}), choice("", 1, [-2.0, -1.0], {"acc": 1})]
    rows += [choice("1", 1, [-2.0, -1.0], {"acc": 1})] * 2
    assert read(tmp_path, "details.parquet", rows).frame["case_id"].tolist() == ["0", "1", "2", "3"]


def test_text_that_python_did_not_print_is_refused(tmp_path):
    rows = [old(0, 0, [-1.0, -2.0], {"acc": 1}, printed=True) | {"metrics": "__import__('os')"}]
    with pytest.raises(TunediffError, match=r"row 1: metrics: found .*, expected what lighteval writes"):
        read(tmp_path, "details.parquet", rows)
