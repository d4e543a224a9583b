import numpy as np
import pandas as pd
import pytest

from tunediff.compare.comparison import Comparison
from tunediff.compare.effects.decomposition import gain_parts, gain_steps
from tunediff.compare.effects.evaluation_settings import most_likely, setting_answers
from tunediff.compare.effects.noise import answered_again, noise_floor
from tunediff.compare.pairs.align import align
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.classification import Inference

LABELS = ["yes", "no"]
TASK = Inference("nli", ["premise", "hypothesis"], LABELS, "premise", "hypothesis")
GOLD = ["yes", "no", "yes", "no"]


def predictions(scores, scorer="choices", **columns):
    log_probs = np.log(np.array(scores))
    answers = most_likely(log_probs, LABELS)
    frame = {
        "case_id": list("abcd"),
        "label": GOLD,
        "prediction": answers,
        "outcome": ["right" if a == g else "wrong" for a, g in zip(answers, GOLD, strict=True)],
        "log_probs": log_probs.tolist(),
        "prompt_hash": "p",
        "scorer": scorer,
    }
    return pd.DataFrame(frame | columns)


# The base says yes to all, and is surest where yes is right; the tuned has all right.
BASE = [[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.6, 0.4]]
TUNED = [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]]


def answers(base, tuned):
    return setting_answers(Comparison(align(base, tuned), TASK, 0.95))


def test_each_setting_that_was_asked_is_a_column_for_both_models():
    found = answers(predictions(BASE), predictions(TUNED))
    assert list(found) == ["label", "choices_base", "calibrated_base", "choices_tuned", "calibrated_tuned"]
    assert found["choices_base"].tolist() == ["yes"] * 4
    assert found["calibrated_base"].tolist() == GOLD
    asked = {"generated": ["yes", None, None, None], "premise_free_log_probs": np.log(BASE).tolist()}
    found = answers(predictions(BASE, **asked), predictions(TUNED, **asked))
    assert found["generated_base"].tolist()[0] == "yes"
    assert found["generated_base"].isna().tolist() == [False, True, True, True]
    assert found["partial_input_tuned"].tolist() == GOLD  # calibrated, as it stands in the definition of the gain
    parts = gain_parts(gain_steps(found), 0.95, None)["part"].tolist()
    assert parts == ["answer_format", "label_bias", "partial_input", "residual"]


def test_a_base_that_only_prefers_a_label_gains_by_the_label_bias_alone():
    parts = gain_parts(gain_steps(answers(predictions(BASE), predictions(TUNED))), 0.95, None).set_index("part")[
        "cases"
    ]
    assert parts.to_dict() == {"label_bias": 2, "residual": 0}


def test_free_text_that_is_what_was_scored_is_the_generated_answer():
    found = answers(predictions(BASE, "generation"), predictions(TUNED, "generation"))
    assert found["generated_tuned"].tolist() == GOLD


def test_a_setting_that_one_model_alone_was_asked_is_refused():
    found = answers(predictions(BASE, generated=GOLD), predictions(TUNED))
    with pytest.raises(TunediffError, match="found no column generated_tuned"):
        gain_parts(gain_steps(found), 0.95, None)


def test_the_second_run_of_the_base_is_held_against_the_first():
    def again(**columns):
        aligned = align(predictions(BASE, **columns), predictions(TUNED))
        return answered_again(aligned, "again_prediction_base", TASK, GOLD)

    assert again() is None
    again = again(again_prediction=["yes", "no", "no", None])
    assert again["outcome_tuned"].tolist() == ["right", "right", "wrong", "invalid"]
    assert noise_floor(again) == {"noise_floor_flips": 2, "noise_floor_changed": 3}
