"""What a killed DVC leaves behind does not stop the next run, and what a living one holds is left alone."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from tunediff.commands.leftovers import GUARD, LOCK, READERS, clear_leftovers

LOCKED = {"schema": "2.0", "stages": {"train": {"cmd": "true", "outs": []}}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    READERS.parent.mkdir(parents=True)
    GUARD.touch()


def noted(pid, cmd="dvc repro"):
    return {"pid": pid, "cmd": cmd}


def test_where_nothing_was_left_nothing_is_said():
    assert clear_leftovers() == []
    LOCK.write_text(yaml.safe_dump(LOCKED))
    READERS.write_text("{}")
    assert clear_leftovers() == []


def test_a_lock_file_that_was_cut_off_is_removed():
    for cut in ("", "schema: '2.0'\nstages:\n  train:\n    cm", "schema: '2"):
        LOCK.write_text(cut)
        [line] = clear_leftovers()
        assert line.startswith("dvc.lock: truncated by a killed process")
        assert not LOCK.exists()


def test_wherever_a_lock_file_is_cut_off_dvc_takes_what_is_left():
    out = {"path": "models/tuned", "hash": "md5", "md5": "28b41f60a77606174055445efecb78cc.dir", "size": 7, "nfiles": 2}
    dep = {"path": "stages/train.py", "hash": "md5", "md5": "18b41f60a77606174055445efecb78cc", "size": 7}
    stage = {"cmd": "python stages/train.py", "deps": [dep], "params": {"params.yaml": {"a": 1}}, "outs": [out]}
    whole = yaml.safe_dump({"schema": "2.0", "stages": {"train": stage, "report": stage}}, sort_keys=False)
    kept = 0
    for end in range(len(whole)):
        LOCK.write_text(whole[:end])
        clear_leftovers()
        if LOCK.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(LOCK.read_text()))
            kept += 1
    assert 0 < kept < len(whole) - 1


def test_a_lock_file_that_is_being_merged_is_left_alone():
    merging = f"<<<<<<< HEAD\n{yaml.safe_dump(LOCKED)}=======\n>>>>>>> theirs\n"
    LOCK.write_text(merging)
    assert clear_leftovers() == []
    assert LOCK.read_text() == merging


@pytest.mark.parametrize("text", ["", '{"read": {', "[]", '{"read": 7}'])
def test_half_a_note_of_readers_is_removed(text):
    READERS.write_text(text)
    assert clear_leftovers() == [".dvc/tmp/rwlock: stale locks are removed"]
    assert json.loads(READERS.read_text()) == {"read": {}, "write": {}}


def test_the_locks_of_a_living_dvc_stay_and_those_of_another_process_with_the_number_of_a_dead_one_go(tmp_path):
    (tmp_path / "dvc.py").write_text("import time; print('here', flush=True); time.sleep(600)\n")
    living = subprocess.Popen([sys.executable, "dvc.py"], stdout=subprocess.PIPE)
    try:
        assert living.stdout.readline() == b"here\n"
        # This test has a number that a DVC may have had before the machine was started anew.
        READERS.write_text(
            json.dumps({"read": {"/a": [noted(living.pid), noted(1)]}, "write": {"/b": noted(os.getpid())}})
        )
        assert len(clear_leftovers()) == 1
        assert json.loads(READERS.read_text()) == {"read": {"/a": [noted(living.pid)]}, "write": {}}
        assert clear_leftovers() == []
    finally:
        living.kill()
        living.communicate()


def test_a_stored_file_that_is_not_what_its_name_says_is_removed(tmp_path):
    def store(data, name=None):
        name = name or hashlib.md5(data).hexdigest()
        path = tmp_path / ".dvc/cache/files/md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
        return name, path

    (one, whole), (other, damaged) = store(b"one"), store(b"other")
    listed = json.dumps([{"md5": one, "relpath": "a"}, {"md5": other, "relpath": "b"}]).encode()
    folder, list_path = store(listed, hashlib.md5(listed).hexdigest() + ".dir")
    out = {"path": "models/tuned", "hash": "md5", "md5": folder}
    LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train": {"cmd": "true", "outs": [out]}}}))
    assert clear_leftovers() == []
    damaged.chmod(0o644)
    damaged.write_bytes(b"otheR")
    [line] = clear_leftovers()
    assert "damaged and removed; models/tuned is computed again" in line
    assert whole.exists()
    assert list_path.exists()
    assert not damaged.exists()
