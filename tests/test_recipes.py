"""Each small twin of a published system through its whole pipeline, as it stands in recipes/."""

import shutil

import pytest
import yaml

from tests.imports import ROOT
from tests.project import Project
from tests.shared_data import shared_data

pytestmark = pytest.mark.recipe

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


@pytest.mark.parametrize(
    "names",
    [("small-phi2-snli-a", "small-phi2-snli-b", "small-phi2-snli-c"), ("small-sst2-head", "small-sst2-lora")],
    ids=("phi2", "sst2"),
)
def test_small_twins_run_whole_and_learn_and_share_one_base(tmp_path, names):
    project = started(tmp_path, names[0])
    assert set(project.stages_run("dvc", "repro")) == STAGES
    check_run(project, names[0])
    for name in names[1:]:
        take(project, name)
        ran = set(project.stages_run("dvc", "repro"))
        assert ran >= {"count_params", "train", "predict_tuned", "eval_tuned", "diff_cases", "report"}
        assert "base_model" not in ran
        check_run(project, name)


def check_run(project, name):
    """The tuned model reaches what it must, the report is there."""
    found = project.metrics("diff_cases")
    assert found["accuracy_tuned"] >= REACH.get(name, 0)
    assert f"{found['n']:,} test cases" in report_of(project)


def test_a_span_head_beats_its_untrained_self_on_articles_that_it_has_not_seen(tmp_path):
    project = started(tmp_path, "small-squad-head")
    assert set(project.stages_run("dvc", "repro")) == STAGES
    found = project.metrics("diff_cases")
    assert found["accuracy_delta_low"] > 0
    assert found["f1_delta_low"] > 0
    assert found["accuracy_tuned"] - found["accuracy_base"] > 0.2
    check_run(project, "small-squad-head")


def test_the_two_twins_of_system_e_share_one_pretrained_base(tmp_path):
    project = started(tmp_path, "small-bert-sst2")
    assert set(project.stages_run("dvc", "repro")) == STAGES
    base = project.metrics("base_model")
    assert base["perplexity"] < base["vocab_size"] / 4
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    check_run(project, "small-bert-sst2")
    take(project, "small-bert-squad")
    assert set(project.stages_run("dvc", "repro")) == STAGES - {"base_model"}
    assert project.metrics("base_model") == base
    # It learns to say that there is no answer, which is right of half the questions, and the report calls that by name.
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    assert "Degenerate tuned model" in report_of(project)


def report_of(project):
    return (project.folder / "reports/report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
