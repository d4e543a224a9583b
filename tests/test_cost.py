"""What a stage cost is measured, and written only when the stage ended well."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from tunediff.cost import measured


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
        "import sys, time; from pathlib import Path; time.sleep(0.5); from tunediff.cost import measured\n"
        "with measured(Path(sys.argv[1])): time.sleep(0.2)"
    )
    before = time.monotonic()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cost.json")], check=True)
    # No demand on speed: it slept so long, and it lived within the time that passed here (its clock ticks in 10 ms).
    assert 0.69 <= cost_of(tmp_path / "cost.json")["seconds"] <= time.monotonic() - before + 0.02


def test_the_peak_counts_memory_that_was_given_back(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tunediff.cost import measured\n"
        "with measured(Path(sys.argv[1])): block = b'x' * 400_000_000; del block"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cost.json")], check=True)
    assert 400_000_000 < cost_of(tmp_path / "cost.json")["peak_memory_bytes"] < 1_000_000_000


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
    assert f"{psutil.cpu_count()} cores" in device
    assert device.endswith(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")


def fake_torch(used):
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: used,
        max_memory_reserved=lambda: 3_586_000_000 if used else 0,
        get_device_name=lambda: "NVIDIA A40",
    )
    return SimpleNamespace(cuda=cuda)


def test_on_a_gpu_its_memory_and_name_count(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(used=True))
    with measured(tmp_path / "cost.json"):
        pass
    cost = cost_of(tmp_path / "cost.json")
    assert (cost["peak_memory_bytes"], cost["device"]) == (3_586_000_000, "NVIDIA A40")


def test_a_stage_that_never_touched_the_gpu_is_not_booked_on_it(tmp_path, monkeypatch):
    # count_params imports torch and computes nothing on any device.
    monkeypatch.setitem(sys.modules, "torch", fake_torch(used=False))
    with measured(tmp_path / "cost.json"):
        pass
    cost = cost_of(tmp_path / "cost.json")
    assert cost["peak_memory_bytes"] > 1_000_000
    assert cost["device"].startswith("CPU ")


def test_measuring_does_not_import_torch():
    code = "import sys, tunediff.cost; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
