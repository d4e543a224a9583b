"""Real data beside the project, for tests that use it where it is found."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / "../shared/data"


def shared_data(name: str) -> Path:
    """The file `name` of the shared data; a test that asks for one that is not there is skipped."""
    return _there(SHARED / name)


def file_of_another_tool(name: str) -> Path:
    """A file as another tool wrote it; a test that asks for one that is not there is skipped."""
    return _there(SHARED.parent / "faults/files" / name)


def _there(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"there is no {path}")
    return path
