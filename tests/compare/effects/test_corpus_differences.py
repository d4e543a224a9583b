from functools import partial

import numpy as np
import pandas as pd
import pytest

from tests.shared_data import shared_data
from tunediff.compare.answer_checks import text_checks
from tunediff.compare.effects import corpus_differences
from tunediff.metrics.answer_scores import score_answers
from tunediff.metrics.squad import best_threshold
from tunediff.metrics.text import bleu_counts, bleu_dictionary, text_scores

threshold_differences = partial(corpus_differences.threshold_differences, confidence=0.95, clusters=None)
text_differences = partial(corpus_differences.text_differences, confidence=0.95, clusters=None)

WORDS = ["the", "a", "red", "green", "dog", "cat", "runs", "sits", "in", "on", "park", "mat"]


def aligned_pair(n=120, seed=0):
    """Made-up questions: the tuned model answers more of them right and knows better which have none."""
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(n) < 0.5, "answerable", "unanswerable")
    frame = pd.DataFrame({"label": label})
    for who, share, sureness in (("base", 0.4, 0.1), ("tuned", 0.7, 0.4)):
        right = (rng.random(n) < share) & (label == "answerable")
        silent = rng.random(n) < 0.15
        right = np.where(silent, label == "unanswerable", right)
        frame[f"prediction_{who}"] = np.where(silent, "", "text")
        frame[f"outcome_{who}"] = np.where(right, "right", "wrong")
        shared = np.where((label == "answerable") & ~silent, rng.random(n).round(1), 0)
        frame[f"f1_{who}"] = np.where(right, 1.0, shared)
        # Of two digits, so that some are equal.
        no_answer = (0.5 + sureness * np.where(label == "unanswerable", 1, -1) + rng.normal(0, 0.2, n)).clip(0.02, 0.98)
        frame[f"log_probs_{who}"] = list(np.log(np.stack([1 - no_answer, no_answer], axis=1)))
    return frame


def best(frame, who, column):
    scores = frame[f"f1_{who}"] if column == "f1" else (frame[f"outcome_{who}"] == "right").astype(float)
    no_answer = np.exp(np.stack(frame[f"log_probs_{who}"]))[:, 1]
    answerable, silent = frame["label"] == "answerable", frame[f"prediction_{who}"] == ""
    return best_threshold(scores.to_numpy(), answerable.to_numpy(), silent.to_numpy(), no_answer)[0]


METRICS = {"best exact match": "outcome", "best F1": "f1"}


def test_the_values_are_those_of_the_official_scan():
    frame = aligned_pair()
    rows = threshold_differences(frame)
    assert [row.metric for row in rows] == list(METRICS)
    for row in rows:
        assert row.base == pytest.approx(best(frame, "base", METRICS[row.metric]))
        assert row.tuned == pytest.approx(best(frame, "tuned", METRICS[row.metric]))
        assert row.delta == pytest.approx(row.tuned - row.base)


@pytest.mark.slow
def test_the_interval_is_that_of_tuning_the_threshold_again_in_each_sample():
    frame, rng = aligned_pair(), np.random.default_rng(71)
    drawn = {metric: [] for metric in METRICS}
    for _ in range(400):
        sample = frame.iloc[rng.integers(0, len(frame), len(frame))]
        for metric, column in METRICS.items():
            drawn[metric].append(best(sample, "tuned", column) - best(sample, "base", column))
    for row in threshold_differences(frame):
        assert (row.low, row.high) == pytest.approx(np.quantile(drawn[row.metric], [0.025, 0.975]), abs=0.03)
        assert row.low < row.delta < row.high


@pytest.mark.slow
def test_the_p_value_is_that_of_swapping_the_answers_of_single_cases():
    frame, rng = aligned_pair(n=60, seed=4), np.random.default_rng(72)
    columns = ("prediction", "outcome", "f1", "log_probs")
    as_large = dict.fromkeys(METRICS, 0)
    rows = threshold_differences(frame)
    for _ in range(300):
        swap = rng.random(len(frame)) < 0.5
        one = frame.copy()
        for column in columns:
            one[f"{column}_base"] = frame[f"{column}_base"].where(~swap, frame[f"{column}_tuned"])
            one[f"{column}_tuned"] = frame[f"{column}_tuned"].where(~swap, frame[f"{column}_base"])
        for row in rows:
            change = best(one, "tuned", METRICS[row.metric]) - best(one, "base", METRICS[row.metric])
            as_large[row.metric] += abs(change) >= abs(row.delta) - 1e-9
    for row in rows:
        assert row.p == pytest.approx(as_large[row.metric] / 300, abs=0.09)


def test_two_equal_models_differ_by_nothing():
    frame = aligned_pair()
    for column in ("prediction", "outcome", "f1", "log_probs"):
        frame[f"{column}_tuned"] = frame[f"{column}_base"]
    for row in threshold_differences(frame):
        assert (row.delta, row.low, row.high, row.p) == (0, 0, 0, 1)


