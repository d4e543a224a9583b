"""The pipeline as people use it through DVC: run for real, on a small experiment, in a project of its own."""

import csv
import io
import re
import shlex

import pytest

from tests.pipeline import NAMES, ROOT
from tests.project import SMALL, Project
from tests.whole_files import read_jsonl
from tunediff.data.schemas import METRICS, names

AFTER_TRAINING = ["settings", "train", "predict_tuned", "eval_tuned", "diff_cases", "report"]
DETERMINISTIC = [
    *(
        "prepare",
        "base_model",
        "count_params",
        "eval_base",
        "train",
        "eval_tuned",
        "diff_cases",
        "baselines",
        "calibration",
        "summary",
    )
]


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory):
    return small_run.copy(tmp_path_factory.mktemp("project"))


@pytest.mark.slow
def test_a_second_run_runs_nothing(project):
    assert project.stages_run("dvc", "repro") == []


def test_the_run_leaves_nothing_for_git_but_what_it_should(project):
    assert project.run("git", "status", "--porcelain") == ""
    assert not list((project.folder / ".scratch").glob("train/*"))


def test_metrics_are_flat_numbers(project):
    for name in DETERMINISTIC:
        assert all(isinstance(value, int | float) for value in project.metrics(name).values()), name
    for name in NAMES[1:]:  # the settings cost nothing worth a file
        cost = project.metrics(f"cost/{name}")
        assert cost["seconds"] > 0
        assert cost["peak_memory_bytes"] > 0
        assert isinstance(cost["device"], str)


def test_the_default_experiment_asks_for_all_evidence(project):
    for name in ("diff_cases", "baselines", "calibration", "summary"):
        assert tuple(project.metrics(name)) == names(METRICS[name]), name
    records = read_jsonl(project.folder / "data/cases.jsonl")
    flips = [record for record in records if record["transition"] in ("repaired", "broken")]
    assert [record for record in records if "evidence" in record] == flips
    measured = {"nearest", "base_stable", "base_partial_input", "tuned_partial_input"}
    assert all(measured <= set(record["evidence"]) for record in flips)


@pytest.mark.pipeline
def test_a_changed_learning_rate_trains_again_and_leaves_the_base_alone_and_going_back_runs_nothing(project):
    before, rate = project.metrics("diff_cases"), project.params()["train"]["learning_rate"]
    project.change(train={"learning_rate": 10 * rate})
    assert project.stages_run("dvc", "repro") == AFTER_TRAINING
    project.change(train={"learning_rate": rate})
    assert project.stages_run("dvc", "repro") == []
    assert project.metrics("diff_cases") == before


@pytest.mark.pipeline
def test_a_changed_diff_parameter_runs_the_settings_and_the_last_two_stages(project):
    confidence = project.params()["diff"]["confidence"]
    project.change(diff={"confidence": 0.9})
    assert project.stages_run("dvc", "repro") == ["settings", "diff_cases", "report"]
    project.change(diff={"confidence": confidence})
    project.run("dvc", "repro")


@pytest.mark.pipeline
def test_experiments_with_another_head_share_the_base(project):
    params = (project.folder / "params.yaml").read_bytes()
    project.change(
        model={"head": "classification", "quantization": "none"},
        prompt={"choices": None},
        evaluate={"scoring_method": "head", "settings": [], "few_shot": 0},
        adapt={"method": "head", "r": None, "lora_alpha": None, "target_modules": None},
    )
    assert "base_model" not in project.stages_run("dvc", "repro", "eval_base")
    # And where the workspace has lost it, the run cache has not.
    project.run("rm", "-r", "models/base", "data/pretrain_log.csv", "metrics/base_model.json", "dvc.lock")
    output = project.run("dvc", "repro", "base_model")
    assert "Stage 'base_model' is cached - skipping run" in output
    assert project.stages_run("dvc", "repro", "base_model") == []
    (project.folder / "params.yaml").write_bytes(params)
    project.run("git", "checkout", "--", ".")
    project.run("dvc", "checkout")
    assert project.stages_run("dvc", "repro") == []


