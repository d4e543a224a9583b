"""Clear leftovers of killed runs that would stop the next run of DVC or make it wrong.

    for line in clear_leftovers(): print(line)

DVC does not write its lock files atomically, so a kill can truncate them. It takes the lock of a killed process for
valid if another process has got the same id, as after a reboot or in a container. And it trusts read-only files in its
cache, so a file that a broken disk changed would be used as a result.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_text, write_text

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LOCK = Path("dvc.lock")
# DVC's files by hash; its record of the processes that read and write paths, and the lock file of that record.
CACHE = Path(".dvc/cache/files/md5")
READERS, GUARD = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock")


def clear_leftovers() -> list[str]:
    """Remove invalid leftovers; return one line about each."""
    return [*_clear_lock(), *_clear_readers(), *_clear_cache()]


def _clear_lock() -> list[str]:
    """Remove a truncated dvc.lock; one with merge conflict markers is kept."""
    if not LOCK.exists() or "<<<<<<<" in (text := read_text(LOCK)):
        return []
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, LOADER))  # noqa: S506  (LOADER is a safe one)
    except Exception:  # yaml and the schema raise different errors
        LOCK.unlink()
    else:
        return []
    return [f"{LOCK}: truncated by a killed process and removed; finished stages are restored from DVC's run cache"]


def _clear_readers() -> list[str]:
    """Remove the locks of processes that no longer run."""
    if not READERS.exists() or not GUARD.exists():
        return []
    with GUARD.open("r+") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # DVC is changing it right now
            return []
        try:
            noted = json.loads(read_text(READERS))
            reads = {path: [one for one in many if _is_running(one)] for path, many in noted.get("read", {}).items()}
            writes = {path: one for path, one in noted.get("write", {}).items() if _is_running(one)}
        except (TunediffError, ValueError, AttributeError, TypeError, KeyError):
            noted, reads, writes = None, {}, {}
        held = {"read": {path: many for path, many in reads.items() if many}, "write": writes}
        if noted == {} or noted == held or noted == {key: value for key, value in held.items() if value}:
            return []
        write_text(READERS, json.dumps(held))
    return [f"{READERS}: stale locks are removed"]


def _clear_cache() -> list[str]:
    """Remove cached files whose content does not match their hash, so that DVC computes them again."""
    if not LOCK.exists():
        return []
    try:
        stages = yaml.load(read_text(LOCK), LOADER)["stages"].values()  # noqa: S506
        stored = {out["md5"]: out["path"] for stage in stages for out in stage.get("outs", []) if out.get("md5")}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):  # a merge conflict, or another version of DVC
        return []
    notes = []
    for name, path in stored.items():
        for file in _stored_files(name):
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "md5").hexdigest()
            if found != (file.parent.name + file.name).removesuffix(".dir"):
                file.unlink()
                notes.append(f"{file}: damaged and removed; {path} is computed again if it is incomplete")
    return notes


def _stored_files(name: str) -> Iterator[Path]:
    """The existing files in the cache of one output; for a folder, its list and then its members."""
    listed = CACHE / name[:2] / name[2:]
    if not listed.exists():
        return
    yield listed
    if name.endswith(".dir"):
        try:
            members = {str(one["md5"]) for one in json.loads(read_text(listed))}
        except (TunediffError, ValueError, TypeError, KeyError):
            return
        for member in sorted(members):
            file = CACHE / member[:2] / member[2:]
            if len(member) == 32 and member.isalnum() and file.is_file():
                yield file


def _is_running(note: Mapping[str, Any]) -> bool:
    """Whether the process of a lock is running and is DVC."""
    try:
        return any("dvc" in Path(part).name for part in psutil.Process(int(note["pid"])).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
