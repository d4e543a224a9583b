"""What a stage cost: seconds since its process started, peak memory, and the device it ran on.

with measured(Path("metrics/cost/train.json")):
    ...                                     # metrics/cost/train.json: seconds, peak_memory_bytes, device
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tunediff.files import read_text, write_json


@contextmanager
def measured(path: Path) -> Iterator[None]:
    """Write the cost of this process to `path` when the block ends well; start-up and imports are counted in."""
    yield
    write_json(path, {"seconds": round(_seconds(), 3), "peak_memory_bytes": _peak_memory(), "device": _device()})


def _seconds() -> float:
    """Since this process began."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.time() - psutil.Process().create_time()
    # On Linux psutil adds to the boot time, which the kernel gives in whole seconds; field 22 counts from the boot.
    ticks = int(read_text(stat).rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _used_gpu() -> Any:
    """torch.cuda where this process has computed on a GPU, else None; a stage that does not need torch has none."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _peak_memory() -> int:
    """Bytes: of the GPU where one was used, of this process elsewhere."""
    if gpu := _used_gpu():
        return int(gpu.max_memory_reserved())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _device() -> str:
    """Name of the GPU where this process used one, else of the processor, its cores and its memory."""
    if gpu := _used_gpu():
        return str(gpu.get_device_name())
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in read_text(cpuinfo).splitlines() if "model name" in line]
        name = names[0] if names else name
    memory = psutil.virtual_memory().total / 2**30
    return f"CPU {name}, {os.cpu_count()} cores, {memory:.0f} GiB"
