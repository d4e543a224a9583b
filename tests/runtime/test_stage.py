"""A stage takes its paths as arguments, and refuses before it starts what could only fail at its end."""

import sys
from pathlib import Path

import pytest

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.stage import arguments


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder that is the current one, with a file to read."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "test.jsonl").write_text("{}\n")
    monkeypatch.chdir(folder)
    return folder


def parse(monkeypatch, *words, reads=("test",), writes=("predictions", "cost_file")):
    monkeypatch.setattr(sys, "argv", ["eval_base.py", *words])
    return arguments("Measure the base model.", reads, writes)


GIVEN = ["--test", "data/test.jsonl", "--predictions", "data/out/base.parquet", "--cost-file", "metrics/cost.json"]


def test_paths_come_by_name(project, monkeypatch):
    args = parse(monkeypatch, *GIVEN)
    assert args.test == Path("data/test.jsonl")
    assert args.predictions == Path("data/out/base.parquet")
    assert args.cost_file == Path("metrics/cost.json")


def test_nothing_is_made_or_written(project, monkeypatch):
    parse(monkeypatch, *GIVEN)
    assert sorted(path.name for path in project.rglob("*")) == ["data", "test.jsonl"]


def test_a_path_to_read_that_is_not_there_is_named_with_its_option(project, monkeypatch):
    with pytest.raises(TunediffError) as caught:
        parse(monkeypatch, "--test", "data/tets.jsonl", *GIVEN[2:])
    assert caught.value.args == ("data/tets.jsonl: there is no such file or folder (--test)",)


@pytest.mark.parametrize("path", ["../out.parquet", "/tmp/out.parquet", ".", "data/../../out.parquet"])
def test_a_path_to_write_outside_the_project_is_refused(path, project, monkeypatch):
    with pytest.raises(TunediffError, match="leads out of the project"):
        parse(monkeypatch, *GIVEN[:2], "--predictions", path, *GIVEN[4:])


def test_a_link_that_leads_out_is_followed(project, monkeypatch):
    (project / "out").symlink_to(project.parent)
    with pytest.raises(TunediffError, match="leads out of the project"):
        parse(monkeypatch, *GIVEN[:2], "--predictions", "out/base.parquet", *GIVEN[4:])


def test_what_is_read_may_lie_outside_the_project(project, monkeypatch):
    (project.parent / "snli.jsonl").write_text("{}\n")
    assert parse(monkeypatch, "--test", "../snli.jsonl", *GIVEN[2:]).test == Path("../snli.jsonl")


def test_an_option_that_is_left_out_is_named(project, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, *GIVEN[:4])
    assert caught.value.code == 2
    assert "--cost-file" in capsys.readouterr().err


def test_help_shows_what_the_stage_does(project, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, "--help")
    assert caught.value.code == 0
    assert "Measure the base model." in capsys.readouterr().out