def test_copies_of_a_question_in_one_paragraph_say_no_more_than_the_question():
    frame = aligned_pair(n=50, seed=5)
    alone = threshold_differences(frame)
    copies = frame.loc[frame.index.repeat(6)].reset_index(drop=True)
    together = threshold_differences(copies, clusters=np.repeat(np.arange(50), 6))
    apart = threshold_differences(copies)
    for one, many, wrong in zip(alone, together, apart, strict=True):
        assert many.delta == pytest.approx(one.delta)
        assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.2)
        assert wrong.high - wrong.low < 0.6 * (one.high - one.low)


def test_without_probabilities_or_a_second_case_there_is_nothing_to_compare():
    frame = aligned_pair()
    assert threshold_differences(frame.assign(log_probs_base=None)) == []
    assert threshold_differences(frame.drop(columns="log_probs_tuned")) == []
    assert threshold_differences(frame.head(1)) == []
    for row in threshold_differences(frame, clusters=["one paragraph"] * len(frame)):
        assert (row.low, row.high) == (-1, 1)


def texts(n=80, seed=0):
    rng = np.random.default_rng(seed)

    def sentence(size):
        return " ".join(rng.choice(WORDS, size))

    answers = [[sentence(6) for _ in range(rng.integers(1, 3))] if rng.random() < 0.8 else [] for _ in range(n)]
    before, after = (
        [one[0] if one and rng.random() < share else sentence(5) for one in answers] for share in (0.2, 0.5)
    )
    before[3], after[4] = None, ""
    return answers, before, after


def test_the_values_are_those_of_the_scorer_on_questions_with_an_answer():
    answers, before, after = texts()
    rows = {row.metric: row for row in text_differences(answers, before, after)}
    for predictions, who in ((before, "base"), (after, "tuned")):
        scores = score_answers(answers, predictions)
        assert getattr(rows["BLEU"], who) == pytest.approx(scores["bleu"] / 100)
        for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
            assert getattr(rows[name.replace("rouge", "ROUGE-")], who) == pytest.approx(scores[name])
        [meteor] = [key for key in scores if key.startswith("meteor")]
        assert getattr(rows[meteor.replace("meteor", "METEOR").replace("_", " ")], who) == pytest.approx(scores[meteor])


@pytest.mark.slow
def test_the_interval_of_bleu_is_that_of_scoring_samples_of_the_corpus():
    answers, before, after = texts()
    row, rng = text_differences(answers, before, after)[0], np.random.default_rng(73)
    there = [i for i in range(len(answers)) if answers[i]]
    values = []
    for _ in range(400):
        sample = rng.choice(there, len(there))
        scores = [
            bleu_dictionary(bleu_counts([answers[i] for i in sample], [given[i] or "" for i in sample]).sum(axis=0))
            for given in (before, after)
        ]
        values.append((scores[1]["bleu"] - scores[0]["bleu"]) / 100)
    assert (row.low, row.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)
    assert row.p < 0.01


def test_two_equal_models_have_the_same_texts():
    answers, before, _ = texts()
    for row in text_differences(answers, before, before, clusters=[i // 4 for i in range(len(answers))]):
        assert (row.delta, row.low, row.high, row.p) == (0, 0, 0, 1)


def test_questions_without_an_answer_have_no_text_to_compare():
    assert text_differences([[], []], ["", "a"], ["b", ""]) == []


def test_one_answer_says_nothing_about_the_next():
    for row in text_differences([["a red dog runs"]], ["a dog"], ["a red dog runs"]):
        assert (row.low, row.high) == (-1, 1)


def test_references_that_belong_to_other_questions_raise_the_check():
    # System E: predictions and references were not aligned, ROUGE came out near 1e-5 beside an F1 that was not.
    answers = [[f"word{i}"] for i in range(300)]
    predictions = [f"word{i}" for i in range(300)]
    aligned = {row.metric: row.tuned for row in text_differences(answers, predictions, predictions)}
    shifted = {row.metric: row.tuned for row in text_differences(answers[1:] + answers[:1], predictions, predictions)}
    assert not list(text_checks(1.0, aligned, "model"))
    [check] = text_checks(1.0, shifted, "model")
    assert "ROUGE-1 0" in check.sentence


@pytest.mark.slow
def test_the_published_answers_to_squad_have_an_interval_in_seconds():
    import json

    articles = json.loads(shared_data("squad/dev-v2.0.json").read_text())["data"][:6]
    given = json.loads(shared_data("squad/predictions-v2.0-bert-single.json").read_text())
    questions = [(q, p["context"]) for article in articles for p in article["paragraphs"] for q in p["qas"]]
    answers = [[one["text"] for one in question["answers"]] for question, _ in questions]
    after = [given[question["id"]] for question, _ in questions]
    before = [" ".join(text.split()[:1]) for text in after]
    rows = text_differences(answers, before, after, clusters=[context for _, context in questions])
    there = [(one, text) for one, text in zip(answers, after, strict=True) if one]
    scores = text_scores([one for one, _ in there], [text for _, text in there])
    assert rows[0].tuned == pytest.approx(scores["bleu"] / 100)
    assert all(row.low < row.delta < row.high for row in rows)
