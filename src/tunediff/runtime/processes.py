"""Run a stage in several processes, one per GPU, on one or more hosts; each process runs the stage's script.

    if launched(params.train.num_processes, args.train, args.base):
        return                          # the process that DVC started: its workers have done the work
    ...                                 # in each worker
    if not is_main_process():
        return                          # the main process writes and prints

torchrun's agent (torch.distributed.elastic) starts the workers, and stops all of them if one fails. The hosts are not
in params.yaml, because no result depends on them: `tunediff launch` passes them by environment variables.
"""

import atexit
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tunediff.runtime.errors import HOW_TO_RESUME, Terminated, TunediffError
from tunediff.runtime.hashing import files_hash
from tunediff.runtime.stage import PARAMS
from tunediff.runtime.threads import NUM_THREADS, cores

Value = TypeVar("Value")

# Environment variables of a stage: number of hosts, index of this host, address of the rendezvous. Of each worker:
# number of workers, and the id of the process that launched those of this host.
HOSTS, HOST, ADDRESS = "TUNEDIFF_HOSTS", "TUNEDIFF_HOST", "TUNEDIFF_ADDRESS"
PROCESSES, PARENT = "TUNEDIFF_PROCESSES", "TUNEDIFF_PARENT"
# Seconds to wait for the other hosts; jobs of a queue do not start at the same time.
WAIT = 600
# Parts of torch's error messages if another process or its host is gone.
_LOST = ("gloo", "NCCL", "TCPStore", "DistBackendError", "DistNetworkError", "onnection closed", "onnection reset")


def launched(num_processes: int, *reads: Path) -> bool:
    """Run this script in `num_processes` workers if there are more than one, and wait for them.

    Args:
        num_processes: number of workers on all hosts together.
        reads: files and folders that the stage reads, which must be equal on all hosts.

    Returns:
        True in the launching process after all workers have succeeded. False in each worker, and if a single process
        does the work.

    Raises:
        TunediffError: there are more workers than GPUs, a worker failed or was killed, or the inputs of the hosts
            differ.
    """
    if PROCESSES in os.environ:
        _join(reads)
        return False
    hosts = int(os.environ.get(HOSTS, 1))
    if num_processes % hosts:
        raise TunediffError(f"params.yaml: num_processes: found {num_processes}, expected a multiple of {hosts} hosts")
    here = num_processes // hosts
    if num_processes > 1:
        _launch(num_processes, here, hosts)
    return num_processes > 1


def is_main_process() -> bool:
    """Whether this process writes and prints: the first of several, or the only one."""
    return PROCESSES not in os.environ or os.environ.get("RANK", "0") == "0"


def all_gather(value: Value) -> list[Value]:
    """Return the values of all processes, in the order of their ranks, in each process."""
    if (group := _group()) is None:
        return [value]
    values: list[Any] = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process, from 0, and the number of processes."""
    group = _group()
    return (0, 1) if group is None else (group.get_rank(), group.get_world_size())


def _group() -> Any:
    """torch.distributed in one of several processes, else None; a single process does not import torch."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed is not None and distributed.is_initialized() else None


def make_shared_folder(folder: Path) -> None:
    """Create a folder that all processes write to, and check that all of them find it.

    Raises:
        TunediffError: a host does not find it.
    """
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
    all_gather(None)
    until = time.monotonic() + 30  # network file systems show new folders with a delay
    while not (found := folder.exists()) and time.monotonic() < until:
        time.sleep(0.2)
    if not all(all_gather(found)):
        raise TunediffError(f"{folder}: not found on one host, expected a project folder shared by all hosts")


