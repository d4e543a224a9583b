"""Where an interrupted stage resumes depends on the same parameters, data, code and versions."""

import pytest

from tunediff.runtime import scratch
from tunediff.runtime.scratch import clear_done, mark_done, scratch_folder


@pytest.fixture
def run(tmp_path):
    """A run's inputs: a file, and a folder with a file in a folder."""
    (tmp_path / "train.jsonl").write_text("{}")
    (tmp_path / "base" / "deep").mkdir(parents=True)
    (tmp_path / "base" / "deep" / "model.safetensors").write_bytes(b"weights")
    return [tmp_path / "train.jsonl", tmp_path / "base"]


def test_the_same_run_has_the_same_folder_in_the_ignored_scratch_space(run):
    folder = scratch_folder("train", [{"learning_rate": 1e-3, "seed": 1}], *run)
    assert folder == scratch_folder("train", [{"seed": 1, "learning_rate": 1e-3}], *run)
    assert folder.parent.parts == (".scratch", "train")
    assert not folder.exists()


def test_anything_that_the_result_hangs_on_gives_another_folder(run, monkeypatch):
    settings = [{"learning_rate": 1e-3}]
    found = {scratch_folder("train", settings, *run)}

    def another():
        folder = scratch_folder("train", settings, *run)
        assert folder not in found
        found.add(folder)

    settings = [{"learning_rate": 1e-4}]
    another()
    run[0].write_text("{ }")
    another()
    (run[1] / "deep" / "model.safetensors").write_bytes(b"Weights")
    another()
    (run[1] / "deep" / "model.safetensors").rename(run[1] / "deep" / "other.safetensors")
    another()
    (run[1] / "empty").touch()
    another()
    monkeypatch.setattr(scratch, "version", lambda name: "99")
    another()


def test_other_code_gives_another_folder(run, tmp_path, monkeypatch):
    package = tmp_path / "tunediff" / "deep"
    package.mkdir(parents=True)
    monkeypatch.setattr(scratch, "__file__", str(package.parent / "scratch.py"))
    (package / "loss.py").write_text("one = 1\n")
    before = scratch_folder("train", [], *run)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "loss.pyc").touch()
    assert scratch_folder("train", [], *run) == before
    (package / "loss.py").write_text("one = 2\n")
    assert scratch_folder("train", [], *run) != before


def test_two_stages_never_share_a_folder(run):
    assert scratch_folder("eval_base", [], *run) != scratch_folder("eval_tuned", [], *run)


def test_what_is_done_is_cleared_and_what_was_interrupted_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clear_done()
    folders = [scratch_folder("train", [n]) for n in range(3)]
    for folder in folders:
        (folder / "checkpoint-2").mkdir(parents=True)
    mark_done(folders[1])
    clear_done()
    assert [folder.exists() for folder in folders] == [True, False, True]
