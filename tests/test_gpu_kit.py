"""The kit that measures a GPU (benchmarks/gpu) does all of its parts on a CPU in a tiny size.

pytest tests/test_gpu_kit.py --long -s
"""

import importlib.util
import json
import subprocess
import sys
import time

import pytest
import yaml

from tests.imports import ROOT
from tests.shared_data import shared_data

KIT = ROOT / "benchmarks" / "gpu"
# Their peers are in the extra `bench`.
PEERS = {"choices": "lm_eval", "training": "trl", "training-best": "trl"}


def module(name):
    """A script of the kit."""
    spec = importlib.util.spec_from_file_location(name, KIT / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_arguments_of_every_stage_are_those_of_dvc_yaml(monkeypatch):
    monkeypatch.chdir(ROOT)
    stage = module("stage")
    for name, about in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        found = stage.arguments_of(name)
        assert found[0] == f"stages/{name}.py"
        assert all(option in about["cmd"].split() for option in found if option.startswith("--"))
        assert "data/raw" in found or "data.path" not in about["cmd"]


def test_every_part_begins_with_a_layout_of_a_recipe_that_is_there(tmp_path):
    measure = module("measure")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for part, (recipe, measured) in measure.PARTS.items():
        first, *others = measure.steps(part, tmp_path, tmp_path / "rate", tiny=False)
        assert first.command[1] == str(ROOT / "recipes" / f"{recipe}.yaml")
        assert yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text())["model"]["config"]
        if isinstance(measured, str):
            assert (ROOT / "benchmarks" / measured.split()[0]).is_file()
        else:
            assert {one.command[2] for one in others} <= stages.keys()


def test_a_step_whose_time_is_over_is_ended_and_a_failed_one_says_why(tmp_path):
    measure = module("measure")
    with (tmp_path / "results.jsonl").open("w") as results:
        began = time.monotonic()
        slow = measure.Step("slow", 1, ("-c", "import time; time.sleep(60)"))
        assert measure.run(slow, 1.0, tmp_path, results) == 124
        assert time.monotonic() - began < 30
        bad = measure.Step("bad", 9, ("-c", "import sys; print('{\"a\": 1}'); sys.exit('no such card')"))
        assert measure.run(bad, 60, tmp_path, results) == 1
        assert measure.run(bad, 0, tmp_path, results) == 124
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert lines[1] == {"a": 1}
    assert [line.get("exit") for line in lines] == [124, None, 1, 124]
    assert lines[2]["why"] == "no such card"


def test_a_part_that_is_not_there_is_said_in_a_line(tmp_path):
    command = [sys.executable, str(KIT / "measure.py"), "--tiny", "--out", str(tmp_path / "out"), "phi3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("measure.py: found phi3, expected facts, phi2-snli-a, ")


@pytest.mark.parametrize("part", ["facts", *module("measure").PARTS])
def test_a_part_passes_on_a_cpu_in_its_tiny_size(part, tmp_path, long):
    if not long:
        pytest.skip("takes minutes: --long")
    shared_data("README.md")
    if part in PEERS and importlib.util.find_spec(PEERS[part]) is None:
        pytest.skip(f"needs {PEERS[part]}: pip install -e .[bench]")
    command = [sys.executable, str(KIT / "measure.py"), "--tiny", "--out", str(tmp_path), part]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert done.returncode == 0, lines[-1]
    assert {line["exit"] for line in lines if "step" in line} == {0}
    trained = [line for line in lines if line.get("stage") == "train"]
    assert all(line["steps"] == line["steps_asked"] and line["step_seconds_median"] > 0 for line in trained)
    assert len(trained) == (part not in PEERS and part != "facts")
