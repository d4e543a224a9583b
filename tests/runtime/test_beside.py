import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import active_children

import psutil
import pytest

from tests.imports import SOURCE
from tunediff.runtime import beside as module
from tunediff.runtime.beside import beside
from tunediff.runtime.errors import TunediffError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 2)


def test_a_function_runs_in_another_process_and_its_value_comes_back():
    known = {"here": 1}
    with beside(lambda: (os.getpid(), known), "a file") as result:
        known["here"] = 2  # not seen there
        process, value = result()
    assert process != os.getpid()
    assert value == {"here": 1}


@pytest.mark.parametrize(("cores", "at_once"), [(1, True), (2, False)])
def test_where_a_second_process_does_not_pay_off_the_function_runs_here_when_its_value_is_wanted(
    cores, at_once, monkeypatch
):
    monkeypatch.setattr(module, "cores", lambda: cores)
    called = []
    with beside(lambda: called.append(os.getpid()), "a file", at_once) as result:
        assert called == []
        result()
    assert called == [os.getpid()]


def test_an_error_is_raised_where_the_value_is_wanted():
    def refuse():
        raise TunediffError("a file, row 3: found nothing, expected a number")

    with beside(refuse, "a file") as result, pytest.raises(TunediffError, match="row 3: found nothing"):
        result()


def test_the_process_ends_with_the_block_even_if_nobody_waits_for_its_value(tmp_path):
    def write_for_ever():
        while True:
            tempfile.TemporaryFile(dir=tmp_path).close()

    with pytest.raises(KeyError), beside(write_for_ever, "a file"):
        raise KeyError
    assert active_children() == []


def test_a_process_that_is_killed_is_said_in_a_line():
    message = r"^cases.jsonl: its process was killed, perhaps because memory ran out"
    with (
        beside(lambda: os.kill(os.getpid(), signal.SIGKILL), "cases.jsonl") as result,
        pytest.raises(TunediffError, match=message),
    ):
        result()


def test_the_process_ends_when_the_one_that_started_it_is_killed(tmp_path):
    code = """
import os, signal, sys, time
from pathlib import Path
from tunediff.runtime import beside
beside.cores = lambda: 2
def work():
    Path("process").write_text(str(os.getpid()))
    os.replace("process", "started")
    time.sleep(600)
with beside.beside(work, "a file"):
    while not Path("started").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    process = int((tmp_path / "started").read_text())
    for _ in range(100):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("still running")
