"""Free text through the pipeline: every stage of dvc.yaml on a few rows of the two recipes, without DVC."""

import json

import pytest

from tests.pipeline import STAGES
from tests.without_dvc import project, run_stage, small
from tunediff.commands import main as command
from tunediff.data.cases import RIGHT, read_predictions


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.pipeline
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
    assert "Words per answer" in report
    raised = {check["name"] for check in read(tmp_path / "data/plots/checks.json")}
    for model in ("base", "tuned"):
        rows, _ = read_predictions(tmp_path / f"data/predictions/{model}/test.parquet")
        cut = int(((rows["trait_cut"] == 1) & (rows["outcome"] != RIGHT)).sum())
        assert (f"Answers of the {model} model cut off" in raised) == (cut >= 2)
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


@pytest.mark.slow
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
