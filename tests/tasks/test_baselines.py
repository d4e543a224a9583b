import json
from pathlib import Path

import numpy as np
import pytest

from tests.small_tasks import ONE, PAIR
from tunediff.compare.effects.label_bias import calibrated, likeliest
from tunediff.data.cases import make_cases
from tunediff.runtime import beside
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import classification, task_of
from tunediff.tasks.baselines import majority_label, tfidf_logistic

SNLI = Path(__file__).parents[3] / "shared" / "data" / "snli"
TASK = task_of(PAIR)


def test_the_majority_label_is_the_one_of_the_training_rows():
    assert majority_label(["b", "a", "b", "c"]) == "b"


def test_a_tie_does_not_depend_on_the_order_of_the_rows():
    assert majority_label(["b", "a"]) == majority_label(["a", "b"]) == "a"


def test_the_classifier_finds_a_cue_in_the_field_it_reads():
    train = [f"{who} is {what}" for who in ("a man", "a dog", "she", "he") for what in ("sleeping", "outside")]
    labels = ["contradiction", "entailment"] * 4
    predictions = tfidf_logistic(train, labels, ["a cat is sleeping", "a cat is outside"])
    assert predictions == ["contradiction", "entailment"]


def test_word_pairs_and_one_letter_words_are_read():
    train = ["a b", "b a", "x a b", "x b a"] * 5
    labels = ["ab", "ba", "ab", "ba"] * 5
    assert tfidf_logistic(train, labels, ["y a b", "y b a"]) == ["ab", "ba"]


def test_texts_without_a_cue_leave_the_classifier_at_the_share_of_the_label():
    train, labels = ["the same words"] * 30, ["a", "b", "b"] * 10
    assert tfidf_logistic(train, labels, ["the same words"] * 4) == ["b"] * 4


def test_rows_without_a_word_are_refused():
    with pytest.raises(TunediffError, match="no word in 2 training texts"):
        tfidf_logistic(["", "  "], ["a", "b"], ["one"])


@pytest.mark.slow
def test_the_hypothesis_alone_gives_half_of_snli_away():
    if not SNLI.exists():
        pytest.skip(f"the SNLI sample is not at {SNLI}")

    def rows(name, limit):
        with (SNLI / name).open(encoding="utf-8") as lines:
            parsed = [json.loads(line) for line in lines]
        return [row for row in parsed if row["label"] not in (-1, "-", None)][:limit]

    train, test = rows("train_18k.jsonl", 6000), rows("test.jsonl", 1000)
    texts = [row["hypothesis"] for row in train], [row["hypothesis"] for row in test]
    labels = [str(row["label"]) for row in train], [str(row["label"]) for row in test]
    first = tfidf_logistic(texts[0], labels[0], texts[1])
    right = [one == label for one, label in zip(first, labels[1], strict=True)]
    # Gururangan et al. 2018 report 67 % for fastText on all 550,000 rows; chance is 33 %.
    assert 0.5 < np.mean(right) < 0.67
    assert labels[1].count(majority_label(labels[0])) / len(labels[1]) < 0.4
    assert tfidf_logistic(texts[0], labels[0], texts[1]) == first


def cases(*rows):
    return make_cases(
        ({"premise": premise, "hypothesis": hypothesis}, label, ()) for premise, hypothesis, label in rows
    )


def test_every_baseline_answers_the_test_cases_in_their_order():
    train = cases(*[("p", "it is raining", "yes"), ("p", "it is dry", "no"), ("p", "raining again", "yes")] * 5)
    test = cases(("q", "dry", "yes"), ("q", "raining", "no"))
    log_probs = np.log([[0.9, 0.1], [0.7, 0.3]])
    base = {"base": ["yes", "yes"], "few_shot_base": ["no", None]}
    base["calibrated_base"] = likeliest(calibrated(log_probs), TASK.labels).tolist()
    answers = TASK.baselines(train, test, base)
    assert list(answers) == ["majority", "partial_input", "bag_of_words", "calibrated_base", "few_shot_base"]
    assert answers["majority"] == ["yes", "yes"]
    assert answers["partial_input"] == ["no", "yes"]
    assert answers["calibrated_base"] == ["yes", "no"]
    assert answers["few_shot_base"] == ["no", None]


def test_two_processes_give_the_answers_of_one(monkeypatch):
    train = cases(*[("rain", f"{word} sun", label) for word, label in [("dry", "yes"), ("wet", "no")] * 5])
    alone = TASK.baselines(train, train, {})
    monkeypatch.setattr(classification, "MANY_CASES", 0)
    monkeypatch.setattr(beside, "cores", lambda: 2)
    assert TASK.baselines(train, train, {}) == alone
    assert list(alone) == ["majority", "partial_input", "bag_of_words"]


def test_the_bag_of_all_inputs_tells_a_word_of_the_premise_from_one_of_the_hypothesis():
    pairs = [("rain", "sun", "yes"), ("sun", "rain", "no")]
    answers = TASK.baselines(cases(*pairs * 10), cases(*pairs), {})
    assert answers["bag_of_words"] == ["yes", "no"]


def test_a_task_with_one_input_has_one_bag_of_words():
    rows = make_cases(({"sentence": text}, label, ()) for text, label in [("good", "yes"), ("bad", "no")])
    assert list(task_of(ONE).baselines(rows, rows, {})) == ["majority", "partial_input"]


@pytest.mark.parametrize("rows", [[("a", "b", "yes")], [("?", "!", "yes"), ("!", "?", "no")]])
def test_training_cases_that_cannot_train_a_classifier_leave_the_majority_label(rows):
    assert list(TASK.baselines(cases(*rows), cases(*rows), {})) == ["majority"]
