"""A run resumes from its newest complete checkpoint, and there is always one."""

import pytest
import torch

from tunediff.training.checkpoints import latest_whole, mark_whole, read_state, remove_older, write_checkpoint


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


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [(None, 2, [2, 4, 10]), (1, 10, [10]), (1, 2, [2, 10]), (2, 4, [4, 10]), (5, 10, [2, 4, 10])],
)
def test_the_oldest_above_the_limit_go_but_neither_the_newest_nor_the_best(limit, best, kept, tmp_path):
    for step in (10, 2, 4):
        write_checkpoint(tmp_path / f"checkpoint-{step}", {"weight": torch.ones(1)}, {})
    remove_older(tmp_path, limit, tmp_path / f"checkpoint-{best}")
    assert sorted(int(path.name[11:]) for path in tmp_path.iterdir()) == kept


def test_what_was_written_is_read_back(tmp_path):
    state = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "history": [{"epoch": 1.0}]}
    write_checkpoint(tmp_path / "checkpoint-2", {"weight": torch.ones(1)}, state)
    assert latest_whole(tmp_path) == tmp_path / "checkpoint-2"
    assert read_state(tmp_path / "checkpoint-2") == state
