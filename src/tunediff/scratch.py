"""Where an interrupted stage goes on: a folder outside every output, keyed by all that its result hangs on.

    folder = scratch_folder("train", [params.train.model_dump()], Path("data/splits/train.jsonl"))
    ...                                      # .scratch/train/8c1d02...: saves of the training, batches of an evaluation
    mark_done(folder)                        # the outputs are written
    clear_done()                             # a later stage: DVC has stored them by now

Changed parameters, data or code give another key, so they never meet what an earlier run left. Git and DVC ignore the
folder. A stage that has ended well does not remove it itself: one that is killed before DVC has stored its outputs runs
again, and would have to begin anew.
"""

import hashlib
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from tunediff.cases import content_hash
from tunediff.files import write_text

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
    code = Path(__file__).parent.rglob("*.py")
    return SCRATCH / stage / content_hash([settings, versions, _files_hash(inputs), _files_hash(code)])


def _files_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of files, folders walked."""
    digest = hashlib.sha256()
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def mark_done(folder: Path) -> None:
    """Say that the stage has written its outputs."""
    write_text(folder / DONE, "")


def clear_done() -> None:
    """Remove the folders of stages that have ended well; those of interrupted ones stay, to be gone on from."""
    for mark in SCRATCH.glob(f"*/*/{DONE}"):
        shutil.rmtree(mark.parent, ignore_errors=True)
