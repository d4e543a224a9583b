"""Cases that Ray deals out to two workers on this machine, against one process: its cost where it adds no hardware.

    python benchmarks/dealt.py [--quick]

The stage predict_base with `evaluate.workers: 2`, as docs/scale.md describes it, in a fresh clone of this checkout's
last commit: a small Llama layout in NF4 scores three choices for two test sets of SNLI. Each is one window, so each
worker answers one. The workers compute with one thread each and the process with two, from whose answers theirs may
differ by rounding; those of a process with one thread have to be the same to the last bit. Seconds are those of `dvc
repro --single-item`, again for one case in each test set: that is what starting takes. Peak memory is read from /proc
while the stage runs. The ratio shall be at least 0.67: at most 1.5 times the time of one process.
"""

import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import yaml
from pipeline import ROOT, run
from setting import CASE, DATA, INSTRUCTION, Seconds, conclude, parse, small_llama, snli

CHOICES = {"entailment": " it follows from it", "neutral": " it may be so", "contradiction": " it cannot be so"}
SECOND = "second"
STAGE = "stages/predict_base.py"
WORKER = "ray::_Worker"
# Seconds from one look at the processes to the next.
BETWEEN = 0.2


class Side(NamedTuple):
    """How the stage is run: the workers of Ray, and the threads of each process that computes."""

    workers: int | None
    threads: int


RAY, ALONE, SINGLE = Side(2, 1), Side(None, 2), Side(None, 1)
NAMES = {RAY: "Ray, two workers of one thread", ALONE: "one process, two threads", SINGLE: "one process, one thread"}


class Run(NamedTuple):
    """A run of the stage: what it took, the answers to both test sets, and peak memory in MiB by kind of process."""

    seconds: Seconds
    answers: pd.DataFrame
    peaks: dict[str, int]


class Process(NamedTuple):
    """A process when it was last seen: its kind, seconds of the processor, peak memory in bytes."""

    kind: str
    seconds: float
    peak: int


def main() -> None:
    """Check that the answers agree, time both sides at two sizes, and print the ratio and what starting takes."""
    args = parse(__doc__, quick="300 cases in each test set and one round")
    if find_spec("ray") is None:
        sys.exit("dealt: this needs Ray, which is not installed: pip install '.[ray]'")
    limit, rounds = (300, 1) if args.quick else (6000, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder / "model")
        start, full = (in_turn(write_project(folder / str(n), model, n), rounds) for n in (1, limit))
        single = ask(folder / str(limit), SINGLE)
    apart = compare(*(each.answers for each in (full[RAY][0], single, full[ALONE][0])))
    begun, taken = (
        {side: median(each.seconds.clock for each in runs) for side, runs in found.items()} for found in (start, full)
    )
    cases = len(single.answers)
    more = {
        "cases": cases,
        "start_seconds": {NAMES[side]: round(seconds, 1) for side, seconds in begun.items()},
        "milliseconds_per_case": {NAMES[side]: round(1e3 * (taken[side] - begun[side]) / cases, 2) for side in full},
        "single_thread_seconds": round(single.seconds.clock, 1),
        "peak_memory_mib": {NAMES[side]: runs[0].peaks for side, runs in full.items()},
    }
    for key, value in more.items():
        print(f"{key}: {value}")
    timed = {NAMES[side]: [each.seconds for each in runs] for side, runs in full.items()}
    conclude(args, "dealt", timed, 0.67, apart, 1e-4, **more)


def compare(dealt: pd.DataFrame, single: pd.DataFrame, alone: pd.DataFrame) -> float:
    """How far the log-probabilities of Ray's workers are from those of one process with two threads.

    Ends the program where they are not those of one process with one thread, or where cases, prompts or order differ.
    """
    if not dealt.equals(single):
        sys.exit("dealt: found other answers of Ray's workers than of one process with as many threads as each")
    facts = ["case_id", "prompt_hash", "n_tokens", "truncated"]
    if not dealt[facts].equals(alone[facts]):
        sys.exit("dealt: found other cases, prompts or another order on one side than on the other")
    return float(np.abs(np.stack(dealt["log_probs"]) - np.stack(alone["log_probs"])).max())


