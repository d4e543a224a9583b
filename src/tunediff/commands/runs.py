"""Record what the last `tunediff repro` did with each stage: ran it, stopped in it, or restored it from the cache.

    folder = begin()                         # .scratch/repro/, empty; DVC runs with RUN=folder
    end(folder, stages, exit_code)           # .scratch/repro/run.json has one outcome per stage
    run = last_run(stages)                   # also for a run that was killed

A stage that runs leaves a note in the folder (`tunediff.runtime.cost`). If DVC succeeded, it went through all stages,
so a stage without a note came from the cache. If DVC failed, `dvc status` tells which results match the current code,
data and parameters; the others were not computed.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import psutil
import yaml

from tunediff.runtime.errors import Terminated, TunediffError
from tunediff.runtime.files import read_json, read_text, shown, write_json
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment, stage_files

PIPELINE = Path("dvc.yaml")
FOLDER = Path(".scratch/repro")
SETTINGS, SCRIPTS = Path("data/settings"), Path("stages")
COSTS = "metrics/cost"
# Seconds that DVC and its stage have to end, before and after they are sent a signal.
GRACE = 5.0
Cost = dict[str, Any]
State = Literal["ran", "cache", "stopped", "not made", "not known"]


class Stage(NamedTuple):
    """A stage of dvc.yaml: the files it reads and writes, and the file with its cost."""

    name: str
    reads: list[str]
    writes: list[str]
    cost: Path


class Outcome(NamedTuple):
    """What a run did with a stage, and the stage's cost at the end of the run (if stopped: the seconds it took)."""

    state: State
    cost: Cost | None


class Run(NamedTuple):
    """A run of the pipeline; times in seconds since 1970. A run that was killed or is in progress has no end."""

    began: float
    ended: float | None
    exit_code: int | None
    alive: bool
    outcomes: Mapping[str, Outcome]


def pipeline_stages(path: Path = PIPELINE) -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml.

    Raises:
        TunediffError: the file cannot be read, or has no stages.
    """
    try:
        whole = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise TunediffError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    stages = whole.get("stages") if isinstance(whole, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise TunediffError(f"{path}: stages: found {shown(stages)}, expected a mapping of stages")
    return stages


def check_templates() -> None:
    """Check that params.yaml has the keys that dvc.yaml uses in templates, for which DVC has no defaults.

    Raises:
        TunediffError: keys are missing, with one line per key.
    """
    params, lacking = yaml.safe_load(read_text(PARAMS)), []
    for key in sorted(set(re.findall(r"\$\{([\w.]+)\}", read_text(PIPELINE)))):
        value = params
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            lacking.append(
                f"{PARAMS}: {key}: missing, expected a path such as data/raw: {PIPELINE} reads it from there"
            )
    if lacking:
        raise TunediffError(*lacking)


def read_stages(path: Path = PIPELINE) -> list[Stage]:
    """Return the stages of dvc.yaml that measure their cost, in order.

    Raises:
        TunediffError: see `pipeline_stages`.
    """
    stages = pipeline_stages(path)
    found = []
    for name, stage in stages.items():
        writes = written(stage)
        costs = [out for out in writes if PurePosixPath(out).parent == PurePosixPath(COSTS)]
        if costs:
            found.append(Stage(name, list(stage.get("deps") or []), writes, Path(costs[0])))
    return found


def written(stage: Mapping[str, Any]) -> list[str]:
    """Return all paths that a stage of dvc.yaml writes: outputs, metrics and plots."""
    entries = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key) or []]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def stage_path(stage: str, option: str, pipeline: Path = PIPELINE) -> Path:
    """Return the path given to an option of a stage's script, such as models/tuned for train and tuned.

    Raises:
        TunediffError: see `pipeline_stages`; or there is no such stage or option.
    """
    command = pipeline_stages(pipeline).get(stage, {}).get("cmd")
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError as error:
        raise TunediffError(f"{pipeline}: stages.{stage}.cmd: found {shown(command)}: {error}") from None
    if f"--{option}" not in words[:-1]:
        raise TunediffError(f"{pipeline}: stages.{stage}.cmd: found no --{option}, expected it with a path")
    return Path(words[words.index(f"--{option}") + 1])


def read_cost(path: Path) -> Cost | None:
    """Return the cost of a stage, or None if it has no result.

    Raises:
        TunediffError: the file was not written by `tunediff.runtime.cost`.
    """
    return read_numbers(path, ("seconds", "peak_memory_bytes")) if path.exists() else None


def read_numbers(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object in a file, in which each key has a number.

    Raises:
        TunediffError: the file is missing, or a key has something else.
    """
    found = read_json(path)
    for key in keys:
        value = found.get(key) if isinstance(found, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TunediffError(f"{path}: {key}: found {shown(value)}, expected a number (dvc repro)")
    return dict(found)


def begin() -> Path:
    """Make an empty folder for the notes of a run, and return its absolute path.

    Raises:
        TunediffError: another run is in progress.
    """
    note = FOLDER / "run.json"
    if note.exists() and _alive(held := read_json(note)):
        raise TunediffError(
            f"{note}: another tunediff repro is running (process {held['process']}), expected it to end first"
        )
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    me = psutil.Process()
    write_json(note, {"began": time.time(), "process": me.pid, "process_began": me.create_time()})
    return FOLDER.resolve()


def end(folder: Path, stages: Sequence[Stage], exit_code: int) -> None:
    """Record the outcome of each stage, so that later changes do not affect the record of this run."""
    run = read_json(folder / "run.json") | {"ended": time.time(), "exit_code": exit_code}
    outcomes = _outcomes(folder, stages, exit_code, run["ended"])
    write_json(folder / "run.json", run | {"stages": {name: one._asdict() for name, one in outcomes.items()}})


def last_run(stages: Sequence[Stage]) -> Run | None:
    """Return the last run of `tunediff repro`, or None if there was none."""
    note = FOLDER / "run.json"
    if not note.exists():
        return None
    run = read_json(note)
    alive = _alive(run)
    if "ended" in run:
        outcomes = {name: Outcome(**one) for name, one in run["stages"].items()}
    else:
        outcomes = _outcomes(FOLDER, stages, None, None)
    return Run(run["began"], run.get("ended"), run.get("exit_code"), alive, outcomes)


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, KeyboardInterrupt | None]:
    """Run DVC or a stage, with additional environment variables.

    `python` in a stage is the current interpreter, even if its virtual environment is not activated. On Ctrl-C or
    SIGTERM, all processes that were started are ended.

    Returns:
        The exit code as in shells, and the Ctrl-C or SIGTERM that ended the program, if any.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    process = subprocess.Popen(command, env={**os.environ, "PATH": path, **environment})  # noqa: S603
    stop = None
    try:
        process.wait()
    except KeyboardInterrupt as error:
        stop = error
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the clean-up takes limited time
        _end_all(process.pid, signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
        signal.signal(signal.SIGINT, before)
    code = process.wait()
    return (code if code >= 0 else 128 - code), stop


def _end_all(process: int, number: signal.Signals) -> None:
    """End a process and its descendants: by the signal, and after `GRACE` seconds by a kill."""
    alive = []
    with suppress(psutil.NoSuchProcess):
        # Listed first, because the children of an ended process are unknown.
        alive = [root := psutil.Process(process), *root.children(recursive=True)]
    if number == signal.SIGINT:  # the terminal has sent it to all processes
        alive = _outliving(alive)
    for send in (number, signal.SIGKILL):
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                alive += [child for child in one.children(recursive=True) if child not in alive]
                one.send_signal(send)
        alive = _outliving(alive)


def _outliving(alive: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that have not ended after `GRACE` seconds; zombies count as ended."""
    end = time.monotonic() + GRACE
    while alive and time.monotonic() < end:
        time.sleep(0.05)
        alive = [one for one in alive if _is_running(one)]
    return alive


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _alive(run: Mapping[str, Any]) -> bool:
    """Whether the process of a run is still running, and not another process with the same id."""
    if "ended" in run:
        return False
    try:
        return bool(psutil.Process(run["process"]).create_time() == run["process_began"])
    except psutil.NoSuchProcess:
        return False


