"""`tunediff controls` and `tunediff checkpoints` in a small project, and the report that shows what they found."""

import json
import shutil

import pytest

from tests.program import tunediff

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("controls")]


def found(folder, *arguments):
    code, out, error = tunediff(folder, *arguments, "--json")
    assert (code, error) == (0, "")
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory):
    """The small run, with the tuned model as that of two epochs."""
    project = small_run.copy(tmp_path_factory.mktemp("controls"))
    tuned = project.folder / "models/tuned"
    for epoch in ("1", "2"):
        shutil.copytree(tuned, tuned / "epochs" / epoch, ignore=shutil.ignore_patterns("epochs"))
    return project


@pytest.fixture(scope="module")
def controls(project):
    return found(project.folder, "controls", "--draws", 1, "--strengths", 0, 1)


@pytest.fixture(scope="module")
def checkpoints(project):
    return found(project.folder, "checkpoints")


def test_the_base_against_itself_flips_nothing_and_strengths_go_from_the_base_to_the_tuned_model(project, controls):
    diff = project.metrics("diff_cases")
    assert controls["of"] == project.metrics("controls")["of"]
    assert (controls["n"], controls["again"]["changed"], controls["again"]["flips"]) == (diff["n"], 0, 0)
    assert [controls["trained"][key] for key in ("repaired", "broken")] == [diff["repaired"], diff["broken"]]
    none, whole = controls["strengths"]
    assert (none["forgotten"], none["gained"]) == (0, 0)
    assert (whole["forgotten"], whole["gained"]) == (diff["broken"], diff["repaired"])
    [null] = controls["null"]
    assert null["flips"] == null["repaired"] + null["broken"]


def test_epochs_that_are_the_tuned_model_have_its_gain_and_cannot_be_told_apart(project, checkpoints):
    diff, one = project.metrics("diff_cases"), checkpoints["sets"]["test"]
    for epoch in one["epochs"]:
        assert (epoch["gained"], epoch["forgotten"]) == (diff["repaired"], diff["broken"])
        assert (epoch["low"], epoch["high"]) == pytest.approx((diff["accuracy_delta_low"], diff["accuracy_delta_high"]))
    [pair] = one["pairs"]
    assert (pair["p_adjusted"], pair["separated"]) == (1, False)


def test_the_report_shows_them_where_they_lie_and_only_those_of_its_run(project, controls, checkpoints):
    report, file = project.folder / "reports/report.md", project.folder / "metrics/controls.json"
    project.run("dvc", "repro", "--single-item", "--force", "report")
    text = report.read_text()
    assert f"zero flips on {controls['n']}" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "## Controls" in text
    assert "## Gain and forgetting during training" in text
    file.write_text(json.dumps(controls | {"of": "another"}))
    out = project.run("dvc", "repro", "--single-item", "--force", "report")
    file.write_text(json.dumps(controls))
    assert "metrics/controls.json belongs to another run and is ignored" in out
    assert "## Controls" not in report.read_text()
    assert checkpoints["sets"]


def test_without_a_model_after_each_epoch_there_is_nothing_to_ask(project, tmp_path):
    bare = project.copy(tmp_path)
    shutil.rmtree(bare.folder / "models/tuned/epochs")
    line = "models/tuned: found no models of single epochs, expected those of a run with train.keep: all"
    assert tunediff(bare.folder, "checkpoints") == (1, "", f"tunediff: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cases", "0"], "--cases: found 0, expected a number of at least 1"),
        (["--draws", "-1"], "--draws: found -1, expected a number of at least 0"),
        (["--strengths", "11"], "--strengths: found 11.0, expected a number in 0..10"),
        (["--set", "none"], "--set: found 'none', expected one of test"),
    ],
)
def test_what_cannot_be_asked_ends_in_one_line(project, arguments, line):
    assert tunediff(project.folder, "controls", *arguments) == (1, "", f"tunediff: {line}\n")
