"""Checkpoints of a training run, written atomically.

    write_checkpoint(scratch / "checkpoint-250", weights, {"optimizer": optimizer.state_dict(), ...})
    latest_whole(scratch)                                        # .scratch/train/8c1d02.../checkpoint-250

A checkpoint is marked complete after its last byte has reached the disk, and older ones are removed only after that, so
there is always one to resume from.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tunediff.models.adapt import save_weights

STATE, WHOLE = "state.pt", "whole"


def write_checkpoint(checkpoint: Path, weights: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Write the trained weights and everything else that the next step depends on."""
    save_weights(weights, checkpoint)
    torch.save(dict(state), checkpoint / STATE)
    mark_whole(checkpoint)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state that `write_checkpoint` wrote besides the weights, on the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return state


def mark_whole(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, after flushing its files to the disk."""
    for path in checkpoint.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    (checkpoint / WHOLE).touch()


def latest_whole(scratch: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    return max((mark.parent for mark in scratch.glob(f"checkpoint-*/{WHOLE}")), key=_step, default=None)


def remove_older(scratch: Path, limit: int | None, best: Path | None) -> None:
    """Remove the oldest checkpoints above a limit, except the newest and the best one."""
    checkpoints = sorted(scratch.glob("checkpoint-*"), key=_step)
    excess = 0 if limit is None else max(0, len(checkpoints) - limit)
    for checkpoint in [path for path in checkpoints[:-1] if path != best][:excess]:
        shutil.rmtree(checkpoint)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
