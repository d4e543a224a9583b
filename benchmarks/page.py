"""How long the report of 100,000 cases takes to open in a browser.

    python benchmarks/page.py [--quick]

`tunediff diff` writes the page. Headless Chromium opens it five times, each time in a new tab of a new profile: until
the page is loaded and its list of cases is filled, which includes reading the file. The page has to name the number of
cases; its list holds the 10,000 that the report keeps for it. The browser's start is not counted. `ratio` is the target
over the seconds.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from diff import ARGUMENTS, write_files
from setting import device, finish, parse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.report.browser import Browser  # of this checkout, which no package holds

REACH = 2.0
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> None:
    """Write the page, open it, and print the seconds."""
    args = parse(__doc__, quick="10,000 cases, opened once")
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"found none of {', '.join(PROGRAMS)}: this needs a browser")
    n = 10_000 if args.quick else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, _ = write_files(folder, n, "jsonl")
        out = folder / "out"
        command = [sys.executable, "-m", "tunediff.commands.main", "diff", *map(str, files), "--out", str(out)]
        subprocess.run([*command, *ARGUMENTS], check=True, stdout=subprocess.DEVNULL)
        page = next(out.glob("*.html"))
        opened = [seconds_to_open(program, page, folder / f"{number}", n) for number in range(1 if args.quick else 5)]
        size = page.stat().st_size
    taken = statistics.median(opened)
    print(f"{n:,} cases, a page of {size / 2**20:.1f} MiB: {taken:.2f} s")
    line = {"name": "page", "ratio": round(REACH / taken, 2), "reach": 1.0, "agreement": 0, "tolerance": 0}
    line |= {"cases": n, "seconds": round(taken, 2), "reach_seconds": REACH, "page_mib": round(size / 2**20, 1)}
    finish(args, line | {"device": device()}, None, opened=[round(one, 2) for one in opened])


def seconds_to_open(program: str, page: Path, folder: Path, n: int) -> float:
    """Open the page in a browser of its own until its list of cases is filled."""
    folder.mkdir()
    with Browser(program, folder) as browser:
        start = time.perf_counter()
        browser.open(page)
        items = browser.run("document.querySelectorAll('#case-list > li').length")
        taken = time.perf_counter() - start
        counted = browser.run(f"document.body.textContent.includes('{n:,}')")
        if not items or not counted or browser.console:
            sys.exit(f"{page}: found {items} cases in the list, {browser.console} in the console, expected {n:,} cases")
    return taken


if __name__ == "__main__":
    main()
