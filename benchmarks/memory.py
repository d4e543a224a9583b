"""Peak memory of a real language model on a CPU: SmolLM2-135M in NF4 and bfloat16 answers 488 SNLI cases.

    python benchmarks/memory.py [--quick]

The stage predict_base of the recipe smollm2-snli-b, with more test cases, in a fresh clone of this checkout's last
commit: it generates an answer to each raw prompt, and again for the hypothesis alone. Then again with 4-bit weights
that are dequantized in every pass (engine.keep_dequantized: never); the answers have to be the same. Seconds and peak
memory, model and libraries included, are those that the stage writes itself. The default, which keeps the weights,
shall peak at 1.5 GB at most.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import yaml
from pipeline import ROOT, run
from setting import DATA, device, finish, parse

MOST = 1.5e9
# Every row of the test split that has a label and a number divisible by this.
EVERY = 20


def main() -> None:
    """Measure both ways to hold the weights, and print the ratio of their times."""
    args = parse(__doc__, quick="every 500th row of the test split")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        run(Path(folder), "git", "clone", "--quiet", str(ROOT), str(clone))
        rows = {keep: predict(clone, keep, 500 if args.quick else EVERY) for keep in ("auto", "never")}
    answers = {row.pop("answers") for row in rows.values()}
    for keep, row in rows.items():
        print(f"keep_dequantized: {keep:6} {row['seconds']:7.1f} s, peak {row['peak_memory_mb']:,} MB")
    peak = rows["auto"]["peak_memory_mb"]
    wrong = "the answers differ" if len(answers) > 1 else None
    print(f"the peak by default is {peak:,} MB, reach {MOST / 1e6:,.0f} MB")
    ratio = round(rows["never"]["seconds"] / rows["auto"]["seconds"], 2)
    line = {"name": "memory", "ratio": ratio, "reach": 1.0, "agreement": len(answers) - 1, "tolerance": 0}
    finish(args, line | {"device": device(), "reach_mb": round(MOST / 1e6)} | {"rows": rows}, wrong)


def predict(clone: Path, keep: str, every: int) -> dict[str, object]:
    """What the stage cost, how many test cases it answered, and the hash of its answers."""
    params = yaml.safe_load((clone / "recipes" / "smollm2-snli-b.yaml").read_text(encoding="utf-8"))
    params["data"]["path"] = str(DATA / "snli")
    params["data"]["test"]["every"] = every
    params["engine"] = {"keep_dequantized": keep}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    run(clone, "dvc", "repro", "predict_base")
    if keep != "auto":  # how the weights are held does not change the stage's settings
        # The journal of the run before, from which this one would resume.
        shutil.rmtree(clone / ".scratch", ignore_errors=True)
        run(clone, "dvc", "repro", "--force", "--single-item", "predict_base")
    cost = json.loads((clone / "metrics" / "cost" / "predict_base.json").read_text(encoding="utf-8"))
    files = sorted(path for path in (clone / "data" / "answers" / "base").rglob("*") if path.is_file())
    answers = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    cases = len((clone / "data" / "test_sets" / "test.jsonl").read_text(encoding="utf-8").splitlines())
    memory = round(cost["peak_memory_bytes"] / 1e6)
    return {"cases": cases, "seconds": cost["seconds"], "peak_memory_mb": memory, "answers": answers}


if __name__ == "__main__":
    main()
