"""docs/scale.md: its measured rates are those of the files that it names, its estimates those of its assumptions."""

import re

import pytest

from tests.imports import ROOT
from tunediff.runtime.files import read_json

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
RATE = re.compile(
    r"\| (?P<rate>\d+) cases per second[^|]*\| (?P<n>[\d,]+)(?: × (?P<epochs>\d+)(?: epochs)?)? / (?P<seconds>[\d.]+) s"
    r" \| \[results/(?P<run>[\w-]+)\].*?`cost/(?P<stage>\w+)\.json`"
)
RATES = [match.groupdict() for match in RATE.finditer(PAGE)]


def number(text):
    return float(text.replace(",", ""))


def test_the_page_has_its_rates():
    assert {rate["stage"] for rate in RATES} == {"train", "predict_base", "eval_base", "diff_cases"}


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate['run']}-{rate['stage']}")
def test_a_measured_rate_is_that_of_the_files_it_names(rate):
    run = ROOT / "docs" / "results" / rate["run"]
    cases = read_json(run / "prepare.json")["train_n" if rate["stage"] == "train" else "test_n"]
    epochs = int(read_json(run / "train.json")["epochs"]) if rate["stage"] == "train" else 1
    seconds = read_json(run / "cost" / f"{rate['stage']}.json")["seconds"]
    assert (number(rate["n"]), int(rate["epochs"] or 1), float(rate["seconds"])) == (cases, epochs, seconds)
    assert int(rate["rate"]) == round(cases * epochs / seconds)


def test_the_estimates_follow_from_the_assumptions():
    parameters = read_json(ROOT / "docs/results/systems/phi2-snli-a.json")["base_total"]
    assert f"{parameters:,} parameters" in PAGE
    rate = 0.3 * 312e12 / (2 * parameters * 100)  # cases per second and GPU
    assert f"= {rate:.0f} cases per second and trains on {rate / 2:.0f}" in PAGE
    hours = {"s": 1 / 3600, "min": 1 / 60, "h": 1, "days": 24}
    rows = re.findall(r"^\| 10(.) \|((?:[^|\n]+\|){6}[^|\n]+)\|$", PAGE, re.MULTILINE)
    assert len(rows) == 3
    for exponent, cells in rows:
        needed = 10 ** "⁰¹²³⁴⁵⁶⁷⁸⁹".index(exponent) / rate / 3600
        *times, gpu_hours, dollars, epoch_hours, epoch_dollars = [cell.strip() for cell in cells.split("|")]
        for gpus, time in zip((1, 8, 64), times, strict=True):
            value, unit = time.split()
            assert float(value) * hours[unit] == pytest.approx(needed / gpus, rel=0.03)
        figures = [number(text) for text in (gpu_hours, dollars, epoch_hours, epoch_dollars)]
        assert figures == pytest.approx([needed, 2 * needed, 2 * needed, 4 * needed], rel=0.01)
