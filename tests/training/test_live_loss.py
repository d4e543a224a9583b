"""The loss that `dvc exp show` shows while a model trains."""

import json

from tunediff.training.live_loss import live_loss


def test_the_file_has_the_newest_of_each_value_and_nothing_that_is_not_known_yet(tmp_path):
    path = tmp_path / "loss.json"
    write = live_loss(path)
    seen = []
    for entry in (
        {"step": 10, "loss": 0.9, "grad_norm": 1.5, "learning_rate": 1e-4},
        {"epoch": 1.0, "step": 15, "train_loss": 0.8, "validation_loss": 0.7, "validation_accuracy": 0.5},
        {"step": 20, "loss": 0.6, "grad_norm": 1.1, "learning_rate": 1e-4},
    ):
        write(entry)
        seen.append(json.loads(path.read_text()))
    assert seen == [
        {"step": 10, "train_loss": 0.9},
        {"epoch": 1, "step": 15, "train_loss": 0.8, "validation_loss": 0.7},
        {"epoch": 1, "step": 20, "train_loss": 0.6, "validation_loss": 0.7},
    ]


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tunediff.training.live_loss.is_main_process", lambda: False)
    live_loss(tmp_path / "loss.json")({"step": 10, "loss": 0.9})
    assert not (tmp_path / "loss.json").exists()
