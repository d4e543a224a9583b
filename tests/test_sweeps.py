"""Experiments side by side: DVC's queue with several workers, and the script for rented machines."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.imports import ROOT
from tests.project import Project, git
from tunediff.tasks.experiment import read_experiment

SCRIPT = ROOT / "recipes/sweeps/slurm.sbatch"
LIST = ROOT / "recipes/sweeps/learning_rate.txt"
TINY = {
    "stages": {
        "train": {
            "cmd": "python train.py ${train.together} ${train.learning_rate}",
            "deps": ["train.py"],
            "params": ["train"],
            "outs": ["model"],
            "metrics": [{"metrics.json": {"cache": False}}],
        }
    }
}
# Ends only when as many runs have begun as it is told.
TRAIN = """
import json, sys, time
from pathlib import Path

together, rate = int(sys.argv[1]), sys.argv[2]
meeting = Path("MEETING")
(meeting / rate).touch()
end = time.monotonic() + 300
while len(list(meeting.iterdir())) < together:
    if time.monotonic() > end:
        sys.exit("nobody else came")
    time.sleep(0.05)
Path("model").write_text(rate)
Path("metrics.json").write_text(json.dumps({"rate": float(rate)}))
"""


@pytest.fixture
def tiny(tmp_path):
    """A project of one stage that trains nothing, with a Git remote and a DVC remote."""
    project = Project.__new__(Project)
    project.folder = tmp_path / "project"
    (tmp_path / "meeting").mkdir()
    project.folder.mkdir()
    git(project.folder, "init", "--quiet")
    for key in ("name", "email"):
        git(project.folder, "config", f"user.{key}", "t")
    project.run("dvc", "init", "--quiet")
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump(TINY))
    (project.folder / "params.yaml").write_text("train: {together: 1, learning_rate: 0.5, seed: 1}\n")
    (project.folder / "train.py").write_text(TRAIN.replace("MEETING", str(tmp_path / "meeting")))
    project.run("dvc", "remote", "add", "-d", "team", str(tmp_path / "store"))
    project.commit("start")
    return project


def finished(project):
    """Names of the queue's experiments with their state, when none waits or runs any more."""
    while True:
        rows = re.findall(r"^\w{7}\s+(\S+)\s.*\s(\w+)$", project.run("dvc", "queue", "status"), flags=re.MULTILINE)
        if not {state for _, state in rows} & {"Queued", "Running"}:
            return dict(rows)
        time.sleep(0.2)


@pytest.mark.pipeline
def test_two_workers_of_a_queue_run_two_experiments_at_once(tiny):
    for rate in ("0.1", "0.2"):
        tiny.run("dvc", "exp", "run", "--queue", "-S", "train.together=2", "-S", f"train.learning_rate={rate}", "-n", f"lr{rate}")  # fmt: skip  # noqa: E501
    tiny.run("dvc", "queue", "start", "-j", "2")
    try:
        assert finished(tiny) == {"lr0.1": "Success", "lr0.2": "Success"}
    finally:
        tiny.run("dvc", "queue", "stop", "--kill", check=False)
    shown = tiny.run("dvc", "exp", "show", "--csv")
    assert re.search(r"^lr0.1,.*,0\.1,", shown, flags=re.MULTILINE)
    assert re.search(r"^lr0.2,.*,0\.2,", shown, flags=re.MULTILINE)
    assert git(tiny.folder, "status", "--porcelain", "--untracked-files=no") == ""


def test_the_sweep_script_is_sound_and_asks_slurm_only_for_what_slurm_knows():
    done = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line.startswith("#SBATCH")]
    options = dict(re.fullmatch(r"#SBATCH --([a-z-]+)=(\S+)", line).groups() for line in asked)
    known = {"job-name", "cpus-per-task", "mem", "time", "output"}  # sbatch(1)
    assert set(options) == known
    assert re.fullmatch(r"\d\d:\d\d:\d\d", options["time"])
    assert re.fullmatch(r"\d+[KMGT]", options["mem"])
    # Slurm reads no directive after the first command.
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(lines.index(line) < first for line in asked)


def test_the_list_of_experiments_sets_parameters_that_exist():
    lines = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines()]
    assert len({name for name, *_ in lines}) == len(lines) > 1
    params = read_experiment(ROOT / "params.yaml").params
    for _, *settings in lines:
        for setting in settings:
            section, key = setting.split("=")[0].split(".")
            assert hasattr(getattr(params, section), key)


@pytest.mark.pipeline
def test_machines_that_share_nothing_but_the_remotes_run_a_sweep_that_comes_home(tiny, tmp_path):
    hub = tiny.clone(tmp_path / "hub.git", "--bare")
    git(tiny.folder, "remote", "add", "origin", str(hub.folder))
    (tiny.folder / "list.txt").write_text("low train.learning_rate=0.1 train.seed=2\nhigh train.learning_rate=0.9\n")
    for task in ("1", "2"):
        tiny.run("bash", SCRIPT, "list.txt", SLURM_ARRAY_TASK_ID=task)
    said = tiny.run("bash", "-c", f'bash {SCRIPT} list.txt; echo "exit code $?"', SLURM_ARRAY_TASK_ID="3")
    assert "list.txt has no line 3" in said
    assert "exit code 0" not in said

    home = hub.clone(tmp_path / "home")
    assert {"low", "high"} <= set(re.findall(r"\w+", home.run("dvc", "exp", "list", "origin")))
    home.run("dvc", "exp", "pull", "--run-cache", "origin", "low", "high")
    home.run("dvc", "exp", "apply", "high")
    assert (home.folder / "model").read_text() == "0.9"
    assert home.run("dvc", "params", "diff").count("train.") == 1
    assert home.stages_run("dvc", "repro") == []
