"""What `tunediff cost` prints of costs and runs that are made up here."""

import json
import shutil

import pytest
import yaml

from tests.imports import ROOT
from tests.three_stages import STAGES
from tunediff.commands.cost import cost_summary, saved, seconds_of, state, table
from tunediff.commands.runs import Outcome, Run, read_stages
from tunediff.runtime.errors import TunediffError

CPU = {"seconds": 30.0, "peak_memory_bytes": 100 * 2**20, "device": "CPU"}
GPU = {"seconds": 1800.0, "peak_memory_bytes": 2**30, "device": "A40", "gpu_seconds": 1800.0, "energy_joules": 9e4}


def run_of(exit_code=0, **outcomes):
    return Run(1e9, 1e9 + 60, exit_code, False, outcomes)


def cells(line):
    return line.split()


def test_columns_of_a_gpu_and_of_money_stand_where_there_are_such_figures():
    states = {"prepare": "from the cache", "train": "ran"}
    plain = table({"prepare": CPU}, states, None, "USD")
    assert cells(plain[0]) == ["stage", "last", "run", "seconds", "peak", "memory", "saved", "seconds"]
    assert cells(plain[1]) == ["prepare", "from", "the", "cache", "30.0", "100", "MiB", "30.0"]
    rows = table({"prepare": CPU, "train": GPU}, states, 2.0, "EUR")
    assert rows[0].split("  ")[-1] == "saved seconds"
    assert "EUR" in cells(rows[0])
    assert cells(rows[2]) == ["train", "ran", "1,800.0", "1,024", "MiB", "1,800.0", "90,000.0", "1.00", "-"]
    # 1,830 s at 2 EUR an hour.
    assert cells(rows[3]) == ["all", "1,830.0", "1,800.0", "90,000.0", "1.02", "30.0"]


def test_a_stage_counts_as_saved_only_where_the_result_is_still_the_one_that_the_cache_gave():
    run = run_of(prepare=Outcome("cache", CPU), train=Outcome("cache", CPU))
    costs = {"prepare": CPU, "train": GPU}
    states = {name: state(name, cost, run) for name, cost in costs.items()}
    assert states == {"prepare": "from the cache", "train": "changed since"}
    assert saved(costs, states) == {"prepare": CPU}
    assert seconds_of(costs) == 1830.0


@pytest.mark.parametrize(
    ("outcome", "now", "word"),
    [
        (Outcome("ran", GPU), GPU, "ran"),
        (Outcome("cache", GPU), GPU, "from the cache"),
        (Outcome("not made", GPU), GPU, "not made"),
        (Outcome("not made", None), None, "not made"),
        (Outcome("stopped", {"seconds": 3.0}), None, "stopped"),
        (Outcome("stopped", None), None, "stopped"),
        (Outcome("not known", GPU), GPU, "not known"),
        (Outcome("ran", GPU), CPU, "changed since"),
        (Outcome("cache", GPU), None, "changed since"),
        (Outcome("not made", None), CPU, "changed since"),
        (Outcome("stopped", {"seconds": 3.0}), GPU, "changed since"),
    ],
)
def test_the_state_of_a_stage_is_the_outcome_of_the_run_until_another_result_takes_its_place(outcome, now, word):
    assert state("train", now, run_of(train=outcome)) == word


def test_a_stage_that_the_run_did_not_know_is_not_known():
    assert state("train", GPU, run_of()) == state("train", GPU, None) == "not known"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The files that `tunediff cost` reads, of one stage `train` and the comparison after it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "metrics/cost").mkdir(parents=True)
    for name, cost in (("prepare", CPU), ("train", GPU), ("diff_cases", CPU)):
        (tmp_path / f"metrics/cost/{name}.json").write_text(json.dumps(cost))

    def diff(repaired, broken, low, high):
        values = {"n": 1000, "repaired": repaired, "broken": broken, "accuracy_delta": (repaired - broken) / 1000}
        text = json.dumps(values | {"accuracy_delta_low": low, "accuracy_delta_high": high})
        (tmp_path / "metrics/diff_cases.json").write_text(text)
        return cost_summary(read_stages())

    return diff


def test_the_cost_of_a_repair_is_said_for_the_training_and_for_all_stages(project):
    text = project(150, 50, 0.08, 0.125)
    assert "(150 repaired - 50 broken = +100 of 1,000 cases; difference +8.0 to +12.5 points):" in text
    assert "features and train, 1,800.00 s: 18.00 s per net repaired case, 95% interval 14.40 to 22.50 s" in text
    assert "all stages, 1,860.00 s: 18.60 s per net repaired case, 95% interval 14.88 to 23.25 s" in text
    assert "No run of `make repro` or `tunediff repro` is recorded here" in text


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((10, 8, -0.005, 0.01), "900.00 s per net repaired case, 95% interval from 180.00 s up, with no upper bound"),
        ((8, 10, -0.01, 0.005), "features and train, 1,800.00 s: no net repaired case, 95% interval from 360.00 s up"),
        ((0, 90, -0.11, -0.07), "features and train, 1,800.00 s: no case was repaired on balance"),
    ],
)
def test_an_open_or_missing_end_is_said_plainly(counts, words, project):
    assert words in project(*counts)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("metrics/cost/train.json", '{"seconds": true}', "metrics/cost/train.json: seconds: found True"),
        ("metrics/cost/train.json", "[]", "metrics/cost/train.json: seconds: found None"),
        ("metrics/diff_cases.json", '{"n": 5}', "metrics/diff_cases.json: repaired: found None, expected a number"),
    ],
)
def test_a_file_of_another_form_is_named(path, text, words, project, tmp_path):
    project(1, 0, 0, 0.1)
    (tmp_path / path).write_text(text)
    with pytest.raises(TunediffError, match="expected a number") as caught:
        cost_summary(read_stages())
    assert words in str(caught.value)


def test_without_a_result_no_cost_of_a_repair_is_claimed(project, tmp_path):
    project(150, 50, 0.08, 0.125)
    (tmp_path / "metrics/cost/train.json").unlink()
    text = cost_summary(read_stages())
    assert "Cost per net repaired case: unknown until every stage has a result." in text
    [row] = [line for line in text.splitlines() if line.startswith("train")]
    assert cells(row) == ["train", "not", "known", "-", "-"]
