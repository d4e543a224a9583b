"""Where an interrupted training goes on: a scratch folder outside every output, keyed by all that the result hangs on.

    folder = scratch_folder([params.train.model_dump()], Path("data/splits/train.jsonl"))    # .scratch/train/8c1d02...
    latest_whole(folder)                                         # .scratch/train/8c1d02.../checkpoint-250

Changed parameters, data or code give another key, so they never meet an old checkpoint. A checkpoint counts only when
it was marked whole after its last byte. Git and DVC ignore the scratch folder; it is removed when training has ended
well.
"""

import hashlib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tunediff.cases import content_hash
from tunediff.models.processes import gathered

SCRATCH = Path(".scratch/train")
WHOLE = "whole"


def scratch_folder(settings: object, *inputs: Path) -> Path:
    """The folder for the checkpoints of one run.

    Args:
        settings: every parameter that the run depends on, as a JSON value.
        inputs: every file or folder that the run reads.
    """
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    code = Path(__file__).parents[1].rglob("*.py")
    return SCRATCH / content_hash([settings, versions, _files_hash(inputs), _files_hash(code)])


def _files_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of files, folders walked."""
    digest = hashlib.sha256()
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def mark_whole(checkpoint: Path) -> None:
    """Say that everything of a checkpoint has been written."""
    (checkpoint / WHOLE).touch()


class MarkWhole(TrainerCallback):
    """Marks a checkpoint as whole once transformers has written all of it, in every process, and says so."""

    def __init__(self, saved: Callable[[], None] = lambda: None) -> None:
        self.saved = saved

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002, D102
        gathered(None)  # all have written theirs
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.saved()


def latest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that was marked whole; None where there is none."""
    whole = [mark.parent for mark in folder.glob(f"checkpoint-*/{WHOLE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
