from functools import partial
from operator import eq

import pytest

from tunediff.compare.effects import worth as module
from tunediff.compare.effects.worth import worth_metrics
from tunediff.runtime.errors import TunediffError
from tunediff.stats.paired import difference_interval, mcnemar_exact

worth = partial(module.worth, right=eq, confidence=0.95, clusters=None)


def test_worth_is_the_paired_gain_over_the_best_baseline():
    gold = ["yes"] * 100
    # As the golden pair, the baseline in the place of the base model: 39 both right, 49 repaired, 2 broken.
    tuned = ["yes"] * 88 + ["no"] * 10 + [None] * 2
    best = ["yes"] * 39 + ["no"] * 59 + ["yes"] * 2
    table = worth(gold, tuned, {"poor": ["no"] * 100, "best": best, "poorer": ["no"] * 99 + [None]})
    assert table["baseline"].tolist() == ["best", "poor", "poorer"]
    assert (table["repaired"][0], table["broken"][0]) == (49, 2)
    assert table["p"][0] == pytest.approx(1.1786127629e-12, rel=1e-10)
    metrics = worth_metrics(table)
    assert metrics["baseline_best"] == 0.41
    assert metrics["gain_over_baseline"] == pytest.approx(0.47)
    ends = metrics["gain_over_baseline_low"], metrics["gain_over_baseline_high"]
    assert ends == difference_interval(49, 2, 100)
    assert (table["low"][0], table["high"][0]) == pytest.approx((0.319, 0.508), abs=1e-3)


def test_a_tuned_model_below_a_baseline_is_worth_less_than_nothing():
    table = worth(["yes", "no"] * 20, [None] * 40, {"majority": ["yes"] * 40})
    assert worth_metrics(table)["gain_over_baseline"] == -0.5
    assert worth_metrics(table)["gain_over_baseline_high"] < 0
    assert table["p"][0] == mcnemar_exact(0, 20)


def test_of_two_equal_baselines_the_simpler_comes_first():
    same = ["yes", "no", "yes"]
    assert worth(["yes"] * 3, ["yes"] * 3, {"majority": same, "other": same})["baseline"][0] == "majority"


@pytest.mark.parametrize(("gold", "tuned"), [(["yes"], []), ([], [])])
def test_predictions_of_other_cases_are_refused(gold, tuned):
    with pytest.raises(TunediffError, match="worth: tuned model: found 0 predictions"):
        worth(gold, tuned, {"majority": gold})
