"""A few cases are asked again, each alone: what rounding explains passes, and nothing else does."""

import math

import pytest

from tunediff.engines.alone import SAMPLE, check_alone, max_difference
from tunediff.runtime.errors import TunediffError

LENGTHS = [30, 5, 90, 12, 12, 7, 60, 44, 21, 3, 18, 75]
SCORES = [[-1.0 - i, -2.0] for i in range(len(LENGTHS))]


def test_the_sample_is_spread_by_length_and_holds_the_shortest_and_the_longest():
    seen = []
    check_alone(LENGTHS, SCORES, lambda i: seen.append(i) or SCORES[i], "float32", "test")
    lengths = [LENGTHS[i] for i in seen]
    assert len(seen) == len(set(seen)) == SAMPLE
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (3, 90)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_cases_are_all_asked(n):
    seen = []
    check_alone(LENGTHS[:n], SCORES[:n], lambda i: seen.append(i) or SCORES[i], "float32", "test")
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize(
    ("dtype", "off", "passes"),
    [
        ("float32", 5e-4, True),
        ("float32", 5e-3, False),
        ("bfloat16", 0.2, True),
        ("bfloat16", 0.9, False),
        ("float16", math.nan, False),
    ],
)
def test_a_number_may_be_off_by_rounding_alone(dtype, off, passes):
    def ask(i):
        return [SCORES[i][0], SCORES[i][1] + off]

    if passes:
        check_alone(LENGTHS, SCORES, ask, dtype, "test")
        return
    with pytest.raises(TunediffError, match=f"log-likelihoods that differ by {off:.2g} nats"):
        check_alone(LENGTHS, SCORES, ask, dtype, "test")


@pytest.mark.parametrize(
    ("first", "second", "off"),
    [
        ([], [], 0.0),
        ([-1.0, -2.0], [-1.5, -2.0], 0.5),
        ([-math.inf, -2.0], [-math.inf, -2.25], 0.25),
        ([-math.inf, -2.0], [-1.0, -2.0], math.inf),
        ([-1.0, math.nan], [-1.0, -2.0], math.nan),
        ([math.nan, -2.0], [math.nan, -9.0], math.nan),
        ([-1.0, -2.0], [-9.0, math.nan], math.nan),
    ],
)
def test_how_far_two_rows_are_apart(first, second, off):
    assert max_difference(first, second) == pytest.approx(off, nan_ok=True)


def test_a_choice_that_cannot_be_is_no_difference_where_it_cannot_be_alone_either():
    scores = [[-math.inf, -2.0]] * len(LENGTHS)
    check_alone(LENGTHS, scores, lambda i: scores[i], "float32", "test")
    with pytest.raises(TunediffError, match="differ by inf nats"):
        check_alone(LENGTHS, scores, lambda _: [-1.0, -2.0], "float32", "test")


def test_texts_have_to_be_the_same_where_rounding_is_small_and_mostly_the_same_where_it_is_not():
    texts = [f"text {i}" for i in range(len(LENGTHS))]
    for dtype, others in (("float32", [9]), ("bfloat16", range(12))):
        with pytest.raises(TunediffError, match="cases get a different text than in a batch"):
            check_alone(LENGTHS, texts, lambda i, others=others: "other" if i in others else texts[i], dtype, "test")
    check_alone(LENGTHS, texts, lambda i: "other" if i == 9 else texts[i], "bfloat16", "test")
