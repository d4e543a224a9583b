"""How long `tunediff diff` takes and how much memory it needs, from 10,000 to 1,000,000 cases.

    python benchmarks/diff.py [--format jsonl|csv|parquet] [--quick | --cases 10000000]

Makes two files of that many cases (premise, hypothesis, label, prediction, three scores; three cases a premise; CSV
without ids, the others with), runs the program on them as a user would, checks the counts that it writes against those
of the rows, and takes seconds and peak memory as the operating system counts them. Each size is run several times and
the fastest is kept: what else the machine does only ever adds. The ratio is that of the time per case, fewest cases to
most: 1 is flat, below 1 it grows.

`--cases 10000000` is that size beside the smallest two, run once. It takes some 10 GB in the folder of temporary files
(TMPDIR). The files are made and written some rows at a time too.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from setting import device, finish, parse

LABELS = ("entailment", "neutral", "contradiction")
SIZES = (1, 10_000, 30_000, 100_000, 300_000, 1_000_000)
WORDS = ["a", "man", "woman", "dog", "child", "red", "shirt", "is", "feeding", "two", "animals", "near", "the", "river"]
# Written at a time; three cases share a premise.
ROWS = 99_999
ARGUMENTS = ["--input-fields", "premise,hypothesis", "--scores-field", "scores", "--cluster-field", "premise"]


def main() -> None:
    """Measure every size, print a row each, and the line that sums up."""
    form = ("jsonl", ["jsonl", "csv", "parquet"], "of the two files")
    cases = ("1000000", ["1000000", "10000000"], "at most; ten million beside the smallest two, once")
    args = parse(__doc__, quick="10,000 and 30,000 cases, one run each", format=form, cases=cases)
    rows = []
    most = int(args.cases)
    sizes = SIZES[:3] if args.quick else SIZES if most == SIZES[-1] else (*SIZES[:2], most)
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            files, expected = write_files(Path(folder), size, args.format)
            runs = [
                measure([*map(str, files), "--out", f"{folder}/out", *ARGUMENTS])
                for _ in range(2 if sizes == SIZES else 1)
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
    paths = [folder / f"{name}.{kind}" for name in ("before", "after")]
    before, after = (
        write_tables(path, tables(size, accuracy), kind) for path, accuracy in zip(paths, (0.41, 0.88), strict=True)
    )
    return paths, {"n": size, "repaired": int((~before & after).sum()), "broken": int((before & ~after).sum())}


def write_tables(path: Path, parts: Iterator[pd.DataFrame], kind: str) -> np.ndarray:
    """Write tables one after the other, and return which rows are right."""
    right = []
    with path.open("wb") as file, ExitStack() as stack:
        for table in parts:
            right.append((table["prediction"] == table["label"]).to_numpy())
            if kind == "csv":
                table = table.assign(scores=table["scores"].map(json.dumps)).drop(columns="case_id")
                table.to_csv(file, index=False, header=len(right) == 1)
            elif kind == "jsonl":
                table.to_json(file, orient="records", lines=True)
            else:
                part = pa.Table.from_pandas(table)
                if len(right) == 1:
                    writer = stack.enter_context(pq.ParquetWriter(file, part.schema))
                writer.write_table(part)
    return np.concatenate(right)


def tables(size: int, accuracy: float) -> Iterator[pd.DataFrame]:
    """The rows of one file, some at a time; texts and labels do not depend on the accuracy."""
    texts, answers = np.random.default_rng(0), np.random.default_rng(int(1000 * accuracy))
    for first in range(0, size, ROWS):
        n = min(ROWS, size - first)
        words = np.array(WORDS, dtype=object)[texts.integers(0, len(WORDS), (n, 18))]
        gold = texts.integers(3, size=n)
        answer = np.where(answers.random(n) < accuracy, gold, (gold + answers.integers(1, 3, n)) % 3)
        scores = np.log(np.where(np.arange(3) == answer[:, None], 0.6, 0.2)) + answers.normal(0, 0.1, (n, 3))
        premises = [f"{' '.join(words[row, :12])} {first + row}" for row in range(0, n, 3)]
        yield pd.DataFrame(
            {
                "case_id": [f"case-{row:08d}" for row in range(first, first + n)],
                "premise": [premises[row // 3] for row in range(n)],
                "hypothesis": [" ".join(row) for row in words[:, 12:]],
                "label": [LABELS[one] for one in gold],
                "prediction": [LABELS[one] for one in answer],
                "scores": [dict(zip(LABELS, row, strict=True)) for row in scores.round(6).tolist()],
            }
        )


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
