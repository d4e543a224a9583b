"""What is known of the cases of a test set beside what a model is asked about them: leaks, and values to slice by.

    write_notes(Path("data/notes.json"), {"test": Notes(leaks, {"channel": ["web", "phone", None]})})
    read_notes(Path("data/notes.json"))["test"].slices["channel"]

It lies apart from the test sets, so that another slice asks no model again.
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
    """What training has seen of them; None where the training cases are not known."""
    slices: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """For each column of `data.slices` its value as text of each case, in their order; None where it is empty."""


def write_notes(path: Path, notes: Mapping[str, Notes]) -> None:
    """Write the notes on each test set as JSON."""
    write_json(path, {name: asdict(one) for name, one in notes.items()})


def read_notes(path: Path) -> dict[str, Notes]:
    """Read the notes on each test set, as `write_notes` wrote them.

    Raises:
        TunediffError: no such file, or it does not hold notes.
    """
    found = read_json(path)
    try:
        return {
            name: Notes(None if one["leaks"] is None else Leaks(**one["leaks"]), dict(one["slices"]))
            for name, one in found.items()
        }
    except (TypeError, AttributeError, KeyError, ValueError):
        raise TunediffError(f"{path}: found no notes, expected the output of the stage prepare (dvc repro)") from None