@pytest.mark.pipeline
def test_an_experiment_has_a_name_and_can_be_compared(project):
    output = project.run("dvc", "exp", "run", "-S", "train.learning_rate=1.0e-4", "-n", "lr1e-4")
    assert "lr1e-4" in output
    assert "0.0001" in project.run("dvc", "exp", "show", "--csv")
    header = next(csv.reader(io.StringIO(project.run("dvc", "exp", "show", "--csv", "--only-changed"))))
    assert {"accuracy_tuned", "nll_tuned", "train.learning_rate"} <= set(header)
    assert len(header) <= 40
    documented = re.findall(r"dvc (exp show --.*)", (ROOT / "docs/dvc.md").read_text(encoding="utf-8"))
    summary = {"accuracy_tuned", "repaired", "train.learning_rate"}
    for command, columns in zip(documented, (summary, summary, {"train_loss", "validation_loss"}), strict=True):
        header = next(csv.reader(io.StringIO(project.run("dvc", *shlex.split(command), "--csv"))))
        assert columns <= set(header)
        assert len(header) <= 25
    changed = project.run("dvc", "metrics", "diff", "--all", "HEAD")
    assert set(re.findall(r"metrics/[\w/]+\.json", changed)) == {"metrics/summary.json", "metrics/loss.json"}
    assert "mcnemar_p" in project.run("dvc", "metrics", "diff", "--all", "HEAD", "--targets", "metrics/diff_cases.json")
    assert "learning_rate" in project.run("dvc", "params", "diff", "HEAD")
    project.run("dvc", "plots", "diff", "HEAD")
    page = (project.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for title in (
        "Perplexity of the base model per epoch",
        "Loss per epoch",
        "Transitions",
        "Parts of the change",
        "Confusion, tuned",
        "Reliability",
    ):
        assert f'"{title}"' in page
    assert "<DVC_METRIC" not in page
    project.run("git", "checkout", "--", ".")
    project.run("dvc", "checkout")
    assert project.stages_run("dvc", "repro") == []


@pytest.mark.pipeline
def test_a_queued_experiment_runs_apart_from_the_workspace(project):
    project.run("dvc", "exp", "run", "--queue", "-S", "train.learning_rate=2.0e-4", "-n", "rate-2e-4")
    project.run("dvc", "exp", "run", "--run-all")
    assert "rate-2e-4" in project.run("dvc", "exp", "show", "--csv")
    assert project.run("git", "status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.pipeline
def test_two_cold_runs_give_the_same_splits_predictions_cases_and_metrics(project, tmp_path):
    again = Project(tmp_path, **SMALL)
    assert again.stages_run("dvc", "repro", PYTHONHASHSEED="7") == NAMES
    first, second = project.outputs(), again.outputs()
    assert len(first) > 40
    assert {"data/predictions/base/test.parquet", "metrics/environment/train.json", "data/notes.json"} <= set(first)
    assert list(first) == list(second)
    assert [path for path in first if first[path] != second[path]] == []


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"learning_rte": 1.0}}, "train.learning_rte: is not a known key (did you mean learning_rate?)"),
        ({"train": {"learning_rate": "fast"}}, "train.learning_rate: found 'fast', expected"),
        ({"adapt": {"target_modules": ["q_proj", "c_attn"]}}, "c_attn"),
        ({"train": {"num_train_epochs": 0}, "report": {"titel": "x"}}, "report.titel: is not a known key"),
    ],
)
def test_a_wrong_parameter_stops_the_run_in_a_line_and_leaves_the_results_alone(project, change, words):
    params = (project.folder / "params.yaml").read_bytes()
    tuned = sorted(path.name for path in (project.folder / "models/tuned").iterdir())
    project.change(**change)
    output = project.run("dvc", "repro", check=False)
    (project.folder / "params.yaml").write_bytes(params)
    assert any(line.startswith("tunediff: ") and words in line for line in output.splitlines()), output
    assert "Traceback" not in output
    assert project.stages_run("dvc", "repro") == []
    assert sorted(path.name for path in (project.folder / "models/tuned").iterdir()) == tuned
