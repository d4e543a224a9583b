"""Waiting threads spin for a bounded time, and a model gets the threads that it has work for and the machine cores.

What OpenMP was told is what it says itself (OMP_DISPLAY_ENV).
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.tiny import load, write_model
from tunediff.models.environment import environment
from tunediff.runtime import threads
from tunediff.runtime.threads import (
    CHOSEN,
    NO_SPIN,
    SPIN,
    UNITS,
    bound_spin,
    contended,
    cores,
    limit_threads,
    quota,
)

# Loads torch's OpenMP as importing torch does, without the seconds that torch takes, behind our own package.
LOADED = "import ctypes, sys, tunediff; ctypes.CDLL(sys.argv[1])"


def openmp_says(**given):
    """What the OpenMP that torch computes with reads from the environment of a process that imports tunediff first."""
    found = find_spec("torch").submodule_search_locations[0]
    library = next(iter(Path(found, "lib").glob("libgomp*")), None)
    if library is None:
        pytest.skip("this torch computes without libgomp")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", LOADED, str(library)]
    environ = kept | {"OMP_DISPLAY_ENV": "verbose"} | given
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    lines = (line.partition("=") for line in done.stderr.splitlines() if "=" in line)
    return {name.split()[-1]: value.strip(" '") for name, _, value in lines}


def test_waiting_threads_spin_for_a_bounded_time_when_tunediff_comes_before_torch():
    # Other tests may run beside this one.
    assert openmp_says()["GOMP_SPINCOUNT"] in {SPIN["GOMP_SPINCOUNT"], NO_SPIN["GOMP_SPINCOUNT"]}


@pytest.fixture
def environ(monkeypatch):
    """The environment without any wish about spinning."""
    for name in (*SPIN, CHOSEN, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("running", "expected"), [(1, False), (2, True), (4, True)])
def test_a_busy_machine_is_one_where_more_runs_than_this_process_leaves_cores_for(running, expected, tmp_path, environ):
    load = tmp_path / "loadavg"
    load.write_text(f"0.03 0.87 1.51 {running}/130 12345\n")
    environ.setattr(os, "cpu_count", lambda: 2)
    environ.setattr(threads, "cores", lambda: 2)
    assert contended(load) is expected
    environ.setattr(os, "cpu_count", lambda: 64)
    assert contended(load) is False
    load.write_text("unlike any\n")
    assert contended(load) is False
    assert contended(tmp_path / "none") is False


def test_a_process_started_by_another_looks_at_the_machine_anew_and_the_users_wish_stays(environ):
    environ.setattr(threads, "contended", lambda: True)
    bound_spin()
    assert {name: os.environ[name] for name in SPIN} == NO_SPIN
    environ.setattr(threads, "contended", lambda: False)
    bound_spin()
    assert {name: os.environ[name] for name in SPIN} == SPIN
    environ.setenv("GOMP_SPINCOUNT", "7")
    environ.setattr(threads, "contended", lambda: True)
    bound_spin()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_what_the_user_says_of_waiting_stays():
    assert openmp_says(GOMP_SPINCOUNT="7")["GOMP_SPINCOUNT"] == "7"
    assert int(openmp_says(OMP_WAIT_POLICY="active")["GOMP_SPINCOUNT"]) > 10**6
    assert openmp_says(OMP_WAIT_POLICY="passive")["GOMP_SPINCOUNT"] == "0"


@pytest.fixture
def unset(monkeypatch):
    """No wish of the user, four threads that torch would take, and cores for all of them; torch's own are put back."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_default_threads", lambda: 4)
    monkeypatch.setattr(threads, "cores", lambda: 64)
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(("units", "expected"), [(16, 1), (UNITS, 1), (96, 2), (2560, 4)])
def test_a_narrow_model_takes_no_more_threads_than_it_keeps_at_work(units, expected, unset):
    limit_threads(units)
    assert torch.get_num_threads() == expected


@pytest.mark.usefixtures("unset")
def test_a_wider_model_behind_a_narrow_one_has_its_own_threads():
    limit_threads(16)
    limit_threads(2560)
    assert torch.get_num_threads() == 4


def test_a_quota_below_the_threads_of_torch_limits_them(unset):
    unset.setattr(threads, "cores", lambda: 3)
    limit_threads(2560)
    assert torch.get_num_threads() == 3


def test_the_number_of_the_user_stays(unset):
    torch.set_num_threads(2)
    unset.setenv("OMP_NUM_THREADS", "2")
    limit_threads(16)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("unset")
def test_a_loaded_model_says_how_many_threads_it_computes_with(tmp_path, tokenizer):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    expected = max(1, loaded.model.config.hidden_size // UNITS)
    assert environment(loaded.model)["threads"] == str(expected)


def test_the_cores_are_those_of_the_affinity():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no affinity")
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from tunediff.runtime.threads import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def groups(folder, lines, files):
    """A process's groups and the hierarchies they lie in."""
    own = folder / "cgroup"
    own.write_text("".join(f"{line}\n" for line in lines))
    for name, text in files.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return quota(own, folder / "fs")


V1 = ["12:cpuset:/set", "4:cpu,cpuacct:/docker/abc", "1:name=systemd:/docker/abc"]


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        # Version 2: in a container the group is the root; on the host it lies below others, each of which may limit it.
        (["0::/"], {"cpu.max": "150000 100000\n"}, 1.5),
        (["0::/"], {"cpu.max": "max 100000\n"}, float("inf")),
        (["0::/a/b"], {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        (["0::/a"], {"a/cpu.max": "400000 100000\n", "cpu.max": "100000 50000\n"}, 2.0),
        # Version 1: the path is often the host's, the files are at the root.
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 0.5),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "300000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"}, 3.0),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        (V1, {"cpuset/cpu.cfs_quota_us": "100\n", "cpuset/cpu.cfs_period_us": "100\n"}, float("inf")),
        # Both: no limit of CPU time in version 2 where version 1 has the controller.
        ([*V1, "0::/"], {"unified/cpu.max": "100000 100000\n"}, 1.0),
        (["0::/"], {"cpu.max": "rubbish"}, float("inf")),
        (["rubbish"], {}, float("inf")),
    ],
)
def test_the_quota_of_a_container_is_read(lines, files, expected, tmp_path):
    assert groups(tmp_path, lines, files) == expected


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert quota(tmp_path / "none", tmp_path) == float("inf")


@pytest.mark.parametrize(("given", "expected"), [(0.5, 1), (1.5, 1), (float("inf"), 64)])
def test_a_part_of_a_core_is_no_core_but_the_first(given, expected, monkeypatch):
    monkeypatch.setattr(threads, "quota", lambda: given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert cores() == expected
