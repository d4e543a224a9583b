"""The figures of a GPU, in one command of nine minutes that needs no network: each part as far as its time goes.

    python benchmarks/gpu/measure.py [--seconds 540] [--out FOLDER] [PART ...]
    python benchmarks/gpu/measure.py --tiny             # every part in a size that a CPU does, to try the scripts

| part | what |
|---|---|
| facts | the card, the rate of a matrix product, copies; whether bitsandbytes computes in NF4 there |
| phi2-snli-a | system A at full size: as many of its steps as come within its time |
| choices | choices.py --model with that layout, against lm-evaluation-harness |
| training, training-best | training.py --model with the layout of Llama 3.2 1B, against TRL |
| llama-sst2 | a head on the frozen base: its features, and training |
| llama-squad | a span head |
| bert-sst2 | BERT-base from scratch, then all its weights on SST-2 |

Weights are made at random in the published layouts by layout.py, the rows are those of ../shared/data: losses and
accuracies say nothing. FOLDER (benchmarks/results/gpu) gets results.jsonl, a line for each thing as soon as it is known
(`"exit"` ends each step; 124: its time was over), and the files that `--out` of the benchmarks writes. A part that
fails stops no other. Nothing else of this folder changes; what is made lies in a temporary folder.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BEGAN = time.monotonic()
# What a stage reads and no other stage has made.
LINKED = ("stages", "src", "recipes", "graders", "dvc.yaml")
# How much longer everything may take on a CPU that does other things too.
SLOW = 20


class Step(NamedTuple):
    """A command, how many seconds it may take, and in whose folder it runs: that of a recipe."""

    name: str
    seconds: int
    command: tuple[str, ...]
    recipe: str | None = None


def steps(part: str, out: Path, rate: Path, tiny: bool) -> Iterator[Step]:
    """The steps of a part; each needs those before it.

    Raises:
        KeyError: there is no such part.
    """
    if part == "facts":
        yield Step("facts", 70, (str(HERE / "facts.py"), "--rate", str(rate)))
        return
    recipe, measured = PARTS[part]
    size = ("--tiny",) if tiny else ()
    layout = str(ROOT / "benchmarks" / "layout.py")
    yield Step(f"layout of {recipe}", 120, (layout, str(ROOT / "recipes" / f"{recipe}.yaml"), *size), recipe)
    if isinstance(measured, str):
        script, *more = measured.split()
        given = ("--model", f"models/random/{recipe}", "--out", str(out / f"gpu-{part}.json"), *more)
        quick = ("--quick",) if tiny else ()
        yield Step(part, 110, (str(ROOT / "benchmarks" / script), *given, *quick), recipe)
        return
    for stage, seconds, training in measured:
        ends = ("--seconds", str(training * (SLOW if tiny else 1))) if training else ()
        command = (str(HERE / "stage.py"), recipe, stage, *ends, "--rate", str(rate))
        yield Step(f"{part}: {stage}", seconds, command, recipe)


# The recipe, and its stages (seconds at most; of training, since the process started) or a benchmark that takes its
# layout.
BEFORE = (("settings", 20, 0), ("prepare", 40, 0))
PARTS: dict[str, tuple[str, tuple[tuple[str, int, int], ...] | str]] = {
    "phi2-snli-a": ("phi2-snli-a", (*BEFORE, ("base_model", 60, 0), ("features", 40, 0), ("train", 120, 90))),
    "choices": ("phi2-snli-a", "choices.py"),
    "training": ("llama-sst2", "training.py --peer defaults"),
    "training-best": ("llama-sst2", "training.py --peer best"),
    "llama-sst2": ("llama-sst2", (*BEFORE, ("base_model", 60, 0), ("features", 60, 0), ("train", 60, 30))),
    "llama-squad": ("llama-squad", (*BEFORE, ("base_model", 60, 0), ("features", 60, 0), ("train", 60, 40))),
    "bert-sst2": ("bert-sst2", (*BEFORE, ("base_model", 90, 45), ("features", 20, 0), ("train", 40, 25))),
}


def main() -> None:
    """Run the parts; exit code 1 where one did not come to its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="these alone, in this order")
    parser.add_argument("--seconds", type=int, default=540, help="for all of it (540)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu", help="folder of the results"
    )
    parser.add_argument("--tiny", action="store_true", help="narrow layouts, few rows, and time enough for a CPU")
    args = parser.parse_args()
    parts = args.parts or ["facts", *PARTS]
    if unknown := [part for part in parts if part != "facts" and part not in PARTS]:
        sys.exit(f"measure.py: found {unknown[0]}, expected facts, {', '.join(PARTS)}")
    if not args.tiny and not shutil.which("nvidia-smi"):
        sys.exit("measure.py: found no GPU; --tiny tries the scripts without one")
    slow = SLOW if args.tiny else 1
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    whole, done = True, set()
    with tempfile.TemporaryDirectory(prefix="tunediff-gpu-") as name, (out / "results.jsonl").open("a") as results:
        for part in parts:
            for step in steps(part, out, Path(name, "rate.txt"), args.tiny):
                if step in done:
                    continue
                left = args.seconds * slow - (time.monotonic() - BEGAN)
                code = run(step, min(step.seconds * slow, left), Path(name), results)
                if code:
                    whole = False
                    break
                if step.name.startswith("layout"):
                    done.add(step)
    sys.exit(not whole)


def run(step: Step, seconds: float, work: Path, results: TextIO) -> int:
    """Run a step in the folder of its recipe, and note its lines and how it ended; its exit code."""
    began = time.monotonic()
    if seconds < 1:
        return note(results, {"step": step.name, "exit": 124, "seconds": 0, "why": "no time was left"})
    folder = home(work / (step.recipe or "facts"))
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'benchmarks'}", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, *step.command],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, errors = process.communicate(timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # stage.py leaves its line even so
        try:
            said, errors = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            said, errors = process.communicate()
        code = 124
    for line in said.splitlines():
        if line.startswith('{"'):
            note(results, json.loads(line))
    ended = {"step": step.name, "exit": code, "seconds": round(time.monotonic() - began, 1)}
    return note(results, ended | ({"why": errors.strip()[-500:]} if code else {}))


def note(results: TextIO, line: dict[str, object]) -> int:
    """Print a line and write it at once; its exit code, where it ends a step."""
    text = json.dumps(line)
    print(text, flush=True)
    print(text, file=results, flush=True)
    return int(str(line.get("exit", 0)))


def home(folder: Path) -> Path:
    """A folder in which the stages run: a project without models, data or results of its own."""
    if not folder.exists():
        (folder / "data" / "raw").mkdir(parents=True)
        for name in LINKED:
            (folder / name).symlink_to(ROOT / name)
        shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    return folder


if __name__ == "__main__":
    main()
