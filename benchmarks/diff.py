"""How long `tunediff diff` takes and how much memory it needs, from 10,000 to 1,000,000 cases.

    python benchmarks/diff.py [--format jsonl|csv|parquet] [--quick] [--out benchmarks/results/diff.json]

Makes two files of that many cases (premise, hypothesis, label, prediction, three scores; three cases a premise; CSV
without ids, the others with), runs the program on them as a user would, checks the counts that it writes against those
of the rows, and takes seconds and peak memory as the operating system counts them. Each size is run several times and
the fastest is kept: what else the machine does only ever adds. The ratio is that of the time per case, fewest cases to
most: 1 is flat, below 1 it grows.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from setting import device, finish, parse

LABELS = ("entailment", "neutral", "contradiction")
SIZES = (1, 10_000, 30_000, 100_000, 300_000, 1_000_000)
WORDS = ["a", "man", "woman", "dog", "child", "red", "shirt", "is", "feeding", "two", "animals", "near", "the", "river"]
ARGUMENTS = ["--input-fields", "premise,hypothesis", "--scores-field", "scores", "--cluster-field", "premise"]


def main() -> None:
    """Measure every size, print a row each, and the line that sums up."""
    form = ("jsonl", ["jsonl", "csv", "parquet"], "of the two files")
    args = parse(__doc__, quick="10,000 and 30,000 cases, one run each", format=form)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES[:3] if args.quick else SIZES:
            files, expected = write_files(Path(folder), size, args.format)
            runs = [
                measure([*map(str, files), "--out", f"{folder}/out", *ARGUMENTS]) for _ in range(1 + (not args.quick))
            ]
            found = json.loads(Path(folder, "out", "metrics.json").read_text(encoding="utf-8"))
            if any(found[key] != value for key, value in expected.items()):
                sys.exit(f"{size} cases: found {found}, expected {expected}")
            seconds, peak = min(runs)
            rows.append({"cases": size, "seconds": round(seconds, 2), "peak_memory_mib": round(peak / 2**20)})
            # The start of Python and of its libraries is the same for every size; a run of one case is that.
            if size > 1:
                rows[-1]["microseconds_per_case"] = round(1e6 * (seconds - rows[0]["seconds"]) / size, 1)
            print(rows[-1], flush=True)
    ratio = round(rows[1]["microseconds_per_case"] / rows[-1]["microseconds_per_case"], 2)
    line = {"name": f"diff, {args.format}", "ratio": ratio, "reach": 0.8, "agreement": 0, "tolerance": 0}
    finish(args, line | {"device": device()}, None, rows=rows)


def write_files(folder: Path, size: int, kind: str) -> tuple[list[Path], dict[str, int]]:
    """Two files of `size` cases, 41 % right before and 88 % after, answers independent; and what a diff must count."""
    tables = [pd.DataFrame(rows_of(size, accuracy)) for accuracy in (0.41, 0.88)]
    right = [table["prediction"] == table["label"] for table in tables]
    paths = [folder / f"{name}.{kind}" for name in ("before", "after")]
    for path, table in zip(paths, tables, strict=True):
        if kind == "csv":
            table.assign(scores=table["scores"].map(json.dumps)).drop(columns="case_id").to_csv(path, index=False)
        elif kind == "parquet":
            table.to_parquet(path)
        else:
            table.to_json(path, orient="records", lines=True)
    repaired, broken = int((~right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())
    return paths, {"n": size, "repaired": repaired, "broken": broken}


def rows_of(size: int, accuracy: float) -> Iterator[dict[str, object]]:
    """The rows of one file; texts and labels do not depend on the accuracy."""
    texts, answers = np.random.default_rng(0), np.random.default_rng(int(1000 * accuracy))
    premise = ""
    for row in range(size):
        words = [WORDS[place] for place in texts.integers(0, len(WORDS), 18)]
        premise = f"{' '.join(words[:12])} {row}" if row % 3 == 0 else premise
        gold = int(texts.integers(3))
        answer = gold if answers.random() < accuracy else (gold + int(answers.integers(1, 3))) % 3
        scores = np.log(np.where(np.arange(3) == answer, 0.6, 0.2)) + answers.normal(0, 0.1, 3)
        yield {
            "case_id": f"case-{row:07d}",
            "premise": premise,
            "hypothesis": " ".join(words[12:]),
            "label": LABELS[gold],
            "prediction": LABELS[answer],
            "scores": {label: round(float(score), 6) for label, score in zip(LABELS, scores, strict=True)},
        }


def measure(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak bytes of one run of the program."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tunediff.commands.main", "diff", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"tunediff diff ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


if __name__ == "__main__":
    main()
