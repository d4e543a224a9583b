"""Folders for checkpoints of a stage, outside all outputs and keyed by everything that its result depends on.

    folder = scratch_folder("train", [params.train.model_dump()], Path("data/splits/train.jsonl"))
    ...                                      # .scratch/train/8c1d02...: training checkpoints, evaluated batches
    mark_done(folder)                        # the outputs are written
    clear_done()                             # in a later stage: DVC has stored the outputs by now

Changed parameters, data or code give another key, so a stale checkpoint is never used. Git and DVC ignore the folder. A
stage does not remove its own folder: if it were killed before DVC has stored its outputs, it would have to start over.
"""

import shutil
from importlib.metadata import version
from pathlib import Path

from tunediff.runtime.files import write_text
from tunediff.runtime.hashing import content_hash, files_hash

SCRATCH = Path(".scratch")
DONE = "done"


def scratch_folder(stage: str, settings: object, *inputs: Path) -> Path:
    """Return the path of the scratch folder of a stage, without creating it.

    Args:
        stage: the stage's name.
        settings: all parameters that its result depends on, as a JSON value.
        inputs: all files and folders that it reads.
    """
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    code = sorted(Path(__file__).parents[1].rglob("*.py"))
    return SCRATCH / stage / content_hash([settings, versions, files_hash(inputs), files_hash(code)])


def mark_done(folder: Path) -> None:
    """Record that the stage has written its outputs."""
    write_text(folder / DONE, "")


def clear_done() -> None:
    """Remove the folders of finished stages; those of interrupted stages stay, so that they can be resumed."""
    for mark in SCRATCH.glob(f"*/*/{DONE}"):
        shutil.rmtree(mark.parent, ignore_errors=True)
