"""Multiple choice through the pipeline: every stage of dvc.yaml on a few rows of the recipe, without DVC."""

import json

import pytest

from tests.pipeline import STAGES
from tests.without_dvc import project, run_stage, small
from tunediff.commands import main as command


@pytest.mark.pipeline
@pytest.mark.parametrize("score", ["character", "unconditional"])
def test_the_stages_run_on_options_and_two_prediction_files_say_the_same(score, tmp_path, monkeypatch):
    params = small("rankings")
    params["task"]["option_score"] = score
    params["data"]["slices"] = ["answer"]
    project(tmp_path, params, monkeypatch)
    for stage in STAGES:
        run_stage(stage, params, monkeypatch)
    found = json.loads((tmp_path / "metrics/diff_cases.json").read_text())
    assert found["n"] == 40
    report = (tmp_path / "reports/report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    for words in ("Labels before and after", "always choosing the longest option", "likelihood per token", "answer: "):
        assert words in report
    files = [str(tmp_path / f"data/predictions/{model}/test.parquet") for model in ("base", "tuned")]
    monkeypatch.setattr("sys.argv", ["tunediff", "diff", *files, "--out", "findings"])
    command.main()
    again = json.loads((tmp_path / "findings/metrics.json").read_text())
    for key in ("repaired", "broken", "accuracy_base", "accuracy_tuned", "score_token_base", "score_byte_tuned"):
        assert again[key] == found[key]
