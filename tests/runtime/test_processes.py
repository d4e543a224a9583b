"""Several processes of a stage: what they are told, what they have in common, and how their end is told."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.imports import ROOT
from tests.several import in_processes
from tunediff.engines.local.batching import plan, run_batches
from tunediff.runtime import processes
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import (
    HOSTS,
    PARENT,
    PROCESSES,
    all_gather,
    is_main_process,
    launched,
    make_shared_folder,
    rank_and_size,
)

ROWS = [[token] * (1 + token % 5) for token in range(11)]


def test_one_process_is_no_several(tmp_path):
    assert not launched(1)
    assert (rank_and_size(), all_gather("a"), is_main_process()) == ((0, 1), ["a"], True)


def test_every_row_is_answered_by_one_process_and_every_process_has_all_answers(tmp_path):
    def answer():
        seen = []

        def totals(batch):
            seen.extend(batch)
            return [torch.tensor(ROWS[i]).double().sum() for i in batch]

        return (
            run_batches(ROWS, 10, totals, "rows"),
            seen,
            rank_and_size(),
            is_main_process(),
            all_gather(os.environ["RANK"]),
        )

    found = in_processes(3, tmp_path, answer)
    expected = [float(sum(row)) for row in ROWS]
    assert [list(map(float, results)) for results, *_ in found] == [expected] * 3
    assert sorted(i for _, seen, *_ in found for i in seen) == list(range(len(ROWS)))
    for number, (_, own, place, is_first, ranks) in enumerate(found):
        assert own == [i for batch in plan(ROWS, 10)[number::3] for i in batch]
        assert (place, is_first, ranks) == ((number, 3), number == 0, ["0", "1", "2"])


def test_fewer_batches_than_processes_leave_some_with_nothing_to_do(tmp_path):
    found = in_processes(3, tmp_path, lambda: run_batches(ROWS[:1], 10, lambda batch: ["answer"], "rows"))
    assert found == [["answer"]] * 3


def test_a_folder_is_made_once_and_seen_by_all(tmp_path):
    in_processes(2, tmp_path / "run", lambda: make_shared_folder(tmp_path / "scratch" / "deep"))
    assert (tmp_path / "scratch" / "deep").is_dir()


def test_processes_that_do_not_share_out_over_the_hosts_are_refused(monkeypatch):
    monkeypatch.setenv(HOSTS, "2")
    with pytest.raises(TunediffError, match="found 3, expected a multiple of 2 hosts"):
        launched(3)


def failure(message="", exitcode=1):
    return SimpleNamespace(message=message, exitcode=exitcode)


LOST = "Traceback\nRuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:54332"


@pytest.mark.parametrize(
    ("failures", "cause"),
    [
        ({0: failure(LOST), 1: failure(exitcode=-signal.SIGKILL)}, "process 1 of 2 was killed (SIGKILL)"),
        ({0: failure(LOST)}, "another process or its host terminated"),
        ({0: failure(LOST), 1: failure("tunediff: base: is not there")}, "tunediff: base: is not there"),
        ({0: failure("Traceback\nValueError: 3"), 1: failure(exitcode=-signal.SIGTERM)}, "ValueError: 3"),
    ],
)
def test_what_ended_a_run_is_told_and_not_what_came_of_it(failures, cause):
    assert cause in processes._cause(failures, 2)


@pytest.mark.slow
def test_a_process_ends_when_the_one_that_started_it_was_killed_before_they_met():
    code = "import os, sys; from tunediff.runtime.processes import _join; _join(()); print('met')"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), PARENT: gone.stdout.decode().strip(), PROCESSES: "2"}
    env |= {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