def write_model(folder: Path) -> Path:
    """The small layout and its tokenizer in a folder."""
    network, tokenizer = small_llama([(INSTRUCTION + CASE).format(**row) for row in snli(2000)] + [*CHOICES.values()])
    network.cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_project(clone: Path, model: Path, limit: int) -> Path:
    """A clone of this checkout that is about to ask the model two test sets of so many cases."""
    run(clone.parent, "git", "clone", "--quiet", str(ROOT), str(clone))
    params = yaml.safe_load((clone / "recipes" / "smollm2-snli-b.yaml").read_text(encoding="utf-8"))
    data = params["data"]
    data["path"] = str(DATA / "snli")
    data["test"] = {"source": "test", "select": "all", "limit": limit}
    same = {key: data[key] for key in ("source", "files", "columns", "labels", "unlabelled")}
    params["also"] = {SECOND: {"data": same | {"test": {"source": "validation", "select": "all", "limit": limit}}}}
    params["model"] = {"source": "folder", "id": str(model), "head": "lm", "quantization": "nf4"}
    params["prompt"] = {"template": INSTRUCTION + CASE, "choices": CHOICES}
    params["evaluate"] = {"scoring_method": "choices"}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    run(clone, "dvc", "repro", "prepare", "base_model")
    return clone


def in_turn(clone: Path, rounds: int) -> dict[Side, list[Run]]:
    """The runs of Ray and of one process with as many threads, which take turns."""
    found: dict[Side, list[Run]] = {RAY: [], ALONE: []}
    for _ in range(rounds):
        for side, runs in found.items():
            runs.append(ask(clone, side))
    return found


def ask(clone: Path, side: Side) -> Run:
    """Run the stage anew."""
    path = clone / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["evaluate"]["workers"] = side.workers
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    run(clone, "dvc", "repro", "settings")
    # The journals of the run before, from which a forced run would resume.
    shutil.rmtree(clone / ".scratch", ignore_errors=True)
    environment = {"OMP_NUM_THREADS": str(side.threads), "RAY_ADDRESS": "local"}
    with watched() as seen:
        clock = run(clone, "dvc", "repro", "--force", "--single-item", "predict_base", **environment)
    answers = [pd.read_parquet(clone / "data" / "answers" / "base" / f"{name}.parquet") for name in ("test", SECOND)]
    seconds = Seconds(clock, sum(each.seconds for each in seen.values()))
    return Run(seconds, pd.concat(answers, ignore_index=True), peaks_of(seen.values()))


@contextmanager
def watched() -> Iterator[dict[int, Process]]:
    """The stage that this process starts meanwhile and each process that the stage starts, by their ids."""
    seen: dict[int, Process] = {}
    over = Event()

    def look() -> None:
        while not over.wait(BETWEEN):
            for stage in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if STAGE in stage.cmdline():
                        for one in (stage, *stage.children(recursive=True)):
                            note(one, seen)

    looking = Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def note(process: psutil.Process, seen: dict[int, Process]) -> None:
    """Note what a process has taken until now; nothing of one that has just ended."""
    with suppress(psutil.Error, OSError):
        words, times = process.cmdline(), process.cpu_times()
        kind = "stage" if STAGE in words else "worker" if words and words[0].startswith(WORKER) else "ray"
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        for peak in re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            seen[process.pid] = Process(kind, times.user + times.system, 1024 * int(peak))


def peaks_of(seen: Iterable[Process]) -> dict[str, int]:
    """The peak of the stage, the largest of a worker, and the sum over Ray's own processes, in MiB."""
    peaks: dict[str, list[int]] = defaultdict(list)
    for each in seen:
        peaks[each.kind].append(each.peak)
    return {kind: round((sum if kind == "ray" else max)(peaks[kind]) / 2**20) for kind in peaks}


if __name__ == "__main__":
    main()
