import numpy as np
import pytest

from tests.harness_samples import choice_sample, read
from tunediff.runtime.errors import TunediffError


def test_choices_that_are_the_same_in_every_case_become_labels():
    found = read(choice_sample(0, 0, [-1.5, -0.3, -2], 0.0), choice_sample(1, 2, [-9, -8, -0.1], 1.0))
    assert found.labels == ("True", "Neither", "False")
    frame = found.frame
    assert frame["label"].tolist() == ["True", "False"]
    assert frame["prediction"].tolist() == ["Neither", "False"]
    assert frame["outcome"].tolist() == ["wrong", "right"]
    assert frame["case_id"].tolist() == ["0", "1"]
    assert frame["prompt_hash"].tolist() == ["p0", "p1"]
    assert frame["scorer"].tolist() == ["acc, filter none"] * 2
    assert found.scores.tolist() == [[-1.5, -0.3, -2.0], [-9.0, -8.0, -0.1]]
    assert found.inputs == ("prompt",)
    assert frame["prompt"].iloc[0].startswith("Premise 0. Question")


def test_choices_of_their_own_in_every_case_keep_their_number():
    found = read(
        choice_sample(0, 1, [-2, -1], 1.0, choices=(" a cat", " a dog")),
        choice_sample(1, 0, [-2, -1], 0.0, choices=(" red", " blue")),
    )
    assert found.labels == ("0", "1")
    assert found.frame["label"].tolist() == ["1", "0"]
    assert found.frame["prediction"].tolist() == ["1", "1"]


def test_a_target_in_words_is_compared_in_words():
    found = read(
        choice_sample(0, "a dog", [-2, -1], 1.0, choices=(" a cat", " a dog")),
        choice_sample(1, "red", [-2, -1], 0.0, choices=(" red", " blue")),
    )
    assert found.frame["label"].tolist() == ["a dog", "red"]
    assert found.frame["prediction"].tolist() == ["a dog", "blue"]
    assert (found.labels, found.scores) == (None, None)


def test_a_target_that_is_none_of_the_choices_leaves_the_other_predictions_in_words():
    found = read(
        choice_sample(0, "Neither", [-1.5, -0.3, -2], 1.0),
        choice_sample(1, "False", [-1, -2, -3], 0.0),
        choice_sample(2, "Perhaps", [-9, -8, -0.1], 0.0),
    )
    assert found.frame["label"].tolist() == ["Neither", "False", "Perhaps"]
    assert found.frame["prediction"].tolist() == ["Neither", "True", "False"]
    assert (found.labels, found.scores, found.checks) == (None, None, ())
    numbers = read(*(choice_sample(n, "Perhaps", [-1.5, -0.3, -2], 0.0) for n in range(3)))
    assert numbers.frame["prediction"].tolist() == ["1"] * 3


def test_normalised_accuracy_divides_by_the_length_of_the_choice():
    row = choice_sample(0, 1, [-2.0, -3.0], 0.0, choices=(" cat", " elephants"), acc_norm=1.0)
    assert read(row).frame["prediction"].tolist() == ["cat"]
    assert read(row, metric="acc_norm").frame["prediction"].tolist() == ["elephants"]
    assert read(row, metric="acc_norm").frame["outcome"].tolist() == ["right"]


