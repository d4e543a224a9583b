"""A model against itself flips nothing; strengths are held against the base on the same cases."""

import numpy as np
import pytest

from tests.board_answers import answers
from tunediff.compare.controls import Answers, controls
from tunediff.report import controls_and_epochs


def controls_sentence(figures):
    """With ordinary blanks."""
    return controls_and_epochs.controls_sentence(figures).replace("\N{NO-BREAK SPACE}", " ")


FLAGS = np.arange(100) < 50


def flipped(repaired, broken):
    flags = FLAGS.copy()
    flags[50 : 50 + repaired] = True
    flags[:broken] = False
    return answers(flags)


def found(null=((4, 3), (2, 5)), trained=(20, 10), again=(0, 0), **scaled):
    nulls = {seed: flipped(*one) for seed, one in enumerate(null, start=1)}
    strengths = {0.0: flipped(0, 0), 0.5: flipped(30, 5), 1.0: flipped(*trained)} if scaled else {}
    base, tuned = flipped(0, 0), flipped(*trained)
    figures = controls(Answers(base, flipped(*again), tuned, nulls, strengths), 0.95)
    return {"set": "test", "measure": "accuracy", **figures}


def test_a_base_against_itself_gives_zero_flips_and_the_report_says_so():
    figures = found()
    assert [figures["again"][key] for key in ("flips", "repaired", "broken", "changed")] == [0, 0, 0, 0]
    assert "zero flips on 100 cases: an A/A comparison finds nothing" in controls_sentence(figures)
    # Zero of 100 still allows for a rate of up to 3.6 %.
    assert figures["again"]["flips_high"] == pytest.approx(0.0362, abs=5e-5)


def test_flips_of_null_adapters_stand_beside_those_of_training():
    figures = found()
    assert [(one["seed"], one["flips"]) for one in figures["null"]] == [(1, 7), (2, 7)]
    said = controls_sentence(figures)
    assert "flip 7.0 on average (7 to 7 in 2 draws); training flipped 30 (20 repaired, 10 broken)." in said
    assert "no evidence of learning" not in said
    assert "no evidence of learning" in controls_sentence(found(trained=(4, 3)))


def test_a_base_that_flips_by_itself_is_said_to():
    said = controls_sentence(found(again=(1, 1)))
    assert said.startswith("Evaluated again, the base model flips 2 of 100 cases (A/A)")


def test_the_curve_over_strengths_starts_at_the_base_and_is_paired_with_it():
    curve = found(scaled=True)["strengths"]
    assert [one["strength"] for one in curve] == [0, 0.5, 1]
    assert [one["delta"] for one in curve] == pytest.approx([0, 0.25, 0.1])
    assert [(one["forgotten"], one["gained"]) for one in curve] == [(0, 0), (5, 30), (10, 20)]
    assert all(one["low"] <= one["delta"] <= one["high"] for one in curve)
    assert controls_sentence({}) == ""
