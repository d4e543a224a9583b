import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import script
from tests.report.made import usual_cases, write_inputs, write_params
from tests.settings import settle
from tunediff.report.results import SOURCES

SCRIPT = Path(__file__).parents[2] / "stages" / "report.py"


@pytest.fixture
def project(tmp_path):
    write_inputs(tmp_path, usual_cases())
    write_params(tmp_path / "params.yaml")
    return tmp_path


def options(project):
    paths = {name: f"{'data/plots' if name == 'checks' else 'metrics'}/{name}.json" for name in SOURCES}
    paths |= {name: f"data/{name}.csv" for name in ("train_log", "pretrain_log", "parameters")}
    paths |= {"cases": "data/cases.jsonl", "plots": "data/plots", "costs": "metrics/cost"}
    paths |= {"environments": "metrics/environment", "settings": "data/settings/report.json"}
    settle(project)
    paths |= {"html": "reports/report.html", "markdown": "reports/report.md"}
    paths |= {"model_card": "reports/model_card.md", "cost": "metrics/cost/report.json"}
    return [part for name, path in paths.items() for part in (f"--{name.replace('_', '-')}", path)]


def stage(project):
    return script(project, SCRIPT, *options(project))


def test_the_stage_writes_both_reports_and_prints_the_verdict(project):
    done = stage(project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].replace("\N{NO-BREAK SPACE}", " ") == (
        "In this checkpoint, fine-tuning raised accuracy from 36.1 % to 88.8 % on 1,200 test cases."
    )
    assert done.stdout.splitlines()[-1] == (
        "Report: reports/report.html and reports/report.md; model card: reports/model_card.md"
    )
    for name in ("report.html", "report.md"):
        assert "Captions: base against QLoRA" in (project / "reports" / name).read_text()
    assert json.loads((project / "metrics/cost/report.json").read_text())["seconds"] > 0


@pytest.mark.slow
def test_the_evidence_that_was_asked_for_is_in_both_reports(project):
    write_inputs(project, usual_cases(), evidence=True)
    assert stage(project).returncode == 0
    for name in ("report.html", "report.md"):
        assert "Parts of the change" in (project / "reports" / name).read_text()


@pytest.mark.slow
def test_a_tuned_model_that_was_not_trained_here_is_reported_without_its_training(project):
    write_inputs(project, usual_cases(), pinned=True)
    done = stage(project)
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "report.md", "model_card.md"):
        text = (project / "reports" / name).read_text()
        assert "was not trained here" in text
        assert not any(words in text for words in ("Trained for", "Loss by epoch", "Two prediction files", "no part"))


@pytest.mark.slow
def test_the_same_results_give_the_same_reports(project):
    names = [project / "reports/report.html", project / "reports/report.md"]
    stage(project)
    first = [path.read_bytes() for path in names]
    stage(project)
    assert [path.read_bytes() for path in names] == first


@pytest.mark.pipeline
def test_the_stage_never_imports_torch(project):
    code = (
        f"import runpy, sys; sys.argv[0] = {str(SCRIPT)!r}; runpy.run_path({str(SCRIPT)!r}, run_name='__main__'); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *options(project)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr


def test_files_of_two_runs_end_in_one_line_and_no_report(project):
    path = project / "metrics/eval_base.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n": 1000}))
    done = stage(project)
    assert done.returncode == 1
    assert done.stderr == (
        "tunediff: data/cases.jsonl: found 1200 cases (n), but metrics/eval_base.json has 1000; "
        "expected files of one run (dvc repro)\n"
    )
    assert not (project / "reports").exists()
    assert not (project / "metrics/cost/report.json").exists()


def test_a_missing_file_ends_in_one_line(project):
    (project / "metrics/baselines.json").unlink()
    done = stage(project)
    assert done.returncode == 1
    assert done.stderr.startswith("tunediff: metrics/baselines.json: there is no such file")
    assert done.stderr.count("\n") == 1
