"""What a killed DVC leaves behind that would stop the next one, cleared away before it starts.

    for line in clear_leftovers(): print(line)

DVC writes its notes in place, so a kill can leave half of one; and it takes the note of a killed process for that of a
living one where another process has its number by now, as after a restart of the machine or in a container.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tunediff.errors import TunediffError
from tunediff.files import read_text, write_text

LOCK = Path("dvc.lock")
# Who reads and writes which paths, and the file that DVC locks while it changes that.
READERS, GUARD = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock")


def clear_leftovers() -> list[str]:
    """Remove notes that say nothing true; a line about each."""
    return [*_clear_lock(), *_clear_readers()]


def _clear_lock() -> list[str]:
    """Remove a dvc.lock that was cut off; one with the marks of a merge is left to whoever merges."""
    if not LOCK.exists() or "<<<<<<<" in (text := read_text(LOCK)):
        return []
    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  (both are safe)
    except yaml.YAMLError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("stages", {}), dict) and "schema" in found:
        return []
    LOCK.unlink()
    return [f"{LOCK}: was cut off by a kill and is removed; what was made comes from DVC's run cache"]


def _clear_readers() -> list[str]:
    """Remove what processes noted that are gone."""
    if not READERS.exists() or not GUARD.exists():
        return []
    with GUARD.open("r+") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # DVC is changing it this moment
            return []
        try:
            noted = json.loads(read_text(READERS))
            reads = {path: [one for one in many if _works(one)] for path, many in noted.get("read", {}).items()}
            writes = {path: one for path, one in noted.get("write", {}).items() if _works(one)}
        except (TunediffError, ValueError, AttributeError, TypeError, KeyError):
            noted, reads, writes = None, {}, {}
        held = {"read": {path: many for path, many in reads.items() if many}, "write": writes}
        if noted == {} or noted == held or noted == {key: value for key, value in held.items() if value}:
            return []
        write_text(READERS, json.dumps(held))
    return [f"{READERS}: the locks of a killed run are removed"]


def _works(note: Mapping[str, Any]) -> bool:
    """Whether the process of a note is there and is DVC."""
    try:
        return any("dvc" in Path(part).name for part in psutil.Process(int(note["pid"])).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
