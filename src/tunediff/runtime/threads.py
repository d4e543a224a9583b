"""How many threads a model computes with on a CPU, and how long one of them spins while it waits for the others.

    bound_spin()                 # before torch is imported: `import tunediff` does it
    limit_threads(96)            # when a model of so many hidden units has been loaded

The number follows from the processor, the limits of the process and the model alone. How busy the machine is has no
say: sums are added up in as many parts as there are threads, so a result would depend on what else was running. Where
OMP_NUM_THREADS is set, it stays what it is.
"""

import os
from functools import cache
from pathlib import Path

NUM_THREADS = "OMP_NUM_THREADS"
# A waiting thread holds its core: where another process takes one, libgomp's 300,000 rounds go on for as long as the
# thread that is waited for has no core. Twenty thousand take some half a millisecond, longer than what lies between two
# operations of a small model on an idle machine. libomp and libiomp spin for 200 ms; their unit is the millisecond.
SPIN = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
# Layers of fewer units give a thread less to do than it costs to wait for the others. Measured on two cores: at 96
# units two threads are quicker than one, at 16 slower. That it grows with the width is an assumption.
UNITS = 48


def bound_spin() -> None:
    """Let waiting threads sleep soon, by the environment that OpenMP reads when torch is imported.

    What the environment says already is kept, also where it is OMP_WAIT_POLICY.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in SPIN.items():
            os.environ.setdefault(name, value)


def limit_threads(units: int) -> None:
    """Let torch compute with as many threads as a model of so many hidden units keeps at work on the cores there are.

    Never more than torch would take by itself.
    """
    if NUM_THREADS not in os.environ:
        import torch

        torch.set_num_threads(max(1, min(_own_threads(), cores(), units // UNITS)))


@cache
def _own_threads() -> int:
    """The threads that torch takes by itself: one a physical core."""
    import torch

    return torch.get_num_threads()


def cores() -> int:
    """The cores that this process may use: fewer than there are where an affinity or a quota of time says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, quota())))


def quota(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """The cores' worth of time that the control groups of this process may use, as containers are limited.

    Args:
        groups: names the group of each hierarchy, a line `NUMBER:CONTROLLERS:PATH`; no controllers in version 2.
        mounted: where the hierarchies lie. Inside a container that may be the group itself, whatever the path says.

    Returns:
        The least of the group and those above it; infinity where there is no limit, or no such system.
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
            for folder in (hierarchy / one for one in (group, *group.parents)):
                least = min(least, _limit(folder, version=1 if controllers else 2))
    return least


def _limit(folder: Path, version: int) -> float:
    """The cores' worth of time of one group; infinity where it sets no limit or is not there."""
    try:
        if version == 2:
            given, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            given, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return int(given) / int(period) if int(given) > 0 else float("inf")
    # `max` and -1 say that there is no limit.
    except (OSError, ValueError, ZeroDivisionError):
        return float("inf")
