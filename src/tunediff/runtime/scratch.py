"""Where an interrupted stage resumes: a folder outside every output, keyed by everything its result depends on.

    folder = scratch_folder("train", [params.train.model_dump()], Path("data/splits/train.jsonl"))
    ...                                      # .scratch/train/8c1d02...: saves of the training, batches of an evaluation
    mark_done(folder)                        # the outputs are written
    clear_done()                             # a later stage: DVC has stored them by now

Changed parameters, data or code give another key, so they never meet what an earlier run left. Git and DVC ignore the
folder. A stage that has ended well does not remove it itself: one that is killed before DVC has stored its outputs runs
again, and would have to begin anew.
"""

import shutil
from importlib.metadata import version
from pathlib import Path

from tunediff.runtime.files import write_text
from tunediff.runtime.hashing import content_hash, files_hash

SCRATCH = Path(".scratch")
DONE = "done"


def scratch_folder(stage: str, settings: object, *inputs: Path) -> Path:
    """The folder of one run of a stage; nothing is made.

    Args:
        stage: the stage's name.
        settings: every parameter that the run depends on, as a JSON value.
        inputs: every file or folder that the run reads.
    """
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    code = sorted(Path(__file__).parents[1].rglob("*.py"))
    return SCRATCH / stage / content_hash([settings, versions, files_hash(inputs), files_hash(code)])


def mark_done(folder: Path) -> None:
    """Say that the stage has written its outputs."""
    write_text(folder / DONE, "")


def clear_done() -> None:
    """Remove the folders of stages that have ended well; those of interrupted ones stay, to be gone on from."""
    for mark in SCRATCH.glob(f"*/*/{DONE}"):
        shutil.rmtree(mark.parent, ignore_errors=True)
