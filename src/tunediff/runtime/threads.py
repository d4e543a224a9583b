"""The number of threads that a model computes with on a CPU, and how long idle threads spin.

    bound_spin()                 # before torch is imported: `import tunediff` does it
    limit_threads(96)            # after loading a model with 96 hidden units

The number depends only on the processor, the limits of the process and the model, and not on the load of the machine:
sums are computed in as many parts as there are threads, so otherwise results would depend on the load. How long threads
spin changes no result, so it may depend on the load. OMP_NUM_THREADS is respected if it is set.
"""

import os
import statistics
import time
from functools import cache
from pathlib import Path

NUM_THREADS = "OMP_NUM_THREADS"
# A spinning thread occupies its core. If other processes compete for the cores, libgomp's default of 300,000 rounds
# keeps it from the thread that is waited for. 20,000 rounds take about half a millisecond, which is longer than the
# gap between two operations of a small model on an idle machine. libomp and libiomp spin for 200 ms by default; their
# unit is the millisecond.
SPIN = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
# Where other processes run on the cores, threads sleep at once. A loop of small layers on two cores took 2.5 s on an
# idle machine with 20,000 rounds and 3.6 s without spinning; next to one busy process 22 and 4.3 s, next to three 17
# and 7.7 s.
NO_SPIN = dict.fromkeys(SPIN, "0")
# Holds the values of SPIN's variables if they come from here, so that a process started by this one decides anew.
CHOSEN = "TUNEDIFF_SPIN"
# With fewer hidden units per thread, synchronization costs more than it gains. Measured on two cores: two threads are
# faster than one at 96 units and slower at 16. Linear growth with the width is an assumption.
UNITS = 48


def bound_spin() -> None:
    """Limit the time that idle threads spin, by environment variables that OpenMP reads when torch is imported.

    Variables that the user has set are kept, and nothing is set if OMP_WAIT_POLICY is.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    given = " ".join(os.environ.get(name, "") for name in SPIN)
    if given.strip() == os.environ.get(CHOSEN, ""):
        chosen = NO_SPIN if contended() else SPIN
        os.environ.update(chosen | {CHOSEN: " ".join(chosen.values())})
    for name, value in SPIN.items():
        os.environ.setdefault(name, value)


def contended(load: Path = Path("/proc/loadavg")) -> bool:
    """Return whether other processes are running now on cores that this one would use; False where it is not known.

    Args:
        load: file whose fourth field is the number of runnable threads on the machine, this one included, over that of
            all threads. It is read five times in 20 ms, because some run only for a moment.
    """
    running = []
    for number in range(5):
        time.sleep(0.005 * (number > 0))
        try:
            running.append(int(load.read_text(encoding="utf-8").split()[3].partition("/")[0]))
        except (OSError, ValueError, IndexError):
            return False
    others = statistics.median(running) - 1
    return others > (os.cpu_count() or 1) - cores()


def limit_threads(units: int) -> None:
    """Set torch's number of threads for a model with `units` hidden units, at most torch's default."""
    if NUM_THREADS not in os.environ:
        import torch

        torch.set_num_threads(max(1, min(_default_threads(), cores(), units // UNITS)))


@cache
def _default_threads() -> int:
    """The number of threads that torch defaults to: one per physical core."""
    import torch

    return torch.get_num_threads()


def cores() -> int:
    """Return the number of cores that this process may use, given its CPU affinity and CPU quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, quota())))


def quota(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the CPU quota of the control groups of this process in cores, by which containers are limited.

    Args:
        groups: file with the group per hierarchy, a line `NUMBER:CONTROLLERS:PATH`; no controllers in version 2.
        mounted: where the hierarchies are mounted. Inside a container this may be the group itself, whatever the path.

    Returns:
        The minimum over the group and its ancestors; infinity without a limit or without control groups.
    """
    least = float("inf")
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return least
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [controllers, "cpu"] if controllers else ["", "unified"]
        group = Path(path.lstrip("/"))
        for hierarchy in (mounted / name for name in names):
            for folder in (hierarchy / ancestor for ancestor in (group, *group.parents)):
                least = min(least, _limit(folder, version=1 if controllers else 2))
    return least


def _limit(folder: Path, version: int) -> float:
    """The CPU quota of one group in cores; infinity if it sets no limit or does not exist."""
    try:
        if version == 2:
            granted, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            granted, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return int(granted) / int(period) if int(granted) > 0 else float("inf")
    # `max` and -1 mean no limit.
    except (OSError, ValueError, ZeroDivisionError):
        return float("inf")
