"""From a table of 600 tickets to the report, as somebody who is new types it: the commands of docs/your-own-data.md.

    python benchmarks/newcomer.py --out benchmarks/results/newcomer.json

In an empty folder, away from this repository, with a virtual environment of its own that holds the wheel of this
checkout and, beside it, the packages of the environment that runs this: `pip install` is timed without the time that
PyTorch and the others take to come over a network. Aim: at most five commands, and five minutes. `--quick` stops before
the run, after `tunediff init`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

from setting import device, finish, parse

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")
REACH, MOST = 300, 5


def main() -> None:
    """Type the commands of the page, and print what each took."""
    args = parse(__doc__, quick="stop after tunediff init")
    [commands] = re.findall(r"^```\n(pip install .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [tickets] = re.findall(r"^```python\n(import csv\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in commands.splitlines() if line]
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        wheel, environment = built(place / "wheel"), fresh(place / "venv")
        place = place / "new"
        place.mkdir()
        (place / "make_tickets.py").write_text(tickets, encoding="utf-8")
        subprocess.run([sys.executable, "make_tickets.py"], cwd=place, check=True)
        for line in lines[:2] if args.quick else lines:
            words = shlex.split(line)
            if words[0] == "cd":
                place /= words[1]
            elif words[0] == "pip":
                words = ["python", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
            start = time.perf_counter(), sum(os.times()[:4])
            if words[0] != "cd":
                subprocess.run(words, cwd=place, env=environment, check=True, stdout=sys.stderr)
            clock, processor = time.perf_counter() - start[0], sum(os.times()[:4]) - start[1]
            rows.append({"command": line, "seconds": round(clock, 1), "processor_seconds": round(processor, 1)})
            print(f"{line:90} {clock:7.1f} s, of the processor {processor:7.1f} s")
        wrong = None if args.quick else fault(place)
    seconds = round(sum(row["seconds"] for row in rows), 1)
    found = {
        "name": "newcomer",
        "seconds": seconds,
        "reach_seconds": REACH,
        "commands": len(rows),
        "reach_commands": MOST,
    }
    finish(args, found | {"device": device(), "load": round(load, 1)}, wrong, rows=rows)


def built(folder: Path) -> Path:
    """The wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    [wheel] = folder.glob("tunediff-*.whl")
    return wheel


def fresh(folder: Path) -> dict[str, str]:
    """A virtual environment without tunediff, behind it the packages of this one; the variables that activate it."""
    venv.create(folder, with_pip=True)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def fault(project: Path) -> str | None:
    """What is wrong with the result, if anything is: the report is there, and the tuned model is better."""
    metrics = json.loads((project / "metrics" / "diff_cases.json").read_text(encoding="utf-8"))
    if not (project / "reports" / "report.html").is_file():
        return "found no report"
    low = metrics["accuracy_delta_low"]
    return None if low > 0 else f"the difference starts at {low}, expected it above 0"


if __name__ == "__main__":
    main()
