"""Free text through the pipeline: every stage of dvc.yaml on a few rows of the two recipes, without DVC."""

import json
import runpy
import shutil

import pytest
import yaml

from tests.imports import ROOT
from tunediff.commands import main as command
from tunediff.data.cases import read_predictions

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SMALL = {
    "data": {"train": 64, "validation": 16, "test": 40},
    "model": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    "pretrain": {"documents": 64},
    "train": {"num_train_epochs": 1, "per_device_train_batch_size": 16},
}


def small(name):
    """A recipe in small."""
    params = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    params["data"]["synthetic"] |= SMALL["data"]
    params["model"]["config"] |= SMALL["model"]
    params["pretrain"] |= SMALL["pretrain"]
    params["train"] |= SMALL["train"]
    return params


def run_stage(name, params, monkeypatch):
    """Run the command of a stage in the current folder."""
    command = STAGES[name]["cmd"].replace("${data.path}", params["data"]["path"])
    _, script, *arguments = command.replace("${pretrain.path}", params["pretrain"]["path"]).split()[1:]
    monkeypatch.setattr("sys.argv", [script, *arguments])
    runpy.run_path(script, run_name="__main__")


def project(folder, params, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copytree(ROOT / "stages", folder / "stages")
    shutil.copytree(ROOT / "graders", folder / "graders")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "src").symlink_to(ROOT / "src")  # what runs, and what the settings are of
    (folder / "data/raw").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["sums", "orders"])
def test_the_stages_run_on_free_text_and_the_report_tells_what_changed(name, tmp_path, monkeypatch, capsys):
    params = small(name)
    if name == "sums":
        params["task"]["grade"].append("own.py:short")
    project(tmp_path, params, monkeypatch)
    (tmp_path / "graders/own.py").write_text("def short(answer, references, inputs):\n    return len(answer) < 20\n")
    for stage in STAGES:
        run_stage(stage, params, monkeypatch)
    found = read(tmp_path / "metrics/diff_cases.json")
    assert found["n"] == 40
    scores = {
        "sums": ["score_every_line", "score_chrf", "score_short"],
        "orders": ["score_json_fields", "score_schema", "score_count", "score_colour"],
    }[name]
    for key in [*scores, "trait_words", "trait_empty", "trait_repetition", "trait_other_script"]:
        assert {f"{key}_base", f"{key}_tuned", f"{key}_delta_low", f"{key}_delta_high"} <= set(found)
    report = (tmp_path / "reports/report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "40 test cases" in report
    assert "Words of an answer" in report
    frame, about = read_predictions(tmp_path / "data/predictions/tuned/test.parquet")
    assert about["labels"] == ["answer"]
    assert set(scores) <= set(frame)
    # The same two files without the pipeline.
    files = [str(tmp_path / f"data/predictions/{model}/test.parquet") for model in ("base", "tuned")]
    monkeypatch.setattr("sys.argv", ["tunediff", "diff", *files, "--out", "findings"])
    command.main()
    again = read(tmp_path / "findings/metrics.json")
    keys = [key for key in again if key.startswith(("score_", "trait_")) and not key.endswith(("low", "high", "_p"))]
    assert len(keys) == 3 * (len(scores) + 5)
    assert {key: again[key] for key in keys} == pytest.approx({key: found[key] for key in keys})
    assert len((tmp_path / "findings/cases.jsonl").read_text(encoding="utf-8").splitlines()) == 40
    capsys.readouterr()
    [question] = params["task"]["inputs"]
    monkeypatch.setattr("sys.argv", ["tunediff", "predict", f"{question}=Ann has 3 cups and buys 4 more."])
    command.main()
    assert "The answers" in capsys.readouterr().out


def test_a_changed_file_of_ones_own_grades_again_and_asks_no_model(tmp_path, monkeypatch):
    params = small("sums")
    params["task"]["grade"] = "own.py:short"
    project(tmp_path, params, monkeypatch)
    grader = tmp_path / "graders/own.py"
    grader.write_text("def short(answer, references, inputs):\n    return len(answer) < 20\n", encoding="utf-8")

    def settings():
        run_stage("settings", params, monkeypatch)
        return {path.stem: path.read_bytes() for path in (tmp_path / "data/settings").iterdir()}

    before = settings()
    grader.write_text("def short(answer, references, inputs):\n    return len(answer) < 21\n", encoding="utf-8")
    after = settings()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"eval_base", "eval_tuned", "diff_cases"}
    assert "graders" in STAGES["settings"]["deps"]
