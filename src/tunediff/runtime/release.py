"""The line of requirements.txt that names the installed tunediff, on which the stages of a project depend.

    requirement()      # "tunediff[models]==0.1.0  # code 5f1c0e9a2b7d4c83"

In a clone of this repository, the stages depend on the code itself. A project of `tunediff init` or `compare` has this
line instead; the hash distinguishes installations of the same version with different code.
"""

from functools import cache
from importlib.metadata import version
from pathlib import Path

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text, shown
from tunediff.runtime.hashing import files_hash

PACKAGE = Path(__file__).parents[1]
# The files of the pipeline that new projects are made of, inside a wheel; in a clone they are around the package.
CARRIED = "pipeline"
REQUIREMENTS = Path("requirements.txt")


@cache
def requirement() -> str:
    """Return the requirement that installs this version with pip, with a hash of its code as a comment."""
    packages = sorted(path for path in PACKAGE.iterdir() if path.is_dir() and path.name != CARRIED)
    return f"tunediff[models]=={version('tunediff')}  # code {files_hash(packages)[:16]}"


def named_in(requirements: Path) -> str | None:
    """Return the line of a requirements file that names tunediff, or None."""
    lines = read_text(requirements).splitlines()
    return next((line.strip() for line in lines if line.strip().startswith("tunediff[")), None)


def check_code(code: Path) -> None:
    """Check that a project was created or last run with the installed tunediff.

    Args:
        code: the requirements file of a project, or the folder of the code in a clone, which needs no check.

    Raises:
        TunediffError: the file names another version, or none.
    """
    if code.is_file() and (found := named_in(code)) != requirement():
        raise TunediffError(
            f"{code}: found {shown(found)}, expected the installed {requirement()!r}: tunediff verify --accept keeps "
            "what the other version computed, tunediff repro recomputes it"
        )
