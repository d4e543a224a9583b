"""Notes on the cases of a test set that no model reads: leaks, and values to slice by.

    write_notes(Path("data/notes.json"), {"test": Notes(leaks, {"channel": ["web", "phone", None]})})
    read_notes(Path("data/notes.json"))["test"].slices["channel"]

They are stored separately from the test sets, so that another slice runs no model again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tunediff.data.leaks import Leaks
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, write_json


@dataclass(frozen=True)
class Notes:
    """Notes on the cases of a test set."""

    leaks: Leaks | None = None
    """Overlap with the training cases; None if these are unknown."""
    slices: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """The value of each case, as text, in each column of `data.slices`; None if empty."""


def write_notes(path: Path, notes: Mapping[str, Notes]) -> None:
    """Write the notes on each test set as JSON."""
    write_json(path, {name: asdict(one) for name, one in notes.items()})


def read_notes(path: Path) -> dict[str, Notes]:
    """Read the notes on each test set, written by `write_notes`.

    Raises:
        TunediffError: the file is missing or has no notes.
    """
    found = read_json(path)
    try:
        return {
            name: Notes(None if one["leaks"] is None else Leaks(**one["leaks"]), dict(one["slices"]))
            for name, one in found.items()
        }
    except (TypeError, AttributeError, KeyError, ValueError):
        raise TunediffError(f"{path}: found no notes, expected the output of the stage prepare (dvc repro)") from None
