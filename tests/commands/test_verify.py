"""`tunediff verify` in a small project, its results as they were made and changed behind its back."""

import json
from argparse import Namespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.imports import ROOT
from tests.program import tunediff
from tests.whole_files import write_answers
from tunediff.commands import verify
from tunediff.data.answers import read_answers
from tunediff.data.cases import read_predictions
from tunediff.runtime.errors import TunediffError

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("verify")]


@pytest.fixture(scope="module")
def counted(small_run, tmp_path_factory):
    """The small project in a folder of its own; tests leave it as it is."""
    return small_run.copy(tmp_path_factory.mktemp("counted"))


def rows(out):
    """Cells of the table by stage."""
    return {line.split("  ")[0]: line.split() for line in out.splitlines()[1:] if not line.startswith(" ")}


def rewritten(project, model, change, **more):
    """The raw answers of a model with their frame changed, and what they say of themselves."""
    path = project.folder / f"data/answers/{model}/test.parquet"
    frame, about = read_answers(path)
    write_answers(path, change(frame), about | more)


def test_results_that_are_true_here_agree_and_nothing_is_written(counted):
    before = counted.run("git", "status", "--porcelain", "--untracked-files=all")
    code, out, error = tunediff(counted.folder, "verify", "--sample", 40)
    assert (code, error) == (0, "")
    found = rows(out)
    assert found["prepare"][1:] == ["all", "420", "cases", "420"]
    assert found["count_params"][1:] == ["all", "12", "counts", "12"]
    for model in ("base", "tuned"):
        assert found[f"predict_{model}"][1:7] == ["40", "of", "120", "cases", "40", "40"]
        assert float(found[f"predict_{model}"][7]) < 1e-5
        assert found[f"eval_{model}"][1:] == ["all", "120", "cases", "120"]
    assert out.splitlines()[-1] == "Cached results reproduce here, as far as they were checked."
    assert counted.run("git", "status", "--porcelain", "--untracked-files=all") == before


def test_results_that_were_changed_are_named_case_by_case_and_the_gate_closes(counted, tmp_path):
    project = counted.copy(tmp_path)
    choices = project.params()["prompt"]["choices"].values()
    ids = read_predictions(project.folder / "data/predictions/base/test.parquet")[0]["case_id"]

    def other_answer(frame):
        frame.loc[3, "text"] = next(one for one in choices if one != frame["text"][3])
        frame.at[3, "log_probs"] = [-0.1, -3.0, -3.1]
        return frame

    rewritten(project, "base", other_answer)
    rewritten(project, "tuned", lambda frame: frame, environment={"torch": "2.0.1", "device": "\x1b[31mred"})
    split = project.folder / "data/splits/validation.jsonl"
    split.write_text(split.read_text().replace('"neutral"', '"entailment"', 1))
    counts = project.folder / "metrics/count_params.json"
    counts.write_text(json.dumps(json.loads(counts.read_text()) | {"trainable": 7}))
    code, out, error = tunediff(project.folder, "verify", "--sample", 1000)
    assert code == 3
    assert rows(out)["prepare"][1:] == ["all", "420", "cases", "419"]
    assert "prepare: data/splits/validation.jsonl has 60 cases, 60 are drawn; 59 are the same" in out
    assert "count_params: trainable: metrics/count_params.json has 7, counted " in out
    assert rows(out)["predict_base"][1:5] == ["all", "120", "cases", "119"]
    assert f"predict_base: 1 cases differ by more than rounding: {ids[3]}" in out
    assert rows(out)["eval_base"][1:5] == ["all", "120", "cases", "119"]
    assert f"eval_base: 1 cases of data/predictions/base/test.parquet are graded differently: {ids[3]}" in out
    assert rows(out)["predict_tuned"][1:6] == ["all", "120", "cases", "120", "120"]
    assert rows(out)["eval_tuned"][1:] == ["all", "120", "cases", "120"]
    assert f"predict_tuned: torch: computed with 2.0.1, here {torch.__version__}" in out
    assert "\x1b" not in out
    assert error.startswith(
        "tunediff: prepare, count_params, predict_base, eval_base: results differ from those computed here; "
    )
    assert error.endswith("the results do not match the current code, data and parameters: run dvc repro\n")


def test_another_model_than_the_one_that_was_measured_differs(counted, tmp_path):
    project = counted.copy(tmp_path)
    path = project.folder / "models/tuned/adapter_model.safetensors"
    path.chmod(0o644)
    weights = {name: value + 0.1 * torch.randn_like(value) for name, value in load_file(path).items()}
    path.unlink()
    save_file(weights, path, metadata={"format": "pt"})
    code, out, error = tunediff(project.folder, "verify", "--stage", "predict_tuned", "--sample", 30)
    assert code == 3, error
    assert list(rows(out)) == ["predict_tuned"]
    assert int(rows(out)["predict_tuned"][5]) < 30
    assert float(rows(out)["predict_tuned"][7]) > 1e-3


def told_layers(project):
    """Layers that the adapter of a run is on, as its own weights have it."""
    weights = load_file(project.folder / "models/tuned/adapter_model.safetensors")
    return sum("lora_A" in name for name in weights)


def test_a_prediction_file_says_what_it_was_computed_with_and_so_do_the_metrics(counted):
    for model in ("base", "tuned"):
        about = json.loads(
            pq.read_schema(counted.folder / f"data/predictions/{model}/test.parquet").metadata[b"tunediff"]
        )
        told = dict(counted.metrics(f"environment/predict_{model}"))
        assert told.pop("model")["adapted_layers"] == (0 if model == "base" else told_layers(counted))
        assert about["environment"] == told
        assert about["environment"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "0"], "--sample: found 0, expected a number of cases of at least 1"),
        (["--stage", "eval_base"], "data/predictions/base/test.parquet: there is no such file"),
        (["--stage", "prepare"], "data/splits/train.jsonl: there is no such file"),
    ],
)
def test_what_cannot_be_checked_is_named_in_a_line(small_run, tmp_path, arguments, message):
    project = small_run.copy(tmp_path)
    (project.folder / "data/predictions/base/test.parquet").unlink()
    (project.folder / "data/splits/train.jsonl").unlink()
    code, out, error = tunediff(project.folder, "verify", *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert message in error


def test_what_differs_is_told_also_where_dvc_cannot_tell_why(monkeypatch, capsys):
    def fails(_):
        raise TunediffError("dvc status: cannot determine which results are up to date")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(verify, "outdated", fails)
    monkeypatch.setattr(verify, "check", lambda *_: [verify.Checked("eval_base", "cases", 3, 3, 2)])
    with pytest.raises(SystemExit) as ended:
        verify.main(Namespace(sample=1, accept=False, stage=None, set="test"))
    said = capsys.readouterr()
    assert ended.value.code == 3
    assert "eval_base" in said.out
    assert said.err.endswith("to recompute them: dvc repro --force --single-item eval_base\n")
