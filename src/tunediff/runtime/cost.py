"""Measure what a stage costs: time since its process started, peak memory, device, GPU time and energy.

with measured(Path("metrics/cost/train.json")):
    ...                                     # metrics/cost/train.json: seconds, peak_memory_bytes, device

A stage that computes on a GPU also has gpu_seconds, and energy_joules if NVML counts them. The cost of a stage that was
interrupted and resumed, or that runs in several processes, is that of all its processes: see `measured`. Under
`tunediff repro` each stage that runs leaves a note in the folder that the environment variable `RUN` names; a stage
restored from the cache starts no process and leaves none.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, read_text, write_json
from tunediff.runtime.processes import PROCESSES, is_main_process
from tunediff.runtime.threads import cores

RUN = "TUNEDIFF_RUN"
Cost = dict[str, Any]


@contextmanager
def measured(
    path: Path, scratch: Path | None = None, all_gather: Callable[[Cost], list[Cost]] = lambda cost: [cost]
) -> Iterator[Callable[[], None]]:
    """Write the cost of this process to `path` if the block succeeds, start-up and imports included.

    Keys: seconds; peak_memory_bytes (of the GPUs if any were used, else of this process); device. If GPUs were used:
    gpu_seconds (the seconds times the number of GPUs, as clusters account them) and energy_joules (of those GPUs during
    this block, by NVML's counter, which includes idle power and other processes).

    Args:
        path: the file to write.
        scratch: for a stage that can be resumed, a folder that survives a killed process. Each process records its cost
            there, and the file has the cost of all of them.
        all_gather: for a stage that runs in several processes, returns the values of all processes; the main process
            writes.

    Yields:
        A function that records the cost so far, to be called at each save in all processes, so that the cost of a
        process that is killed later is not lost.
    """
    note = Path(os.environ[RUN]) / path.name if os.environ.get(RUN) and is_main_process() else None
    if note:
        write_json(note, {"began": time.time() - _seconds()})
    before = _millijoules()
    notes = scratch / "cost" if scratch else None
    earlier = [] if notes is None else [read_json(file) for file in sorted(notes.glob("*.json"))]

    def note_cost(costs: Sequence[Cost] = ()) -> None:
        cost = parallel_cost(costs or all_gather(_cost(before)))
        if notes is not None and is_main_process():
            write_json(notes / f"{len(earlier):06d}.json", cost)

    try:
        yield note_cost
    except BaseException:
        # If the folder does not exist, there is nothing to resume. The other processes may be gone, so their cost is
        # taken to be that of this one.
        if scratch is not None and scratch.exists():
            with suppress(TunediffError):
                note_cost([_cost(before)] * int(os.environ.get(PROCESSES, 1)))
        raise
    cost = sequential_cost([*earlier, parallel_cost(all_gather(_cost(before)))])
    if is_main_process():
        write_json(path, cost)
    if note:
        write_json(note, {"cost": cost})


def sequential_cost(costs: Sequence[Cost]) -> Cost:
    """Combine the costs of processes that ran one after another: sums, the highest peak memory, every device.

    The energy is known only if each process that used a GPU measured it.
    """
    devices = dict.fromkeys(cost["device"] for cost in costs)
    total: Cost = {
        "seconds": round(sum(cost["seconds"] for cost in costs), 3),
        "peak_memory_bytes": max(cost["peak_memory_bytes"] for cost in costs),
        "device": ", then ".join(devices),
    }
    on_gpu = [cost for cost in costs if "gpu_seconds" in cost]
    for key in ("gpu_seconds", "energy_joules"):
        if on_gpu and all(key in cost for cost in on_gpu):
            total[key] = round(sum(cost[key] for cost in on_gpu), 3)
    return total


def parallel_cost(costs: Sequence[Cost]) -> Cost:
    """Combine the costs of processes that ran in parallel: the longest time, the sum of memory and GPUs."""
    if len(costs) == 1:
        return dict(costs[0])
    names = [cost["device"] for cost in costs]
    total: Cost = {
        "seconds": max(cost["seconds"] for cost in costs),
        "peak_memory_bytes": sum(cost["peak_memory_bytes"] for cost in costs),
        "device": " + ".join(f"{names.count(name)} processes on {name}" for name in dict.fromkeys(names)),
    }
    if all("gpu_seconds" in cost for cost in costs):
        total["gpu_seconds"] = round(total["seconds"] * len(costs), 3)
    if all("energy_joules" in cost for cost in costs):
        total["energy_joules"] = round(sum(cost["energy_joules"] for cost in costs), 3)
    return total


def _cost(before: Mapping[str, int]) -> Cost:
    """The cost of this process so far; `before` has the energy counter of each GPU at its start."""
    seconds, gpus = round(_seconds(), 3), _used_gpus()
    cost: Cost = {"seconds": seconds, "peak_memory_bytes": _peak_memory(gpus), "device": _device(gpus)}
    if gpus:
        cost["gpu_seconds"] = round(seconds * len(gpus), 3)
        if (joules := _joules(before, _millijoules(), gpus)) is not None:
            cost["energy_joules"] = joules
    return cost


def _seconds() -> float:
    """Seconds since this process started; in one of several processes, since their launcher started."""
    process = os.getppid() if PROCESSES in os.environ else os.getpid()
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return time.time() - psutil.Process(process).create_time()
    # psutil adds to the boot time, which Linux reports in whole seconds; field 22 counts ticks since boot.
    ticks = int(read_text(stat).rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _used_gpus() -> list[int]:
    """Indices of the GPUs that this process has computed on; none without torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.max_memory_reserved(index)]


def _millijoules() -> dict[str, int]:
    """Energy that each GPU has used since its driver was loaded, by UUID; empty without NVML."""
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, so no GPU
        return {}
    used = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        with suppress(pynvml.NVMLError):  # GPUs older than Volta, and MIG instances, have no counter
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            used[pynvml.nvmlDeviceGetUUID(handle)] = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    pynvml.nvmlShutdown()
    return used


def _joules(before: Mapping[str, int], after: Mapping[str, int], gpus: list[int]) -> float | None:
    """Energy that these GPUs used between two readings, or None if one of them has no counter."""
    cuda = sys.modules["torch"].cuda
    # By UUID, because CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER number GPUs differently than NVML.
    names = [f"GPU-{cuda.get_device_properties(index).uuid}" for index in gpus]
    if not all(name in before and name in after for name in names):
        return None
    return sum(after[name] - before[name] for name in names) / 1000


def _peak_memory(gpus: list[int]) -> int:
    """Peak memory in bytes: of the GPUs if any were used, else of this process."""
    if gpus:
        return sum(int(sys.modules["torch"].cuda.max_memory_reserved(index)) for index in gpus)
    # On Linux a process inherits the ru_maxrss of its parent; VmHWM is its own.
    status = Path("/proc/self/status")
    lines = read_text(status).splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _device(gpus: list[int]) -> str:
    """Names of the GPUs if any were used, else the processor, its cores and its memory."""
    if gpus:
        return ", ".join(str(sys.modules["torch"].cuda.get_device_name(index)) for index in gpus)
    memory = psutil.virtual_memory().total / 2**30
    return f"CPU {processor()}, {cores()} cores, {memory:.0f} GiB"


def processor() -> str:
    """The name of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = read_text(cpuinfo).splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    return next(names, platform.processor() or platform.machine())