def _launch(num_processes: int, here: int, hosts: int) -> None:
    """Start the workers of this host and wait for them; those of other hosts join through `ADDRESS`."""
    import torch
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if torch.cuda.is_available() and here > torch.cuda.device_count():
        raise TunediffError(
            f"params.yaml: num_processes: found {here} on this host, expected at most its {torch.cuda.device_count()} "
            "GPUs"
        )
    address, host = os.environ.get(ADDRESS, "localhost:0"), int(os.environ.get(HOST, 0))
    os.environ |= {PROCESSES: str(num_processes), PARENT: str(os.getpid())}
    os.environ.setdefault(NUM_THREADS, str(max(1, cores() // here)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # failures are reported here, in one line
    if hosts > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _interface(address))
    for name in ("", ".agent.server.api"):  # the latter sets its own level
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="tunediff-") as logs:
        config = LaunchConfig(
            min_nodes=hosts,
            max_nodes=hosts,
            nproc_per_node=here,
            run_id="tunediff",
            rdzv_backend="static" if hosts > 1 else "c10d",
            rdzv_endpoint=address,
            rdzv_configs={"rank": host, "timeout": WAIT} if hosts > 1 else {"timeout": WAIT},
            max_restarts=0,
            local_addr=None if hosts > 1 else "localhost",
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)(*sys.argv)
        except ChildFailedError as error:
            sys.exit(_cause(error.failures, num_processes))
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise Terminated from None
        except DistError as error:
            raise TunediffError(
                f"{address}: host {host} did not connect to the other hosts within {WAIT} s: "
                f"{str(error).splitlines()[0]}"
            ) from None


def _cause(failures: Mapping[int, Any], num_processes: int) -> str:
    """The root cause of the failures: a killed worker, else the error of a worker, else a lost connection."""
    killed = {rank: -failure.exitcode for rank, failure in failures.items() if failure.exitcode < 0}
    for rank, number in sorted(killed.items()):
        if number != signal.SIGTERM:
            name = signal.Signals(number).name
            return f"tunediff: process {rank} of {num_processes} was killed ({name}); {HOW_TO_RESUME}"
    failed = [failure for _, failure in sorted(failures.items()) if failure.exitcode > 0]
    messages = [message for failure in failed if (message := str(failure.message).rstrip())]
    causes = [message for message in messages if not any(word in message.splitlines()[-1] for word in _LOST)]
    return causes[0] if causes else f"tunediff: another process or its host terminated; {HOW_TO_RESUME}"


def _interface(address: str) -> str:
    """The network interface for an address; gloo would choose the interface of the host's own name."""
    name, _, port = address.rpartition(":")
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(name, int(port), type=socket.SOCK_DGRAM)
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # sends nothing
            here = probe.getsockname()[0]
    except OSError as error:
        raise TunediffError(f"{address}: cannot be reached from this host: {error.strerror or error}") from None
    except ValueError:
        raise TunediffError(f"--address: found {address}, expected HOST:PORT") from None
    return next(
        interface
        for interface, places in psutil.net_if_addrs().items()
        if any(place.address.partition("%")[0] == here for place in places)
    )


def _join(reads: tuple[Path, ...]) -> None:
    """Join the process group as a worker, on a GPU of its own if there are any."""
    import torch
    import torch.distributed as dist

    # Not os.getppid(): the launcher may have been killed since it started this process.
    threading.Thread(target=exit_with_parent, args=(int(os.environ[PARENT]),), daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()
    atexit.register(dist.destroy_process_group)
    if not is_main_process():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if int(os.environ.get(HOSTS, 1)) > 1:
        hashes = all_gather(files_hash([PARAMS, Path(sys.argv[0]), Path(__file__).parents[1], *reads]))
        different = [rank for rank, value in enumerate(hashes) if value != hashes[0]]
        if different:
            here = dist.get_world_size() // int(os.environ[HOSTS])
            raise TunediffError(
                f"host {different[0] // here}: its stage, parameters, code, data or models differ from those of "
                "host 0; expected the same (git pull, dvc pull)"
            )


def exit_with_parent(parent: int) -> None:
    """End this process when the one that started it is gone; a process that is killed cannot stop those it started."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
