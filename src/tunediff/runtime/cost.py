"""What a stage cost: seconds since its process started, peak memory, the device, and what it took of a GPU.

with measured(Path("metrics/cost/train.json")):
    ...                                     # metrics/cost/train.json: seconds, peak_memory_bytes, device

Where the stage computed on a GPU: also gpu_seconds, and energy_joules if NVML counts them. A stage that was stopped
and went on costs what all of its processes did, and so does one that runs in several at once: see `measured`. Under
`tunediff repro` the stage leaves a note that it ran, in the folder that the environment variable `RUN` names: a stage
that comes from the cache starts no process, so only one that ran can leave it.
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
from tunediff.runtime.processes import PROCESSES, first
from tunediff.runtime.threads import cores

RUN = "TUNEDIFF_RUN"
Cost = dict[str, Any]


@contextmanager
def measured(
    path: Path, scratch: Path | None = None, gathered: Callable[[Cost], list[Cost]] = lambda cost: [cost]
) -> Iterator[Callable[[], None]]:
    """Write the cost of this process to `path` when the block ends well; start-up and imports are counted in.

    Keys: seconds; peak_memory_bytes (of the GPUs where some were used, of this process elsewhere); device. Where GPUs
    were used: gpu_seconds (the seconds times their number, as a cluster books them) and energy_joules (of those GPUs
    in this block, by NVML's counter: idling and other processes on them included).

    Args:
        path: the file to write.
        scratch: a folder that outlives a process which is stopped, for a stage that then goes on. What each process
            cost is noted in it, and what is written is the cost of all of them.
        gathered: gives what all processes of the stage pass to it, where it runs in several; the first one writes.

    Yields:
        A function that notes the cost so far, to be called at each save, in all processes: of a process that is
        killed, that stays.
    """
    note = Path(os.environ[RUN]) / path.name if os.environ.get(RUN) and first() else None
    if note:
        write_json(note, {"began": time.time() - _seconds()})
    before = _millijoules()
    notes = scratch / "cost" if scratch else None
    earlier = [] if notes is None else [read_json(one) for one in sorted(notes.glob("*.json"))]

    def note_cost(costs: Sequence[Cost] = ()) -> None:
        cost = at_once(costs or gathered(_cost(before)))
        if notes is not None and first():
            write_json(notes / f"{len(earlier):06d}.json", cost)

    try:
        yield note_cost
    except BaseException:
        # Without the folder nothing was begun that could go on. The other processes may be gone; they cost as much.
        if scratch is not None and scratch.exists():
            with suppress(TunediffError):
                note_cost([_cost(before)] * int(os.environ.get(PROCESSES, 1)))
        raise
    cost = added([*earlier, at_once(gathered(_cost(before)))])
    if first():
        write_json(path, cost)
    if note:
        write_json(note, {"cost": cost})


def added(costs: Sequence[Cost]) -> Cost:
    """The cost of several processes that did one thing after each other: sums, the highest peak, every device.

    Energy is there where each process that used a GPU measured it.
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


def at_once(costs: Sequence[Cost]) -> Cost:
    """The cost of processes that did one thing together: the longest time, all of their memory and GPUs."""
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
    """What this process cost so far; `before`: what each GPU had used when it began."""
    seconds, gpus = round(_seconds(), 3), _used_gpus()
    cost: Cost = {"seconds": seconds, "peak_memory_bytes": _peak_memory(gpus), "device": _device(gpus)}
    if gpus:
        cost["gpu_seconds"] = round(seconds * len(gpus), 3)
        if (joules := _joules(before, _millijoules(), gpus)) is not None:
            cost["energy_joules"] = joules
    return cost


def _seconds() -> float:
    """Since this process began, or the one that started it and others for one stage."""
    process = os.getppid() if PROCESSES in os.environ else os.getpid()
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return time.time() - psutil.Process(process).create_time()
    # On Linux psutil adds to the boot time, which the kernel gives in whole seconds; field 22 counts from the boot.
    ticks = int(read_text(stat).rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _used_gpus() -> list[int]:
    """Numbers of the GPUs that this process has computed on; a stage that does not need torch has none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.max_memory_reserved(index)]


def _millijoules() -> dict[str, int]:
    """What each GPU of this machine has used since its driver was loaded, by UUID; none where NVML is not there."""
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
        with suppress(pynvml.NVMLError):  # GPUs older than Volta, and parts of one, have no counter
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            used[pynvml.nvmlDeviceGetUUID(handle)] = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    pynvml.nvmlShutdown()
    return used


def _joules(before: Mapping[str, int], after: Mapping[str, int], gpus: list[int]) -> float | None:
    """What these GPUs used between two readings, or None where one of them has no counter."""
    cuda = sys.modules["torch"].cuda
    # Not by number: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER count GPUs in another order than NVML.
    names = [f"GPU-{cuda.get_device_properties(index).uuid}" for index in gpus]
    if not all(name in before and name in after for name in names):
        return None
    return sum(after[name] - before[name] for name in names) / 1000


def _peak_memory(gpus: list[int]) -> int:
    """Bytes: of the GPUs where some were used, of this process elsewhere."""
    if gpus:
        return sum(int(sys.modules["torch"].cuda.max_memory_reserved(index)) for index in gpus)
    # On Linux a program that is started takes over the ru_maxrss of the one that starts it; VmHWM is its own.
    status = Path("/proc/self/status")
    lines = read_text(status).splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _device(gpus: list[int]) -> str:
    """Names of the GPUs where this process used some, else of the processor, its cores and its memory."""
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
