import doctest

import pytest

from tunediff.compare.effects import power as module
from tunediff.compare.effects.power import cases_still_needed, power_sentence


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("net", "needed"), [(10, 7847), (20, 1960), (30, 870), (50, 312)])
def test_the_cases_still_needed_are_the_golden_ones_less_those_there_are(net, needed):
    # 1,000 cases of which 10 % flip.
    assert cases_still_needed(1000, (100 + net) // 2, (100 - net) // 2) == max(0, needed - 1000)


def test_a_shown_difference_needs_no_further_case():
    sentence = power_sentence(100, 49, 2)
    assert sentence == (
        "100 cases, of which 51 changed between right and wrong, detect a difference of 19.8 points or more with 80 % "
        "power (two-sided 5 % level)."
    )


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            (100, 5, 0),
            "Of 100 cases, 5 changed between right and wrong, too few to detect a difference; 100 cases could detect",
        ),
        ((100, 0, 0), "Of 100 cases, none changed between right and wrong, too few"),
        ((1, 1, 0), "1 case cannot detect any difference"),
        ((100, 10, 10), "or more with 80 % power (two-sided 5 % level)."),
    ],
)
def test_what_cannot_be_shown_is_said(counts, words):
    assert words in power_sentence(*counts)


def test_the_level_is_the_one_asked_for():
    assert "two-sided 10 % level" in power_sentence(1000, 60, 50, alpha=0.1)
