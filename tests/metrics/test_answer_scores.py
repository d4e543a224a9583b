import doctest
import math

import numpy as np
import pytest

from tunediff.metrics import answer_scores as module
from tunediff.metrics.answer_scores import Answered, score_answers
from tunediff.metrics.squad import squad_v2_scores
from tunediff.metrics.text import meteor_name, text_scores
from tunediff.runtime.errors import TunediffError
from tunediff.stats.intervals import wilson

ANSWERS = [["Paris", "in Paris"], ["the Seine"], [], []]
PREDICTIONS = ["paris", "Seine river", "", "Rome"]
NO_ANSWER = [0.1, 0.3, 0.9, 0.6]


def logs(no_answer):
    return [[math.log(1 - p), math.log(p)] for p in no_answer]


def test_the_keys_are_those_of_the_official_dictionary_between_n_and_invalid():
    found = score_answers(ANSWERS, PREDICTIONS, logs(NO_ANSWER))
    official = squad_v2_scores(ANSWERS, PREDICTIONS, NO_ANSWER)
    assert {key: found[key] for key in official if key != "total"} == pytest.approx(
        {key: value for key, value in official.items() if key != "total"}
    )
    assert (found["n"], found["exact"], found["best_exact"], found["invalid"]) == (4, 50, 75, 0)
    low, high = wilson(2, 4)
    assert (found["exact_low"], found["exact_high"]) == (100 * low, 100 * high)
    assert all(type(value) in (int, float) for value in found.values())
    text = text_scores(ANSWERS[:2], PREDICTIONS[:2])
    assert {key: found[key] for key in text} == text
    assert meteor_name() in found


def test_without_probabilities_there_is_no_threshold():
    found = score_answers(ANSWERS, PREDICTIONS)
    assert not [key for key in found if "thresh" in key]


def test_an_invalid_answer_is_counted_and_wrong_even_where_silence_would_be_right():
    found = score_answers(ANSWERS, ["paris", None, None, "Rome"], logs(NO_ANSWER))
    assert (found["invalid"], found["NoAns_exact"], found["exact"]) == (2, 0, 25)
    # Above a threshold it is dropped like any other answer.
    assert found["best_exact"] == 75


def test_questions_without_any_answer_have_no_text_to_compare():
    found = score_answers([[], []], ["", "Rome"])
    assert "bleu" not in found
    assert "HasAns_exact" not in found
    assert (found["NoAns_exact"], found["NoAns_total"]) == (50, 2)


def test_a_threshold_is_taken_from_other_questions_and_applied_to_these():
    # There, answers hold below 0.5; here, the answer at 0.45 is wrong and the best threshold is below it.
    validation = Answered([["a b"], ["c d"], [], []], ["a b", "c d", "e", "f"], logs([0.2, 0.5, 0.7, 0.8]))
    found = score_answers([["x y"], [], [], ["z"]], ["x y", "w", "v", "z"], logs([0.1, 0.45, 0.9, 0.95]), validation)
    assert (found["validated_exact_thresh"], found["validated_f1_thresh"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found["validated_exact"] == 50  # right: x y and the dropped v; wrong: w, and z dropped
    assert (found["best_exact"], found["best_exact_thresh"]) == (75, pytest.approx(0.1))


def test_a_tuned_threshold_is_never_better_than_the_best_one_of_the_same_questions():
    rng = np.random.default_rng(3)
    for _ in range(50):
        n = 12
        answers = [["right"] if rng.random() < 0.5 else [] for _ in range(n)]
        predictions = [str(rng.choice(["right", "wrong", ""])) for _ in range(n)]
        own = Answered(answers, predictions, logs(rng.choice([0.1, 0.4, 0.6, 0.9], n)))
        found = score_answers(*own, validation=own)
        assert found["validated_f1"] <= found["best_f1"] + 1e-9


@pytest.mark.parametrize(
    "bad", [[[-0.1, -2.4]], [[-0.1], [-0.2]], [[-0.1, -math.inf], [-1.0, -1.0]], [None, [-0.1, -2.4]]]
)
def test_other_than_two_finite_numbers_for_each_question_are_refused(bad):
    with pytest.raises(TunediffError, match="expected two finite numbers for each of 2 questions"):
        score_answers([["a"], []], ["a", ""], bad)


def test_as_many_predictions_as_questions_are_expected():
    with pytest.raises(TunediffError, match="found 1 predictions to 2 questions"):
        score_answers([["a"], []], ["a"])


def test_the_documented_example_holds():
    example = "\n".join(line.strip() for line in module.__doc__.splitlines() if line.startswith("    "))
    namespace = {"score_answers": score_answers}
    first, second = example.split("\n")
    exec(first, namespace)
    shown, values = second.split("#")
    assert eval(shown, namespace) == eval(values)
    assert doctest.testmod(module).failed == 0
