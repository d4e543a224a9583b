"""A stage in several processes, one a GPU, on one host or on several: all of them run the stage's own script.

    if launched(params.train.num_processes, args.train, args.base):
        return                          # DVC's process: it started the others, and they have done the work
    ...                                 # in each of the others
    if not first():
        return                          # one of them writes and prints

torchrun's agent (torch.distributed.elastic) starts them, watches them and ends them all where one fails. Which hosts
there are is no parameter, because no result depends on it: `tunediff launch` tells each host by the environment.
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

from tunediff.runtime.errors import GOES_ON, Terminated, TunediffError
from tunediff.runtime.hashing import files_hash
from tunediff.runtime.stage import PARAMS
from tunediff.runtime.threads import NUM_THREADS, cores

Value = TypeVar("Value")

# Of a stage: number of hosts, which one this is, where they meet. Of each process: how many there are, and the
# id of the one that started them on this host.
HOSTS, HOST, ADDRESS = "TUNEDIFF_HOSTS", "TUNEDIFF_HOST", "TUNEDIFF_ADDRESS"
PROCESSES, PARENT = "TUNEDIFF_PROCESSES", "TUNEDIFF_PARENT"
# Seconds that a host waits for the others to come; in a queue they do not start at once.
WAIT = 600
# What an error of torch says where another process, or its host, went away.
_LOST = ("gloo", "NCCL", "TCPStore", "DistBackendError", "DistNetworkError", "onnection closed", "onnection reset")


def launched(num_processes: int, *reads: Path) -> bool:
    """Run this script in several processes, where they are asked for, and wait for their end.

    Args:
        num_processes: of all hosts together.
        reads: what the stage reads; it has to be the same on all hosts.

    Returns:
        True in the process that started the others, when they have ended well. False in each of the others, and where
        there is no other.

    Raises:
        TunediffError: there are more processes than GPUs; a process ended or was killed; or the hosts read other
            things.
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


def first() -> bool:
    """Whether this process is the one that writes and prints: the first of several, or the only one."""
    return PROCESSES not in os.environ or os.environ.get("RANK", "0") == "0"


def gathered(value: Value) -> list[Value]:
    """The values that the processes have, in their order, in each of them; where there is one alone, its own."""
    if (group := _group()) is None:
        return [value]
    values: list[Any] = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values


def part() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    group = _group()
    return (0, 1) if group is None else (group.get_rank(), group.get_world_size())


def _group() -> Any:
    """torch.distributed where this process is one of several, else None; a process that is alone needs no torch."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed is not None and distributed.is_initialized() else None


def shared(folder: Path) -> None:
    """Make a folder that all processes write to, and see that all of them find it.

    Raises:
        TunediffError: a host does not.
    """
    if first():
        folder.mkdir(parents=True, exist_ok=True)
    gathered(None)
    until = time.monotonic() + 30  # a network file system shows new folders after some seconds
    while not (found := folder.exists()) and time.monotonic() < until:
        time.sleep(0.2)
    if not all(gathered(found)):
        raise TunediffError(f"{folder}: not found on one host, expected a project folder shared by all hosts")


def _launch(num_processes: int, here: int, hosts: int) -> None:
    """Start the processes of this host and wait for them; those of other hosts join by `ADDRESS`."""
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
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what ends a process is said here, in one line
    if hosts > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _interface(address))
    for name in ("", ".agent.server.api"):  # this one has a level of its own
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
    """What ended the processes: a kill before what a process says, and that before a connection that was lost."""
    killed = {rank: -one.exitcode for rank, one in failures.items() if one.exitcode < 0}
    for rank, number in sorted(killed.items()):
        if number != signal.SIGTERM:
            name = signal.Signals(number).name
            return f"tunediff: process {rank} of {num_processes} was killed ({name}); {GOES_ON}"
    alone = [one for rank, one in sorted(failures.items()) if one.exitcode > 0 and rank not in killed]
    messages = [message for one in alone if (message := str(one.message).rstrip())]
    causes = [message for message in messages if not any(word in message.splitlines()[-1] for word in _LOST)]
    return causes[0] if causes else f"tunediff: another process or its host terminated; {GOES_ON}"


def _interface(address: str) -> str:
    """The network interface that an address is reached by: gloo would take the one of the host's own name."""
    name, _, port = address.rpartition(":")
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(name, int(port), type=socket.SOCK_DGRAM)
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # sends nothing
            here = probe.getsockname()[0]
    except OSError as error:
        raise TunediffError(f"{address}: cannot be reached from here: {error.strerror or error}") from None
    except ValueError:
        raise TunediffError(f"--address: found {address}, expected HOST:PORT") from None
    return next(
        interface
        for interface, places in psutil.net_if_addrs().items()
        if any(place.address.partition("%")[0] == here for place in places)
    )


def _join(reads: tuple[Path, ...]) -> None:
    """Become one of the processes: meet the others, on a GPU of its own where there are some."""
    import torch
    import torch.distributed as dist

    # Not by the present parent: the one that started this process may have been killed since.
    threading.Thread(target=_end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()
    atexit.register(dist.destroy_process_group)
    if not first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if int(os.environ.get(HOSTS, 1)) > 1:
        found = gathered(files_hash([PARAMS, Path(sys.argv[0]), Path(__file__).parents[1], *reads]))
        other = [number for number, one in enumerate(found) if one != found[0]]
        if other:
            here = dist.get_world_size() // int(os.environ[HOSTS])
            raise TunediffError(
                f"host {other[0] // here}: its stage, parameters, code, data or models differ from those of host 0; "
                "expected the same (git pull, dvc pull)"
            )


def _end_with(parent: int) -> None:
    """End this process when the one that started it was killed: nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
