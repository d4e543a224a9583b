"""Each small twin of a published system through its whole pipeline, most of them on fewer cases than in recipes/.

pytest tests/test_recipes.py                 # minutes
pytest tests/test_recipes.py --long          # at full size: figures in docs/results.md
"""

import functools

import pytest
import yaml

from tests.imports import ROOT
from tests.project import Project
from tests.shared_data import shared_data

pytestmark = pytest.mark.recipe

STAGES = set(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
# Least accuracy of the tuned model, 0..1, on fewer cases and at full size; the majority is 0.51 of the test cases.
REACH = {"small-sst2-head": (0.65, 0.75), "small-sst2-lora": (0.7, 0.85)}
# What takes fewer cases and steps, unless --long: every stage runs as it does at full size. After 400 questions the
# span head finds 3 % of the spans, no more than by luck; after 900 a sixth.
PHI2 = {"data.train.limit": 200, "pretrain.documents": 1000, "train.num_train_epochs": 2}
SST2 = {"data.train.limit": 1200, "data.validation.limit": 200}
BERT = {"data.validation.limit": 200, "pretrain.num_train_epochs": 1}
FEWER = {
    **{f"small-phi2-snli-{system}": PHI2 for system in "abc"},
    "small-sst2-head": SST2,
    "small-sst2-lora": SST2,
    "small-squad-head": {"data.train.limit": 900},
    "small-bert-sst2": BERT | {"data.train.limit": 4000},
    "small-bert-squad": BERT | {"data.test.limit": 500},
}


def started(folder, name, long):
    """A fresh copy of the project with the recipe as its params.yaml."""
    shared_data("README.md")
    project = Project(folder)
    take(project, name, long)
    return project


def take(project, name, long):
    """The recipe with the data where they lie on this machine, and fewer of them unless `long`."""
    params = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    shared = str(shared_data("snli").parent.resolve())
    for section in ("data", "pretrain"):
        params[section]["path"] = params[section]["path"].replace("../shared/data", shared)
    for key, value in ({} if long else FEWER.get(name, {})).items():
        *sections, last = key.split(".")
        functools.reduce(dict.get, sections, params)[last] = value
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize(
    "names",
    [("small-phi2-snli-a", "small-phi2-snli-b", "small-phi2-snli-c"), ("small-sst2-head", "small-sst2-lora")],
    ids=("phi2", "sst2"),
)
def test_small_twins_run_whole_and_learn_and_share_one_base(tmp_path, names, long):
    project = started(tmp_path, names[0], long)
    assert set(project.stages_run("dvc", "repro")) == STAGES
    check_run(project, names[0], long)
    for name in names[1:]:
        take(project, name, long)
        ran = set(project.stages_run("dvc", "repro"))
        assert ran >= {"count_params", "train", "predict_tuned", "eval_tuned", "diff_cases", "report"}
        assert "base_model" not in ran
        check_run(project, name, long)


def check_run(project, name, long):
    """The tuned model reaches what it must, the report is there."""
    found = project.metrics("diff_cases")
    assert found["accuracy_tuned"] >= REACH.get(name, (0, 0))[long]
    assert f"{found['n']:,} test cases" in report_of(project)


def test_a_span_head_beats_its_untrained_self_on_articles_that_it_has_not_seen(tmp_path, long):
    project = started(tmp_path, "small-squad-head", long)
    assert set(project.stages_run("dvc", "repro")) == STAGES
    found = project.metrics("diff_cases")
    assert found["accuracy_delta_low"] > 0
    assert found["f1_delta_low"] > 0
    assert found["accuracy_tuned"] - found["accuracy_base"] > (0.2 if long else 0.08)
    check_run(project, "small-squad-head", long)


def test_the_two_twins_of_system_e_share_one_pretrained_base(tmp_path, long):
    project = started(tmp_path, "small-bert-sst2", long)
    assert set(project.stages_run("dvc", "repro")) == STAGES
    base = project.metrics("base_model")
    assert base["perplexity"] < base["vocab_size"] / 4
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    check_run(project, "small-bert-sst2", long)
    take(project, "small-bert-squad", long)
    assert set(project.stages_run("dvc", "repro")) == STAGES - {"base_model"}
    assert project.metrics("base_model") == base
    # It learns to say that there is no answer, which is right of half the questions, and the report calls that by name.
    assert project.metrics("diff_cases")["accuracy_delta_low"] > 0
    assert "Degenerate tuned model" in report_of(project)


def report_of(project):
    return (project.folder / "reports/report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
