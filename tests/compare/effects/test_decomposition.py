from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import norm

from tunediff.compare.effects import decomposition
from tunediff.compare.effects.decomposition import SETTINGS, gain_metrics, gain_steps
from tunediff.compare.effects.label_bias import calibrated, likeliest
from tunediff.runtime.errors import TunediffError

gain_parts = partial(decomposition.gain_parts, confidence=0.95, clusters=None)
step_interval = partial(decomposition.step_interval, confidence=0.95, clusters=None)

LABELS = ["entailment", "neutral", "contradiction"]
N = 600


class MadeUp:
    """A model as two tables of scores, with the premise and without it, and which of its free answers parse."""

    def __init__(self, scores, alone, parses=None):
        self.scores, self.alone = log_softmax(scores, axis=1), log_softmax(alone, axis=1)
        self.parses = np.ones(len(scores), dtype=bool) if parses is None else parses

    def answers(self, who):
        choices = np.array(LABELS, dtype=object)[self.scores.argmax(axis=1)]
        return {
            f"generated_{who}": np.where(self.parses, choices, None),
            f"choices_{who}": choices,
            f"calibrated_{who}": likeliest(calibrated(self.scores), LABELS),
            f"partial_input_{who}": likeliest(calibrated(self.alone), LABELS),
        }


def compared(gold, base, tuned):
    return pd.DataFrame({"label": gold, **base.answers("base"), **tuned.answers("tuned")})