def test_mutual_information_scores_every_choice_twice_and_the_first_half_counts():
    row = choice_sample(0, 0, [-1, -2, -9, -0.1], 1.0, choices=(" yes", " no", " yes", " no"), acc_mutual_info=0.0)
    found = read(row)
    assert found.frame["prediction"].tolist() == ["yes"]
    assert found.scores.shape == (1, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_an_odd_number_of_likelihoods_for_mutual_information_is_refused(count):
    row = choice_sample(0, 0, [-1.0] * count, 1.0, choices=(" yes", " no", " yes")[:count], acc_mutual_info=0.0)
    expected = rf"row 1: filtered_resps: found {count} log-likelihoods, expected two for each choice"
    with pytest.raises(TunediffError, match=expected):
        read(row)


def test_what_is_no_likelihood_is_named_and_an_infinite_one_gives_no_scores():
    row = choice_sample(0, 0, [-1, "-inf", -3], 1.0)
    found = read(row)
    assert found.scores is None
    assert found.frame["prediction"].tolist() == ["True"]
    with pytest.raises(TunediffError, match=r"row 1: filtered_resps: found .*'x'.*, expected log-likelihoods"):
        read(choice_sample(0, 0, [-1, "x", -3], 1.0))


def test_a_file_without_the_texts_of_its_choices_keeps_their_numbers():
    row = choice_sample(0, 2, [-3, -2, -1], 1.0, arguments=None)
    for metric in ("acc", "acc_norm"):
        frame = read(row, metric=metric).frame
        assert (frame["label"].tolist(), frame["prediction"].tolist()) == (["2"], ["2"])


def harness_outcome(metric, choices, likelihoods, gold, alone=None):
    """What process_results of lm-evaluation-harness 0.4 gives for a multiple-choice task."""
    texts = [choice.removeprefix(" ") for choice in choices]
    scores = np.array(likelihoods)
    if metric == "acc_norm":
        scores = scores / np.array([float(len(text)) for text in texts])
    elif metric == "acc_bytes":
        scores = scores / np.array([float(len(text.encode("utf-8"))) for text in texts])
    elif metric == "acc_mutual_info":
        scores = scores - np.array(alone)
    return float(np.argmax(scores) == gold)


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_bytes", "acc_mutual_info"])
@pytest.mark.parametrize("choices", [(" да", " конечно нет, никогда"), (" yes", " no\n"), (" a", " a longer answer")])
def test_the_prediction_follows_the_rule_of_its_metric(metric, choices):
    generator = np.random.default_rng(0)
    rows, gold = [], generator.integers(2, size=60)
    for number in range(60):
        likelihoods, alone = generator.normal(-20, 12, 2).tolist(), generator.normal(-20, 12, 2).tolist()
        value = harness_outcome(metric, choices, likelihoods, gold[number], alone)
        twice = metric == "acc_mutual_info"
        every = (*choices, *(text.removeprefix(" ") for text in choices)) if twice else choices
        row = choice_sample(number, gold[number], likelihoods + (alone if twice else []), 0.0, choices=every)
        rows.append(row | {"metrics": [metric], metric: value})
    found = read(*rows, metric=metric)
    frame = found.frame
    assert found.checks == ()
    assert ((frame["label"] == frame["prediction"]) == (frame["outcome"] == "right")).all()
    assert found.labels == tuple(text.strip() for text in choices)


def test_predictions_that_contradict_their_outcomes_are_counted_and_refused_where_most_do():
    rows = [choice_sample(n, 0, [-1, -2, -3], 0.0 if n in (3, 7) else 1.0) for n in range(20)]
    found = read(*rows)
    [(code, sentence)] = found.checks
    assert code == "TD402"
    assert sentence.startswith(
        "In 2 of 20 cases (rows 4, 8) of samples.jsonl the log-likelihoods favour a choice that contradicts acc"
    )
    assert found.frame["outcome"].tolist().count("wrong") == 2
    rows = [choice_sample(n, 0, [-1, -2, -3], 0.0) for n in range(20)]
    with pytest.raises(TunediffError, match=r"acc: found outcomes that contradict .* in 20 of 20 cases"):
        read(*rows)


def test_targets_that_may_be_numbers_or_texts_of_choices_are_read_as_fits_the_outcomes():
    choices = (" 1", " 2", " 3")
    likelihoods = {0: [-1, -5, -5], 1: [-5, -1, -5], 2: [-5, -5, -1]}
    by_number = [choice_sample(n, n % 2 + 1, likelihoods[n % 2 + 1], 1.0, choices=choices) for n in range(10)]
    assert read(*by_number).frame["label"].tolist() == ["2", "3"] * 5
    in_words = [choice_sample(n, n % 2 + 1, likelihoods[n % 2], 1.0, choices=choices) for n in range(10)]
    assert read(*in_words).frame["label"].tolist() == ["1", "2"] * 5


@pytest.mark.parametrize("likelihoods", [["nan", "nan", "nan"], [-1, "nan", -3]])
def test_a_likelihood_that_is_no_number_makes_a_case_invalid(likelihoods):
    rows = [choice_sample(n, 0, [-1, -2, -3], 1.0) for n in range(3)] + [choice_sample(3, 0, likelihoods, 1.0)]
    found = read(*rows)
    assert found.frame["outcome"].tolist() == ["right"] * 3 + ["invalid"]
    assert found.frame["prediction"].isna().tolist() == [False] * 3 + [True]
    assert found.scores is None
    sentence = "In 1 of 4 cases of samples.jsonl a log-likelihood is NaN: they count as invalid."
    assert found.checks == (("TD403", sentence),)
    alone = choice_sample(0, "dog", ["nan"], 1.0, choices=(" dog",), metrics=["acc"])
    assert read(alone).frame["outcome"].tolist() == ["invalid"]


def test_exact_match_of_choices_asks_which_is_the_greedy_answer():
    def sample(n, greedy, right):
        row = choice_sample(n, 1, [-1, -2, -3], 0.0, metrics=["exact_match"], exact_match=right)
        return row | {"filtered_resps": [[str(-1 - at), str(one)] for at, one in enumerate(greedy)]}

    found = read(sample(0, [False, True, False], 1), sample(1, [True, False, False], 0), sample(2, [False] * 3, 0))
    assert found.frame["prediction"].tolist() == ["Neither", "True", "(not the target)"]
    assert found.frame["outcome"].tolist() == ["right", "wrong", "wrong"]
    assert found.checks == ()


def test_several_right_choices_are_all_right():
    cases = [([-1, -2, -3], 1.0), ([-3, -2, -1], 1.0), ([-3, -1, -2], 0.0)]
    found = read(*(choice_sample(n, "[0, 2]", *case) for n, case in enumerate(cases)))
    assert found.frame["prediction"].tolist() == ["0", "2", "1"]
    assert (found.labels, found.checks) == (None, ())
