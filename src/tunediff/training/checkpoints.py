"""Where an interrupted training goes on: the newest checkpoint in its scratch folder that is whole.

    latest_whole(scratch_folder("train", ...))                   # .scratch/train/8c1d02.../checkpoint-250

A checkpoint counts only when it was marked whole after its last byte had reached the disk, and an older one goes only
after that: there is always one to go on from, whenever the process or the machine stops.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import rotate_checkpoints

from tunediff.runtime.processes import gathered

WHOLE = "whole"


def mark_whole(checkpoint: Path) -> None:
    """Say that everything of a checkpoint has been written, once it has reached the disk."""
    for path in checkpoint.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    (checkpoint / WHOLE).touch()


class MarkWhole(TrainerCallback):
    """Marks a checkpoint as whole once every process has written its part, says so, and then removes older ones.

    transformers itself would remove them (`save_total_limit`) before the new one is marked.
    """

    def __init__(self, saved: Callable[[], None], keep: int | None) -> None:
        self.saved, self.keep = saved, keep

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002, D102
        gathered(None)  # all have written theirs
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.saved()
        if state.is_world_process_zero:
            rotate_checkpoints(args.output_dir, self.keep, state.best_model_checkpoint)


def latest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that was marked whole; None where there is none."""
    whole = [mark.parent for mark in folder.glob(f"checkpoint-*/{WHOLE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
