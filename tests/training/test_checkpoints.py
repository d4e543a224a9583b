"""A run goes on from a save that is whole and was made from the same parameters, data, code and versions."""

import pytest

from tunediff.training import checkpoints
from tunediff.training.checkpoints import latest_whole, mark_whole, scratch_folder


@pytest.fixture
def run(tmp_path):
    """A run's inputs: a file, and a folder with a file in a folder."""
    (tmp_path / "train.jsonl").write_text("{}")
    (tmp_path / "base" / "deep").mkdir(parents=True)
    (tmp_path / "base" / "deep" / "model.safetensors").write_bytes(b"weights")
    return [tmp_path / "train.jsonl", tmp_path / "base"]


def test_the_same_run_has_the_same_folder_in_the_ignored_scratch_space(run):
    folder = scratch_folder([{"learning_rate": 1e-3, "seed": 1}], *run)
    assert folder == scratch_folder([{"seed": 1, "learning_rate": 1e-3}], *run)
    assert folder.parent.parts == (".scratch", "train")
    assert not folder.exists()


def test_anything_that_the_result_hangs_on_gives_another_folder(run, monkeypatch):
    settings = [{"learning_rate": 1e-3}]
    found = {scratch_folder(settings, *run)}

    def another():
        folder = scratch_folder(settings, *run)
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
    monkeypatch.setattr(checkpoints, "version", lambda name: "99")
    another()


def test_other_code_gives_another_folder(run, tmp_path, monkeypatch):
    package = tmp_path / "tunediff" / "training"
    package.mkdir(parents=True)
    monkeypatch.setattr(checkpoints, "__file__", str(package / "checkpoints.py"))
    (package / "loss.py").write_text("one = 1\n")
    before = scratch_folder([], *run)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "loss.pyc").touch()
    assert scratch_folder([], *run) == before
    (package / "loss.py").write_text("one = 2\n")
    assert scratch_folder([], *run) != before


def test_the_newest_whole_save_is_taken_by_its_number(tmp_path):
    assert latest_whole(tmp_path) is None
    assert latest_whole(tmp_path / "nothing") is None
    for step in (50, 100, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        mark_whole(tmp_path / f"checkpoint-{step}")
    assert latest_whole(tmp_path) == tmp_path / "checkpoint-100"


def test_a_half_written_save_is_passed_over(tmp_path):
    for step in (50, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trained.safetensors").touch()
    assert latest_whole(tmp_path) is None
    mark_whole(tmp_path / "checkpoint-50")
    assert latest_whole(tmp_path) == tmp_path / "checkpoint-50"
