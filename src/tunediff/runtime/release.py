"""The line of requirements.txt that names the installed tunediff, on which the stages of a project depend.

    requirement()      # "tunediff[models]==0.1.0  # code 5f1c0e9a2b7d4c83"

A clone of this repository has the code itself, and its stages depend on that. A project of `tunediff init` or `compare`
has this line in its place. The hash tells apart what two installations of one version hold.
"""

from functools import cache
from importlib.metadata import version
from pathlib import Path

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text, shown
from tunediff.runtime.hashing import files_hash

PACKAGE = Path(__file__).parents[1]
# In a wheel, what projects are made of; in a clone, it stands around the package.
CARRIED = "pipeline"
REQUIREMENTS = Path("requirements.txt")


@cache
def requirement() -> str:
    """What pip installs this tunediff by, and a hash of its code."""
    packages = sorted(path for path in PACKAGE.iterdir() if path.is_dir() and path.name != CARRIED)
    return f"tunediff[models]=={version('tunediff')}  # code {files_hash(packages)[:16]}"


def named_in(requirements: Path) -> str | None:
    """The line of a file of requirements that names tunediff; None where there is none."""
    lines = read_text(requirements).splitlines()
    return next((line.strip() for line in lines if line.strip().startswith("tunediff[")), None)


def check_code(code: Path) -> None:
    """Refuse a project that was made or last run with another tunediff than the one that is installed.

    Args:
        code: the folder of the code, which is what it is, or the file that names its version.

    Raises:
        TunediffError: the file names another version, or none.
    """
    if code.is_file() and (found := named_in(code)) != requirement():
        raise TunediffError(
            f"{code}: found {shown(found)}, expected the installed {requirement()!r}: tunediff verify --accept keeps "
            "what the other version computed, tunediff repro recomputes it"
        )
