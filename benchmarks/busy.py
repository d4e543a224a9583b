"""Training of the default experiment on an idle machine, beside one process that takes a core, and beside three.

    python benchmarks/busy.py [--quick]

In a fresh clone of this checkout's last commit; what the stage train reads is made there first. Then its command in
dvc.yaml, each time from nothing: on the machine as it is, which has to be idle; with threads that spin as long
as OpenMP lets them by itself; and beside processes that count without end. The tuned model has to be the same to the
byte each time: how many threads compute may not depend on what else runs.

OMP_NUM_THREADS, OMP_WAIT_POLICY and GOMP_SPINCOUNT of the caller hold, so that other values can be tried.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pipeline import ROOT, run
from setting import device, finish, parse

import tunediff.runtime.threads as threads

# How many times the idle time it may take beside so many processes.
REACH = {1: 2.0, 3: 4.0}
# What libgomp and libomp do where nobody says otherwise.
OWN = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
FEWER = {
    "train: 30000": "train: 1600",
    "documents: 30000": "documents: 1600",
    "num_train_epochs: 2": "num_train_epochs: 1",
}


def main() -> None:
    """Time the training in each state of the machine, and print the line of three busy processes."""
    args = parse(__doc__, quick="1,600 cases, one epoch")
    load = os.getloadavg()[0]
    print(f"load of the machine before: {load:.2f}")
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name, "clone")
        run(Path(name), "git", "clone", "--quiet", str(ROOT), str(clone))
        if args.quick:
            fewer(clone / "params.yaml")
        run(clone, "dvc", "repro", "features")
        command = train_command(clone)
        taken: dict[str, float] = {}
        tuned: set[str] = set()
        for state, others, environ in states():
            with busy(others):
                taken[state] = train(clone, command, environ)
            print(f"{state:30} {taken[state]:8.1f} s", flush=True)
            tuned.add(contents(clone / "models" / "tuned"))
        computed = json.loads((clone / "metrics" / "environment" / "train.json").read_text(encoding="utf-8"))
    idle = taken["idle"]
    ratios = {n: round(taken[beside(n)] / idle, 2) for n in REACH}
    own = round(taken["idle, spinning on"] / idle, 2)
    more: dict[str, Any] = {
        "reach_is": "at most",
        "load_before": round(load, 2),
        "cases": "1,600" if args.quick else "30,000",
    }
    more |= {"beside_one": {"ratio": ratios[1], "reach": REACH[1]}, "spinning_on_over_idle": own}
    more |= {"threads": computed["threads"], "spin": {key: os.environ.get(key) for key in threads.SPIN}}
    # Here the ratio shall be at most what it is to reach.
    line = {
        "name": "busy, beside 3",
        "ratio": ratios[3],
        "reach": REACH[3],
        "agreement": len(tuned) - 1,
        "tolerance": 0,
    }
    wrong = None if len(tuned) == 1 else f"{len(tuned)} different tuned models, expected the same from every run"
    seconds = {state: round(each, 1) for state, each in taken.items()}
    finish(args, line | {"device": device()} | more, wrong, seconds=seconds)


def states() -> Iterator[tuple[str, int, dict[str, str]]]:
    """What each is called, how many processes count beside it, and what is said of waiting."""
    yield "idle", 0, {}
    yield "idle, spinning on", 0, OWN
    for n in REACH:
        yield beside(n), n, {}


def beside(n: int) -> str:
    """The name of a state."""
    return f"beside {n} busy process{'es' if n > 1 else ''}"


@contextmanager
def busy(n: int) -> Iterator[None]:
    """So many processes that take a core each, or what they get of one."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def fewer(params: Path) -> None:
    """The default experiment in a size that takes seconds."""
    text = params.read_text(encoding="utf-8")
    for given, less in FEWER.items():
        assert text.count(given) == 1, given
        text = text.replace(given, less)
    params.write_text(text, encoding="utf-8")


def train_command(clone: Path) -> list[str]:
    """The script of the stage and its arguments, as dvc.yaml has them."""
    stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    words = shlex.split(stages["train"]["cmd"])
    return [sys.executable, *words[words.index("python") + 1 :]]


def train(clone: Path, command: list[str], environ: dict[str, str]) -> float:
    """Seconds of a training from nothing."""
    shutil.rmtree(clone / ".scratch", ignore_errors=True)
    given = [f"{key}={value}" for key, value in environ.items()]
    return run(clone, "env", *given, f"PYTHONPATH={clone / 'src'}", *command)


def contents(folder: Path) -> str:
    """A hash of what the files of a folder hold."""
    found = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
