import numpy as np
import pandas as pd
import pytest

from tunediff.compare.effects.noise import noise_floor, stable
from tunediff.compare.pairs.align import align


def predictions(answers, gold):
    outcomes = ["invalid" if a is None else "right" if a == g else "wrong" for a, g in zip(answers, gold, strict=True)]
    ids = [f"case {i}" for i in range(len(gold))]
    return pd.DataFrame(
        {"case_id": ids, "label": gold, "prediction": answers, "outcome": outcomes, "prompt_hash": "p", "scorer": "s"}
    )


GOLD = ["a"] * 7
ONE = ["a", "a", "b", "b", None, None, "a"]
OTHER = ["a", "b", "a", "c", None, "b", None]


def test_flips_and_changed_answers_are_counted_apart():
    again = align(predictions(ONE, GOLD), predictions(OTHER, GOLD))
    assert noise_floor(again) == {"noise_floor_flips": 3, "noise_floor_changed": 5}
    assert stable(again).to_dict() == {f"case {i}": i in (0, 4) for i in range(7)}


def test_the_same_file_twice_has_no_noise():
    assert set(noise_floor(align(predictions(ONE, GOLD), predictions(ONE, GOLD))).values()) == {0}


def test_the_order_of_the_two_runs_makes_no_difference():
    one, other = predictions(ONE, GOLD), predictions(OTHER, GOLD)
    assert noise_floor(align(one, other)) == noise_floor(align(other, one))


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("dtype", ["object", "str", "string"])
def test_an_answer_invalid_twice_is_stable_however_a_table_stores_it(dtype, missing):
    one = predictions(ONE, GOLD)
    one["prediction"] = pd.Series([missing if a is None else a for a in ONE], dtype=dtype)
    assert stable(align(one, one)).all()
