"""Each small twin of a published system through its whole pipeline, as it stands in recipes/, from a fresh copy."""

import shutil

import pytest
import yaml

from tests.imports import ROOT
from tests.project import Project
from tests.shared_data import shared_data

STAGES = set(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
# Least accuracy of the tuned model, 0..1: of a head on the frozen encoder, and of one on the adapted encoder.
REACH = {"small-sst2-head": 0.75, "small-sst2-lora": 0.85}


def started(folder, name):
    """A fresh copy of the project with the recipe as its params.yaml, the data where they lie on this machine."""
    shared_data("README.md")
    project = Project(folder)
    take(project, name)
    return project


def take(project, name):
    shutil.copy(ROOT / "recipes" / f"{name}.yaml", project.folder / "params.yaml")
    params, shared = project.params(), str(shared_data("snli").parent.resolve())
    moved = {
        section: {"path": params[section]["path"].replace("../shared/data", shared)} for section in ("data", "pretrain")
    }
    project.change(**moved)


@pytest.fixture
def minutes(long):
    """For twins that take minutes."""
    if not long:
        pytest.skip("takes minutes: --long")


@pytest.mark.parametrize("name", ["small-phi2-snli-a", "small-phi2-snli-b", "small-phi2-snli-c", "small-sst2-head"])
def test_a_small_twin_runs_whole_and_learns(tmp_path, name):
    check_run(started(tmp_path, name), name)


@pytest.mark.usefixtures("minutes")
def test_an_adapted_encoder_learns_more_than_a_head_on_a_frozen_one(tmp_path):
    check_run(started(tmp_path, "small-sst2-lora"), "small-sst2-lora")


def check_run(project, name):
    """Every stage runs, the tuned model reaches what it must, the report is there."""
    assert set(project.stages_run("dvc", "repro")) == STAGES
    found = project.metrics("diff_cases")
    assert found["accuracy_tuned"] >= REACH.get(name, 0)
    assert f"{found['n']:,} test cases" in report_of(project)


@pytest.mark.usefixtures("minutes")
def test_a_span_head_beats_its_untrained_self_on_articles_that_it_has_not_seen(tmp_path):
    project = started(tmp_path, "small-squad-head")
    assert set(project.stages_run("dvc", "repro")) == STAGES
    found = project.metrics("diff_cases")
    assert found["accuracy_delta_low"] > 0
    assert found["f1_delta_low"] > 0
    assert found["accuracy_tuned"] - found["accuracy_base"] > 0.2
    assert f"{found['n']:,} test cases" in report_of(project)


@pytest.mark.usefixtures("minutes")
def test_the_two_twins_of_system_e_share_one_pretrained_base(tmp_path):
    project = started(tmp_path, "small-bert-sst2")
    assert set(project.stages_run("dvc", "repro")) == STAGES
    base = project.metrics("base_model")
    assert base["perplexity"] < base["vocab_size"] / 4
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    take(project, "small-bert-squad")
    assert set(project.stages_run("dvc", "repro")) == STAGES - {"base_model"}
    assert project.metrics("base_model") == base
    # It learns to say that there is no answer, which is right of half the questions, and the report calls that by name.
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    assert "Degenerate tuned model" in report_of(project)


def report_of(project):
    return (project.folder / "reports/report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
