"""A function in several processes that know each other, as those of a stage do: forked, so that none imports torch."""

import multiprocessing
import os
import sys
import traceback
from datetime import timedelta

import torch

from tunediff.runtime.processes import PROCESSES

PATIENCE = 300  # seconds; a machine with other work on it may take long


def in_processes(n, folder, function):
    """What `function` returns in each process, in their order; an error in one fails the test that asks."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run, args=(rank, n, folder, function), daemon=True) for rank in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
    assert [process.exitcode for process in processes] == [0] * n, "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(n)]


def _run(rank, n, folder, function):
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, PROCESSES: n}
    os.environ |= {name: str(value) for name, value in numbers.items()} | {"GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=n,
        timeout=timedelta(seconds=PATIENCE),
    )
    try:
        torch.save(function(), folder / f"{rank}.pt")
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
        sys.stdout.flush()
        os._exit(1)
    torch.distributed.destroy_process_group()