def world(seed=0):
    """Gold labels, scores that read the pair, and scores that see a cue in the hypothesis alone."""
    generator = np.random.default_rng(seed)
    gold = np.repeat(LABELS, N // 3)
    truth = np.eye(3)[np.repeat(np.arange(3), N // 3)]
    reads = generator.normal(size=(N, 3)) + 1.5 * truth
    cue = generator.normal(size=(N, 3)) + 0.7 * truth
    # A sample prefers some label a little by chance; these two prefer none.
    return gold, calibrated(reads), calibrated(cue), generator


def shares(parts):
    return dict(zip(parts["part"], parts["cases"], strict=True))


def test_a_model_that_learned_only_the_format_is_all_format():
    gold, reads, cue, generator = world()
    base = MadeUp(reads, cue, parses=generator.random(N) < 0.4)
    found = shares(gain_parts(gain_steps(compared(gold, base, MadeUp(reads, cue)))))
    assert found["answer_format"] > 0.2 * N
    assert (found["label_bias"], found["partial_input"], found["residual"]) == (0, 0, 0)


def test_a_model_that_only_shifts_its_prior_is_all_prior():
    gold, reads, cue, _ = world()
    bias = np.array([4.0, 0.0, -1.0])
    found = shares(gain_parts(gain_steps(compared(gold, MadeUp(reads + bias, cue + bias), MadeUp(reads, cue)))))
    assert found["label_bias"] > 0.1 * N
    assert (found["answer_format"], found["partial_input"], found["residual"]) == (0, 0, 0)


def test_a_prior_that_also_prefers_the_wrong_way_is_all_prior_and_negative():
    gold, reads, cue, _ = world()
    bias = np.array([4.0, 0.0, -1.0])
    found = shares(gain_parts(gain_steps(compared(gold, MadeUp(reads, cue), MadeUp(reads + bias, cue + bias)))))
    assert found["label_bias"] < -0.1 * N
    assert (found["answer_format"], found["partial_input"], found["residual"]) == (0, 0, 0)


@pytest.mark.parametrize("bias", [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
def test_a_model_that_reads_only_the_hypothesis_is_all_cue(bias):
    gold, _, cue, _ = world()
    says_the_same = np.zeros((N, 3)) + bias
    found = shares(gain_parts(gain_steps(compared(gold, MadeUp(says_the_same, says_the_same), MadeUp(cue, cue)))))
    assert found["partial_input"] > 0.1 * N
    assert (found["answer_format"], found["label_bias"], found["residual"]) == (0, 0, 0)


def test_a_model_that_learned_to_read_the_pair_is_all_rest():
    gold, reads, cue, _ = world()
    found = shares(gain_parts(gain_steps(compared(gold, MadeUp(cue, cue), MadeUp(reads, cue)))))
    assert found["residual"] > 0.1 * N
    assert (found["answer_format"], found["label_bias"], found["partial_input"]) == (0, 0, 0)


def test_a_model_that_gave_up_the_premise_for_a_cue_has_a_negative_rest():
    gold, reads, cue, generator = world()
    blind = generator.normal(size=(N, 3))
    found = shares(gain_parts(gain_steps(compared(gold, MadeUp(reads, blind), MadeUp(cue, cue)))))
    assert found["partial_input"] > 0 > found["residual"]


answer = st.one_of(st.none(), st.sampled_from(LABELS))
columns = [f"{protocol}_{who}" for protocol in SETTINGS for who in ("base", "tuned")]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(LABELS), *[answer] * 8), min_size=1, max_size=40))
def test_the_parts_add_up_to_the_whole_gain_exactly_in_every_case(rows):
    answers = pd.DataFrame(rows, columns=["label", *columns])
    right = {name: [row["label"] == row[name] for _, row in answers.iterrows()] for name in columns}
    gain = np.array(right["generated_tuned"], int) - np.array(right["generated_base"], int)
    assert gain_steps(answers).sum(axis=1).tolist() == gain.tolist()
    parts = gain_parts(gain_steps(answers))
    assert parts["part"].tolist() == ["answer_format", "label_bias", "partial_input", "residual"]
    assert parts["cases"].sum() == gain.sum()
    assert sum(gain_metrics(parts).values()) == pytest.approx(gain.mean())
    assert (parts["low"] <= parts["points"]).all()
    assert (parts["points"] <= parts["high"]).all()


def test_the_whole_gain_of_the_golden_pair_is_47_points_however_it_is_divided():
    gold = ["neutral"] * 100
    before = ["neutral"] * 39 + [None] * 49 + ["neutral"] * 2 + ["entailment"] * 10
    after = ["neutral"] * 88 + ["entailment"] * 12
    free = {"generated_base": before, "generated_tuned": after}
    rest = {name: after for name in columns if not name.startswith("generated")}
    metrics = gain_metrics(gain_parts(gain_steps(pd.DataFrame({"label": gold, **free, **rest}))))
    assert metrics == {
        "gain_answer_format": pytest.approx(0.47),
        "gain_label_bias": 0,
        "gain_partial_input": 0,
        "gain_residual": 0,
    }


def test_a_protocol_that_was_not_asked_has_no_part_and_the_others_still_add_up():
    gold, reads, cue, _ = world()
    answers = compared(gold, MadeUp(cue, cue), MadeUp(reads, cue))
    head = answers.drop(columns=["generated_base", "generated_tuned"])
    assert gain_parts(gain_steps(head))["part"].tolist() == ["label_bias", "partial_input", "residual"]
    one_input = head.drop(columns=["partial_input_base", "partial_input_tuned"])
    parts = gain_parts(gain_steps(one_input))
    assert parts["part"].tolist() == ["label_bias", "residual"]
    gain = (answers["choices_tuned"] == gold).sum() - (answers["choices_base"] == gold).sum()
    assert parts["cases"].sum() == gain
    with pytest.raises(TunediffError, match="found no column generated_tuned"):
        gain_steps(answers.drop(columns="generated_tuned"))
    with pytest.raises(TunediffError, match="found no column calibrated_base, calibrated_tuned"):
        gain_steps(answers.drop(columns=["calibrated_base", "calibrated_tuned"]))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_an_answer_that_does_not_parse_is_wrong_however_a_table_stores_it(missing):
    dtype = "string" if missing is pd.NA else "object"
    rows = {name: pd.Series(["neutral", missing], dtype=dtype) for name in columns}
    answers = pd.DataFrame({"label": pd.Series(["neutral", "neutral"], dtype=dtype), **rows})
    answers["generated_tuned"] = answers["label"]
    assert gain_steps(answers)["answer_format"].tolist() == [0, 1]


def wald_plus_2(b, c, n, confidence=0.95):
    """R code of Agresti and Min's own page for adding 0.5 to each cell, transcribed (b: broken, c: repaired)."""
    z = norm.ppf((1 + confidence) / 2)
    difference = (c - b) / (n + 2)
    error = np.sqrt((b + c + 1) - (c - b) ** 2 / (n + 2)) / (n + 2)
    return max(-1.0, difference - z * error), min(1.0, difference + z * error)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_interval_is_that_of_agresti_and_min(broken, repaired, rest):
    values = np.repeat([-1, 1, 0], [broken, repaired, rest + 1])
    assert step_interval(values) == pytest.approx(wald_plus_2(broken, repaired, len(values)))


def test_a_part_that_no_case_shows_still_has_an_interval():
    low, high = step_interval(np.zeros(100, dtype=np.int64))
    assert low < 0 < high < 0.05


def test_cases_of_one_premise_widen_the_interval_and_lone_cases_leave_it():
    values = np.repeat([1, 0], [30, 60])
    alone, of_three = np.arange(90), np.repeat(np.arange(30), 3)
    assert step_interval(values, clusters=alone) == pytest.approx(step_interval(values))
    low, high = step_interval(values)
    wide_low, wide_high = step_interval(values, clusters=of_three)
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt(3), rel=0.02)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(5)
    support, chances = np.array([-2, -1, 0, 1, 2]), np.array([0.01, 0.05, 0.74, 0.17, 0.03])
    drawn = generator.choice(support, p=chances, size=(2000, 80))
    inside = [low <= support @ chances <= high for low, high in map(step_interval, drawn)]
    assert 0.93 < np.mean(inside) < 0.97
