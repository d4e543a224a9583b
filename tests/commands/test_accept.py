"""`tunediff verify --accept`: results of other code are taken over, and nothing else."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.project import git
from tests.warm import warm_python
from tunediff.commands import accept
from tunediff.commands.accept import ACCEPTED, FIRST, LAST, accept_results, ready_to_accept
from tunediff.runtime.errors import TunediffError


def dvc(*arguments):
    done = subprocess.run([warm_python(), "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A pipeline with our stages, each of which counts how often it ran, after a run."""
    monkeypatch.chdir(tmp_path)
    stages = {}
    for name in (*FIRST, *ACCEPTED, *LAST):
        deps = ["src/code.py", *{"settings": ["params.yaml"], "prepare": ["raw.txt"]}.get(name, ["data/prepare"])]
        stages[name] = {
            "cmd": f"echo run >> {name}.runs && mkdir -p data && cat {' '.join(deps[1:])} > data/{name}",
            "deps": deps,
            "outs": [f"data/{name}"],
        }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False), encoding="utf-8")
    Path("src").mkdir()
    for path in ("src/code.py", "params.yaml", "raw.txt"):
        Path(path).write_text("a: 1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    dvc("init", "--quiet")
    dvc("repro", "--quiet")
    return lambda: {path.stem: path.read_text().count("run") for path in tmp_path.glob("*.runs")}


@pytest.mark.pipeline
def test_other_code_runs_the_cheap_stages_and_takes_the_others_over(pipeline, capfd):
    Path("src/code.py").write_text("a: 2\n", encoding="utf-8")
    ready_to_accept()
    accept_results()
    assert pipeline() == dict.fromkeys(ACCEPTED, 1) | dict.fromkeys((*FIRST, *LAST), 2)
    assert "Data and pipelines are up to date" in dvc("status")
    out = capfd.readouterr().out
    assert "Accepted: predict_base, predict_tuned, whose models reproduce the answers in the sample." in out
    assert "Accepted without a check: base_model, features, train;" in out


@pytest.mark.pipeline
@pytest.mark.parametrize("path", ["params.yaml", "raw.txt"])
def test_a_change_of_anything_but_code_is_refused_and_nothing_runs(path, pipeline):
    Path(path).write_text("a: 2\n", encoding="utf-8")
    with pytest.raises(
        TunediffError, match=f"--accept: {path}: changed since the last run, expected only the code to have changed"
    ):
        ready_to_accept()
    assert set(pipeline().values()) == {1}


def test_a_pipeline_that_is_broken_is_a_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {a: [\n", encoding="utf-8")
    monkeypatch.setattr(accept, "dvc_status", dict)
    with pytest.raises(TunediffError, match="is not YAML"):
        ready_to_accept()
