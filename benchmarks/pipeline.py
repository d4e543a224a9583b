"""The pipeline as a whole: a cold run, a run with nothing to do, and one after a change of `diff.*` alone.

    python benchmarks/pipeline.py [--quick]

In a fresh clone of this checkout's last commit. Cold: the time that `dvc repro` takes over the sum of its stages' own
seconds, as each stage measures them. Nothing to do: the time of a second `dvc repro` over that of a bare project of two
stages, in turn. `--quick` leaves the cold run of the default experiment out and takes its outputs from the cache.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from setting import device, finish, parse

ROOT = Path(__file__).resolve().parents[1]
BARE = {
    "stages": {
        "first": {"cmd": "cp in.txt first.txt", "deps": ["in.txt"], "outs": ["first.txt"]},
        "second": {"cmd": "cp first.txt second.txt", "deps": ["first.txt"], "outs": ["second.txt"]},
    }
}


def main() -> None:
    """Measure the three runs and print the line of the one with nothing to do, with the figures of the others."""
    args = parse(__doc__, quick="take the stages' outputs from the cache of this checkout")
    more: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        clone, bare = Path(folder, "clone"), bare_project(Path(folder, "bare"))
        run(Path(folder), "git", "clone", "--quiet", str(ROOT), str(clone))
        if args.quick:
            run(clone, "dvc", "cache", "dir", "--local", str(ROOT / ".dvc" / "cache"))
            run(clone, "dvc", "checkout", "--quiet")
        else:
            seconds = run(clone, "dvc", "repro")
            files = sorted((clone / "metrics" / "cost").glob("*.json"))
            more["stages"] = {path.stem: json.loads(path.read_text())["seconds"] for path in files}
            total = sum(more["stages"].values())
            print(f"cold run {seconds:.1f} s, its {len(files)} stages {total:.1f} s; reach 90 s and 1.4 x")
            more["cold"] = {"seconds": round(seconds, 1), "reach_seconds": 90, "stages": round(total, 1)}
            more["cold"] |= {"ratio": round(seconds / total, 2), "reach": 1.4}
        again(clone)
        turns = [(again(clone), again(bare)) for _ in range(3 if args.quick else 9)]
        ours, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
        params = (clone / "params.yaml").read_text(encoding="utf-8")
        changed = params.replace("  confidence: 0.95", "  confidence: 0.9")
        assert changed != params
        (clone / "params.yaml").write_text(changed, encoding="utf-8")
        more["diff_changed"] = {"seconds": round(run(clone, "dvc", "repro"), 1), "reach": 5}
        print(f"after a change of diff.confidence {more['diff_changed']['seconds']} s, reach 5 s")
        print(f"nothing to do {ours:.2f} s, a bare project {theirs:.2f} s")
    # Here the ratio shall be at most what it is to reach. Every run has ended well, or we were not here.
    line = {"name": "pipeline, unchanged", "ratio": round(statistics.median(a / b for a, b in turns), 2), "reach": 1.3}
    line |= {"agreement": 0, "tolerance": 0, "device": device()} | more
    finish(args, line, None, seconds=[[round(one, 2) for one in turn] for turn in turns])


def bare_project(folder: Path) -> Path:
    """A DVC project of two stages that copy a line, run once."""
    folder.mkdir()
    (folder / "in.txt").write_text("a line\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(BARE))
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro", "--quiet"]):
        run(folder, *command)
    return folder


def again(folder: Path) -> float:
    """Seconds of `dvc repro` where nothing has changed."""
    return run(folder, "dvc", "repro")


def run(folder: Path, *command: str, **variables: str) -> float:
    """Seconds that a command takes, with these environment variables too; ends the program where it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | variables
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} in {folder}: ended with {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
