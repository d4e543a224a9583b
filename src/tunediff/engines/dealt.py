"""Cases dealt out by Ray: windows of a test set go to workers, on this host or on a cluster, each with an engine.

    engine = open_engines(settings, Path("models/base"), workers=8).tuned(Path("models/tuned"))
    for name, frame in engine.answered(windows, ask): ...           # in the order of the windows

A worker answers a window as one process does, so the answers are those of one process, as far as its device rounds
alike. It keeps what it has answered in a journal for each window: one that was lost is asked again by the worker that
Ray starts in its place, and goes on behind its last batch. All hosts share the project folder.

Ray is imported when the first window is dealt out.
"""

import os
import signal
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
from tunediff.runtime.errors import GOES_ON, TunediffError, one_line

# How often Ray starts a worker anew, and asks it for the same window again.
TRIES = 2


class _Worker:
    """What runs in a process of Ray: an engine, opened when it is asked first."""

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
        """The answers to a window, and what the worker computed with."""
        with nullcontext() if folder is None else finished_batches(folder):
            return (name, ask(self._engine, name, cases)), self._engine.environment()

    def inspected(self) -> dict[str, Any]:
        """What the engine says of its model."""
        return self._engine.inspected()


class DealtEngine:
    """Workers with an engine each, for the stages that predict."""

    def __init__(self, n: int, opens: Opens, settings: PredictSettings, base: Path, tuned: Path | None = None) -> None:
        """`opens`: opens the engine of a worker."""
        self._n, self._opened = n, (opens, settings, base)
        self._tuned = tuned
        self._started: list[Any] = []
        self._environment: dict[str, str] | None = None

    def answered(self, windows: Iterable[tuple[str, Sequence[Case]]], ask: AskWindow) -> Iterator[Answered]:
        """See `Engine`; a worker has one window at work, and the next one waits."""
        folder, workers = next_folder(), self._workers()
        waiting: deque[Any] = deque()
        for number, (name, cases) in enumerate(windows):
            if len(waiting) > len(workers):
                yield self._taken(waiting.popleft())
            kept = None if folder is None else folder / f"{number:06d}"
            waiting.append(workers[number % len(workers)].ask.remote(ask, name, cases, kept))
        while waiting:
            yield self._taken(waiting.popleft())

    def environment(self) -> dict[str, str]:
        """See `Engine`; the same for all workers."""
        return dict(self._environment or {})

    def inspected(self) -> dict[str, Any]:
        """See `Engine`."""
        found: dict[str, Any] = self._got(self._workers()[0].inspected.remote())
        return found

    def tuned(self, folder: Path) -> "DealtEngine":
        """See `Engine`; workers start when they are asked, so this one has none yet."""
        return DealtEngine(self._n, *self._opened, tuned=folder)

    def _taken(self, answer: Any) -> Answered:
        answered, environment = self._got(answer)
        if self._environment is None:
            self._environment = environment
        if environment != self._environment:
            raise TunediffError(
                f"evaluate.workers: found workers that computed with {self._environment} and with {environment}, "
                "expected the same on all hosts"
            )
        found: Answered = answered
        return found

    def _got(self, answer: Any) -> Any:
        import ray

        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, TunediffError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise TunediffError(
                f"evaluate.workers: a worker of Ray was lost {TRIES + 1} times: {one_line(error)}; {GOES_ON}"
            ) from None

    def _workers(self) -> list[Any]:
        if self._started:
            return self._started
        ray, held = _connected(), self._held()
        kind = ray.remote(max_restarts=TRIES, max_task_retries=TRIES, **held)(_Worker)
        self._started = [kind.remote(Path.cwd(), *self._opened, self._tuned) for _ in range(self._n)]
        return self._started

    def _held(self) -> dict[str, float]:
        """What each worker has for itself: a GPU where there are some, else a share of the processors."""
        import ray

        there, settings = ray.cluster_resources(), self._opened[1]
        gpus, processors = int(there.get("GPU", 0)), int(there.get("CPU", 1))
        kind, most = ("GPUs", gpus) if gpus and settings.engine.kind == "local" else ("processors", processors)
        if self._n > most:
            raise TunediffError(f"evaluate.workers: found {self._n}, expected at most the {most} {kind} that Ray has")
        return {"num_gpus": 1, "num_cpus": 1} if kind == "GPUs" else {"num_cpus": processors // self._n}


def _connected() -> Any:
    """Ray, on the cluster that RAY_ADDRESS names, else on this host alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ImportError:
        raise TunediffError(
            "evaluate.workers: this needs Ray, which is not installed: pip install 'tunediff[ray]'"
        ) from None

    if not ray.is_initialized():
        before = signal.getsignal(signal.SIGTERM)
        ray.init(include_dashboard=False, logging_level="error")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own would hide how a stage ends
    return ray
