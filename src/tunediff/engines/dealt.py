"""Distribute windows of cases with Ray to workers with an engine each, on this host or on a cluster.

    engine = open_engines(settings, Path("models/base"), workers=8).tuned(Path("models/tuned"))
    for name, frame in engine.answered(windows, ask): ...           # in the order of the windows

A worker answers a window exactly as a single process does, up to rounding on a different device. It keeps a journal per
window, so that a worker which Ray starts in place of a lost one resumes after the last finished batch. All hosts share
the project folder.

Ray is imported when the engines are first asked for something.
"""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from tunediff.data.cases import Case
from tunediff.engines.engine import Answered, AskWindow, Engine, Opens
from tunediff.engines.journal import finished_batches, next_folder
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.errors import HOW_TO_RESUME, TunediffError, one_line

# How often Ray restarts a worker and repeats its window.
RETRIES = 2
# Where RAY_ADDRESS is not set: ray.init would also take the address that an earlier `ray start` left in /tmp.
HERE = "local"
# Seconds in which the host at RAY_ADDRESS has to accept a connection.
ACCEPTS = 10


class _Worker:
    """An actor of Ray with an engine, which it opens when it is first asked for something."""

    def __init__(self, project: Path, opens: Opens, settings: PredictSettings, base: Path, tuned: Path | None) -> None:
        os.chdir(project)
        self._opens, self._settings, self._base, self._tuned = opens, settings, base, tuned

    @cached_property
    def _engine(self) -> Engine:
        engine = self._opens(self._settings, self._base)
        return engine if self._tuned is None else engine.tuned(self._tuned)

    def ask(
        self, ask: AskWindow, name: str, cases: Sequence[Case], folder: Path | None
    ) -> tuple[Answered, dict[str, str]]:
        """Return the answers to a window and the environment of the worker."""
        with nullcontext() if folder is None else finished_batches(folder):
            return (name, ask(self._engine, name, cases)), self._engine.environment()

    def inspected(self) -> dict[str, Any]:
        """See `Engine`."""
        return self._engine.inspected()


class DealtEngine:
    """Several workers with an engine each, for the prediction stages.

    Args:
        n: number of workers.
        opens: opens the engine of a worker.
        settings: settings of the stage.
        base: the folder that the stage base_model wrote.
        tuned: the folder that the stage train wrote; None: the workers answer with the base model.
    """

    def __init__(self, n: int, opens: Opens, settings: PredictSettings, base: Path, tuned: Path | None = None) -> None:
        self._n, self._opened = n, (opens, settings, base)
        self._tuned = tuned
        self._started: list[Any] = []
        self._environment: dict[str, str] | None = None

    def answered(self, windows: Iterable[tuple[str, Sequence[Case]]], ask: AskWindow) -> Iterator[Answered]:
        """See `Engine`; one window more than there are workers is submitted at a time."""
        folder, workers = next_folder(), self._workers()
        waiting: deque[Any] = deque()
        for number, (name, cases) in enumerate(windows):
            if len(waiting) > len(workers):
                yield self._result(waiting.popleft())
            journals = None if folder is None else folder / f"{number:06d}"
            waiting.append(workers[number % len(workers)].ask.remote(ask, name, cases, journals))
        while waiting:
            yield self._result(waiting.popleft())

    def environment(self) -> dict[str, str]:
        """See `Engine`; the same for all workers."""
        return dict(self._environment or {})

    def inspected(self) -> dict[str, Any]:
        """See `Engine`."""
        # All workers are asked, so that they load their models at the same time.
        asked = [worker.inspected.remote() for worker in self._workers()]
        found: dict[str, Any] = self._get(asked[0])
        return found

    def tuned(self, folder: Path) -> "DealtEngine":
        """See `Engine`; workers start when they are first asked, so none runs with the base model yet."""
        return DealtEngine(self._n, *self._opened, tuned=folder)

    def _result(self, answer: Any) -> Answered:
        answered, environment = self._get(answer)
        if self._environment is None:
            self._environment = environment
        if environment != self._environment:
            raise TunediffError(
                f"evaluate.workers: found workers that computed with {self._environment} and with {environment}, "
                "expected the same on all hosts"
            )
        found: Answered = answered
        return found

    def _get(self, answer: Any) -> Any:
        import ray

        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, TunediffError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise TunediffError(
                f"evaluate.workers: a worker of Ray was lost {RETRIES + 1} times: {one_line(error)}; {HOW_TO_RESUME}"
            ) from None

    def _workers(self) -> list[Any]:
        if self._started:
            return self._started
        ray, resources = _connected(), self._resources()
        actor = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **resources)(_Worker)
        self._started = [actor.remote(Path.cwd(), *self._opened, self._tuned) for _ in range(self._n)]
        return self._started

    def _resources(self) -> dict[str, float]:
        """The resources of each worker: a GPU if there are any, else an equal share of the processors."""
        import ray

        cluster, settings = ray.cluster_resources(), self._opened[1]
        gpus, processors = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 1))
        kind, most = ("GPUs", gpus) if gpus and settings.engine.kind == "local" else ("processors", processors)
        if self._n > most:
            raise TunediffError(f"evaluate.workers: found {self._n}, expected at most the {most} {kind} that Ray has")
        return {"num_gpus": 1, "num_cpus": 1} if kind == "GPUs" else {"num_cpus": processors // self._n}


def _connected() -> Any:
    """Return the module ray, connected to the cluster at RAY_ADDRESS or, where it is not set, started on this host.

    Raises:
        TunediffError: Ray is not installed, does not start or does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ImportError:
        raise TunediffError(
            "evaluate.workers: this needs Ray, which is not installed: pip install '.[ray]' in the clone of tunediff"
        ) from None

    if not ray.is_initialized():
        before = signal.getsignal(signal.SIGTERM)
        address = os.environ.get("RAY_ADDRESS") or HERE
        try:
            _check_listens(address)
            ray.init(address=address, include_dashboard=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            what = "start Ray on this host" if address == HERE else f"connect to Ray at {address} (RAY_ADDRESS)"
            raise TunediffError(f"evaluate.workers: cannot {what}: {one_line(error)}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's handler would replace the one of `runtime.errors.run`
    return ray


def _check_listens(address: str) -> None:
    """Raise an OSError if nothing listens at HOST:PORT; other addresses are left to Ray."""
    # Ray itself tries for 14 minutes and prints 60 warnings.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), ACCEPTS).close()
