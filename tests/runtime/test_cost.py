"""What a stage cost is measured, and written only when the stage ended well."""

import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from tunediff.runtime.cost import RUN, measured, parallel_cost, sequential_cost
from tunediff.runtime.processes import PROCESSES
from tunediff.runtime.threads import cores


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    """No note of these stages where the tests themselves are part of a run."""
    monkeypatch.delenv(RUN, raising=False)


def cost_of(path):
    return json.loads(path.read_text())


def test_the_three_figures_are_written(tmp_path):
    with measured(tmp_path / "cost" / "train.json"):
        pass
    cost = cost_of(tmp_path / "cost" / "train.json")
    assert set(cost) == {"seconds", "peak_memory_bytes", "device"}
    assert isinstance(cost["device"], str)
    assert cost["device"].strip()


def test_the_seconds_are_those_since_the_process_began(tmp_path):
    # Imports before the block are part of what a stage costs.
    code = (
        "import sys, time; from pathlib import Path; time.sleep(0.5); from tunediff.runtime.cost import measured\n"
        "with measured(Path(sys.argv[1])): time.sleep(0.2)"
    )
    before = time.monotonic()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cost.json")], check=True)
    # No demand on speed: it slept so long, and it lived within the time that passed here (its clock ticks in 10 ms).
    assert 0.69 <= cost_of(tmp_path / "cost.json")["seconds"] <= time.monotonic() - before + 0.02


