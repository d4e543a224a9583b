"""A run goes on from its newest save that is whole, and there is always one."""

from types import SimpleNamespace

from tunediff.training.checkpoints import MarkWhole, latest_whole, mark_whole


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


def test_an_older_save_goes_only_after_the_newer_one_is_whole(tmp_path, monkeypatch):
    seen = []

    def saved():
        seen.append((latest_whole(tmp_path).name, sorted(path.name for path in tmp_path.iterdir())))

    callback = MarkWhole(saved, keep=1)
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trained.safetensors").write_bytes(b"weights")
        state = SimpleNamespace(global_step=step, best_model_checkpoint=None, is_world_process_zero=True)
        callback.on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert seen == [("checkpoint-2", ["checkpoint-2"]), ("checkpoint-4", ["checkpoint-2", "checkpoint-4"])]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]
