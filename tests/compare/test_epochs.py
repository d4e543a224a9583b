"""Epochs on the same cases: gain and forgetting against the base, and which is better than which, adjusted."""

import pytest

from tests.board_answers import answers, right
from tunediff.compare.epochs import compare_epochs
from tunediff.report.controls_and_epochs import checkpoints_sentence, epoch_sentences
from tunediff.stats.paired import mcnemar_exact

BASE = answers(right(0, 0))


def test_each_epoch_is_held_against_the_base_and_all_pairs_are_adjusted():
    epochs = {1: answers(right(30, 5)), 2: answers(right(45, 5)), 3: answers(right(44, 5))}
    found = compare_epochs(BASE, epochs, "accuracy", 0.95)
    assert [(one["epoch"], one["gained"], one["forgotten"]) for one in found["epochs"]] == [
        (1, 30, 5), (2, 45, 5), (3, 44, 5)
    ]  # fmt: skip
    assert [one["delta"] for one in found["epochs"]] == pytest.approx([0.25, 0.40, 0.39])
    pairs = {(one["a"], one["b"]): one for one in found["pairs"]}
    assert set(pairs) == {(1, 2), (1, 3), (2, 3)}
    assert (pairs[1, 2]["repaired"], pairs[1, 2]["broken"]) == (15, 0)
    assert pairs[1, 2]["p"] == pytest.approx(mcnemar_exact(15, 0))
    assert pairs[1, 2]["p_adjusted"] > pairs[1, 2]["p"]
    assert (pairs[1, 2]["better"], pairs[1, 3]["better"]) == (2, 3)
    assert not pairs[2, 3]["separated"]
    said = list(epoch_sentences(found))
    assert [one[:34] for one in said] == ["Epoch 2 is better than epoch 1 (ad", "Epoch 3 is better than epoch 1 (ad"]
    assert "after epoch 2" in checkpoints_sentence({"sets": {"test": found}})


def test_epochs_that_flip_a_few_cases_are_not_told_apart():
    found = compare_epochs(BASE, {1: answers(right(10, 0)), 2: answers(right(12, 0))}, "accuracy", 0.95)
    assert list(epoch_sentences(found)) == ["No two epochs differ significantly."]