def test_the_peak_counts_memory_that_was_given_back(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tunediff.runtime.cost import measured\n"
        "with measured(Path(sys.argv[1])): block = b'x' * 400_000_000; del block"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cost.json")], check=True)
    assert 400_000_000 < cost_of(tmp_path / "cost.json")["peak_memory_bytes"] < 1_000_000_000


def test_the_peak_does_not_count_the_memory_of_the_process_that_started_this_one(tmp_path):
    # As DVC or pytest may hold it while a stage runs.
    child = (
        "import sys; from pathlib import Path; from tunediff.runtime.cost import measured\n"
        "with measured(Path(sys.argv[1])): pass"
    )
    parent = (
        "import subprocess, sys; block = b'x' * 600_000_000\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    )
    subprocess.run([sys.executable, "-c", parent, child, str(tmp_path / "cost.json")], check=True)
    assert 1_000_000 < cost_of(tmp_path / "cost.json")["peak_memory_bytes"] < 300_000_000


def test_a_stage_that_fails_leaves_no_cost(tmp_path):
    with pytest.raises(ValueError, match="bad"), measured(tmp_path / "cost.json"):
        raise ValueError("bad")
    assert not (tmp_path / "cost.json").exists()


def test_without_a_gpu_the_processor_is_named_with_its_cores_and_memory(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with measured(tmp_path / "cost.json"):
        pass
    device = cost_of(tmp_path / "cost.json")["device"]
    assert device.startswith("CPU ")
    assert f", {cores()} cores" in device
    assert device.endswith(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")


def fake_torch(*reserved):
    """torch on a machine with GPUs of which a process has reserved so many bytes each; UUIDs are a-0, a-1, ..."""
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: bool(reserved),
        device_count=lambda: len(reserved),
        max_memory_reserved=lambda index: reserved[index],
        get_device_name=lambda index: "NVIDIA A40",
        get_device_properties=lambda index: SimpleNamespace(uuid=f"a-{index}"),
    )
    return SimpleNamespace(cuda=cuda)


class FakeNvml(SimpleNamespace):
    """pynvml with GPUs in another order than torch's; each reading is 1,500 mJ above the one before, or refused."""

    class NVMLError(Exception):
        pass

    def __init__(self, gpus, driver=True, counts=True):
        self.readings, self.open = dict.fromkeys(gpus, 7_000), 0
        self.driver, self.counts, self.gpus = driver, counts, gpus

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle):
        return handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counts:
            raise self.NVMLError("Not Supported")
        self.readings[handle] += 1_500
        return self.readings[handle]


@pytest.fixture
def cost_with(tmp_path, monkeypatch):
    """The cost of a stage with these modules in the place of torch and pynvml."""

    def cost_with(torch, nvml=None):
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        with measured(tmp_path / "cost.json"):
            pass
        return cost_of(tmp_path / "cost.json")

    return cost_with


def test_on_a_gpu_its_memory_and_name_and_seconds_count(cost_with):
    cost = cost_with(fake_torch(3_586_000_000))
    assert list(cost) == ["seconds", "peak_memory_bytes", "device", "gpu_seconds"]
    assert (cost["peak_memory_bytes"], cost["device"]) == (3_586_000_000, "NVIDIA A40")
    assert cost["gpu_seconds"] == cost["seconds"]


def test_the_energy_is_what_the_counter_rose_by(cost_with):
    nvml = FakeNvml(["GPU-b", "GPU-a-0"])
    assert cost_with(fake_torch(10), nvml)["energy_joules"] == 1.5
    assert nvml.open == 0


def test_of_several_gpus_those_that_were_used_count_together(cost_with):
    cost = cost_with(fake_torch(10, 0, 30), FakeNvml(["GPU-a-2", "GPU-a-1", "GPU-a-0"]))
    assert (cost["peak_memory_bytes"], cost["energy_joules"]) == (40, 3.0)
    assert cost["device"] == "NVIDIA A40, NVIDIA A40"
    assert cost["gpu_seconds"] == pytest.approx(2 * cost["seconds"], abs=0.002)


@pytest.mark.parametrize(
    "nvml",
    [None, FakeNvml(["GPU-a-0"], driver=False), FakeNvml(["GPU-a-0"], counts=False), FakeNvml(["GPU-other"])],
    ids=["no package", "no driver", "no counter", "another GPU"],
)
def test_without_a_reading_no_energy_is_claimed(nvml, cost_with):
    assert set(cost_with(fake_torch(10), nvml)) == {"seconds", "peak_memory_bytes", "device", "gpu_seconds"}


def test_a_stage_that_never_touched_the_gpu_is_not_booked_on_it(cost_with):
    # count_params imports torch and computes nothing on any device; asking a GPU for its name takes no memory of it.
    for torch in (fake_torch(), fake_torch(0)):
        cost = cost_with(torch, FakeNvml(["GPU-a-0"]))
        assert set(cost) == {"seconds", "peak_memory_bytes", "device"}
        assert cost["peak_memory_bytes"] > 1_000_000
        assert cost["device"].startswith("CPU ")


def test_the_names_of_nvml_are_those_of_its_package():
    import pynvml

    fake = FakeNvml([])
    for name in [name for name in dir(fake) if name.startswith("nvml") or name == "NVMLError"]:
        assert callable(getattr(pynvml, name)), name


def test_on_this_machine_nvml_tells_what_it_can_and_never_stops_a_stage(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tunediff.runtime.cost import measured\n"
        "with measured(Path(sys.argv[1])): pass"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cost.json")], check=True)
    assert set(cost_of(tmp_path / "cost.json")) == {"seconds", "peak_memory_bytes", "device"}


def test_a_stage_of_a_noted_run_leaves_its_note_and_one_that_fails_leaves_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setenv(RUN, str(tmp_path / "run"))
    before = time.time()
    with measured(tmp_path / "train.json"):
        assert cost_of(tmp_path / "run/train.json")["began"] <= before
    assert cost_of(tmp_path / "run/train.json") == {"cost": cost_of(tmp_path / "train.json")}
    with pytest.raises(ValueError, match="bad"), measured(tmp_path / "report.json"):
        raise ValueError("bad")
    assert set(cost_of(tmp_path / "run/report.json")) == {"began"}


def go_on(scratch, code):
    """A process of a stage that goes on from `scratch`; its exit code."""
    code = (
        "import os, signal, sys, time; from pathlib import Path; from tunediff.runtime.cost import measured\n"
        f"with measured(Path(sys.argv[1]), Path(sys.argv[2])) as note_cost: {code}"
    )
    arguments = [sys.executable, "-c", code, str(scratch.parent / "cost.json"), str(scratch)]
    return subprocess.run(arguments, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.slow
def test_a_stage_that_was_stopped_and_killed_costs_what_all_of_its_processes_did(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert go_on(scratch, "time.sleep(0.5); raise KeyboardInterrupt") != 0
    assert not (tmp_path / "cost.json").exists()
    assert go_on(scratch, "time.sleep(0.5); note_cost(); os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    noted = [cost_of(path) for path in sorted((scratch / "cost").iterdir())]
    assert [cost["seconds"] > 0.5 for cost in noted] == [True, True]
    assert go_on(scratch, "time.sleep(0.5)") == 0
    cost = cost_of(tmp_path / "cost.json")
    assert cost["seconds"] > sum(cost["seconds"] for cost in noted) + 0.5
    assert cost["peak_memory_bytes"] >= max(cost["peak_memory_bytes"] for cost in noted)
    assert cost["device"] == noted[0]["device"]


def test_a_stage_that_fails_before_it_has_begun_to_save_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="bad"), measured(tmp_path / "cost.json", tmp_path / "scratch"):
        raise ValueError("bad")
    assert list(tmp_path.iterdir()) == []


def test_costs_add_up_and_energy_only_where_each_process_on_a_gpu_measured_it():
    gpu = {"seconds": 10.0, "peak_memory_bytes": 7, "device": "NVIDIA A40", "gpu_seconds": 10.0, "energy_joules": 1.5}
    cpu = {"seconds": 1.5, "peak_memory_bytes": 9, "device": "CPU"}
    assert sequential_cost([gpu, gpu]) == gpu | {"seconds": 20.0, "gpu_seconds": 20.0, "energy_joules": 3.0}
    assert sequential_cost([cpu, gpu]) == gpu | {
        "seconds": 11.5,
        "peak_memory_bytes": 9,
        "device": "CPU, then NVIDIA A40",
    }
    uncounted = {key: value for key, value in gpu.items() if key != "energy_joules"}
    assert "energy_joules" not in sequential_cost([gpu, uncounted])
    assert sequential_cost([cpu]) == cpu


def test_processes_at_once_cost_the_longest_time_and_all_of_their_memory_and_gpus():
    gpu = {"seconds": 10.0, "peak_memory_bytes": 7, "device": "NVIDIA A40", "gpu_seconds": 10.0, "energy_joules": 1.5}
    cost = parallel_cost([gpu, gpu | {"seconds": 12.0, "gpu_seconds": 12.0}])
    assert cost == {
        "seconds": 12.0,
        "peak_memory_bytes": 14,
        "device": "2 processes on NVIDIA A40",
        "gpu_seconds": 24.0,
        "energy_joules": 3.0,
    }
    assert parallel_cost([gpu]) == gpu


def test_the_first_of_several_processes_writes_what_all_of_them_cost(tmp_path, monkeypatch):
    monkeypatch.setenv(PROCESSES, "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        with measured(tmp_path / "cost.json", all_gather=lambda cost: [cost, cost | {"seconds": 1e6}]):
            assert not (tmp_path / "cost.json").exists()
    assert cost_of(tmp_path / "cost.json")["seconds"] == 1e6


def test_measuring_does_not_import_torch():
    code = "import sys, tunediff.runtime.cost; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