def _outcomes(folder: Path, stages: Sequence[Stage], exit_code: int | None, ended: float | None) -> dict[str, Outcome]:
    notes = {stage.name: read_json(path) for stage in stages if (path := folder / stage.cost.name).exists()}
    stale: set[str] | None = set()
    if exit_code != 0:
        try:
            stale = outdated(stages)
        except TunediffError:
            stale = None
    outcomes = {}
    for stage in stages:
        note = notes.get(stage.name)
        if note is None and stale is None:
            outcomes[stage.name] = Outcome("not known", read_cost(stage.cost))
        elif note is None:
            made = stage.name not in (stale or ())
            outcomes[stage.name] = Outcome("cache" if made else "not made", read_cost(stage.cost))
        elif "cost" in note:
            outcomes[stage.name] = Outcome("ran", note["cost"])
        else:
            # Whether the stage failed or was stopped, DVC ends at once.
            seconds = None if ended is None else {"seconds": round(ended - note["began"], 3)}
            outcomes[stage.name] = Outcome("stopped", seconds)
    return outcomes


def outdated(stages: Sequence[Stage]) -> set[str]:
    """Return the stages whose results do not match the current code, data and parameters.

    Raises:
        TunediffError: DVC fails, or params.yaml has changed and is invalid.
    """
    return downstream(stages, by_settings(stages, dvc_status()))


def dvc(*arguments: str) -> list[str]:
    """Return the command that runs DVC with the current interpreter.

    Raises:
        ModuleNotFoundError: DVC is not installed, as without the extra `models`.
    """
    import dvc  # noqa: F401

    return [sys.executable, "-m", "dvc", *arguments]


def dvc_status() -> dict[str, Any]:
    """Return the changes reported by `dvc status`, by stage.

    Raises:
        TunediffError: DVC fails.
    """
    done = subprocess.run(dvc("status", "--json"), capture_output=True, text=True, check=False, env=os.environ)  # noqa: S603
    with suppress(ValueError):
        if done.returncode == 0 and isinstance(status := json.loads(done.stdout), dict):
            return status
    reason = done.stderr.partition("ERROR: ")[2].partition("\n")[0] or "no reason given"
    raise TunediffError(f"dvc status: cannot determine which results are up to date, expected a DVC project: {reason}")


def by_settings(stages: Sequence[Stage], changed: Iterable[str]) -> set[str]:
    """Return the changed stages, with `settings`, on which all depend, replaced by those whose settings differ."""
    found = set(changed)
    if SETTINGS.name in found:
        now = stage_files(read_experiment(PARAMS), SCRIPTS)
        then = {path.stem: read_json(path) for path in SETTINGS.glob("*.json")}
        found |= {stage.name for stage in stages if now.get(stage.name) != then.get(stage.name)}
    return found - {SETTINGS.name}


def downstream(stages: Sequence[Stage], changed: Iterable[str]) -> set[str]:
    """Return the changed stages and all stages that depend on them; `dvc status` compares direct inputs only."""
    found = set(changed)
    while True:
        written = [PurePosixPath(out) for stage in stages if stage.name in found for out in stage.writes]
        more = {
            stage.name
            for stage in stages
            for dep in map(PurePosixPath, stage.reads)
            if any(dep == out or out in dep.parents or dep in out.parents for out in written)
        }
        if more <= found:
            return found
        found |= more
