import json

import pytest

from tunediff.report.exports import FORMS


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory):
    return small_run.copy(tmp_path_factory.mktemp("project"))


@pytest.mark.slow
@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_written_for_both_models_from_what_the_pipeline_left(project, form):
    output = project.run("tunediff", "export", "--format", form, "--out", f"exported/{form}")
    named = [line.removeprefix("written: ") for line in output.splitlines()]
    files = [path for path in (project.folder / "exported" / form).rglob("*") if path.is_file()]
    assert sorted(named) == sorted(str(path.relative_to(project.folder)) for path in files)
    again = project.run("tunediff", "export", "--format", form, "--out", f"exported/{form}", check=False)
    assert "which exists; expected the name of a new folder" in again


@pytest.mark.slow
def test_samples_of_a_run_give_the_figures_of_its_prediction_files(project):
    project.run("tunediff", "export", "--format", "lm-eval", "--out", "samples")
    for place, out in (("samples/{}/samples_test.jsonl", "a"), ("data/predictions/{}/test.parquet", "b")):
        project.run("tunediff", "diff", place.format("base"), place.format("tuned"), "--out", out)
    found, expected = (json.loads((project.folder / name / "metrics.json").read_text()) for name in ("a", "b"))
    assert found == pytest.approx(expected)


@pytest.mark.slow
def test_a_test_set_that_is_none_is_refused(project):
    output = project.run("tunediff", "export", "--format", "lm-eval", "--out", "x", "--set", "none", check=False)
    assert output.splitlines()[-1] == "tunediff: --set: found 'none', expected one of test"
    assert not (project.folder / "x").exists()
