"""Prediction files of several runs on the same cases, and what the stages write of a run."""

import json

import numpy as np
import pandas as pd
import yaml

from tests.whole_files import write_predictions

N = 200


def right(count, shift=0):
    """Which of the cases are right: so many, from a place on."""
    flags = np.zeros(N, dtype=bool)
    flags[(np.arange(count) + shift) % N] = True
    return flags


def table(flags):
    at = np.arange(len(flags))
    labels = np.where(at % 2 == 0, "yes", "no")
    other = np.where(labels == "yes", "no", "yes")
    return pd.DataFrame(
        {"case_id": [f"{one:016x}" for one in at], "label": labels, "prediction": np.where(flags, labels, other)}
    )


def write_answers(path, flags):
    """Write what the stages eval_base and eval_tuned do, of one test set."""
    frame = table(flags).assign(outcome=np.where(flags, "right", "wrong"), log_probs=None, text="", n_tokens=3)
    frame = frame.assign(finish_reason="none", scorer="head", prompt_hash="p", truncated=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, frame, {"labels": ["yes", "no"]})


STAGES = {
    "predict_base": ("--test-sets", "data/test_sets"),
    "eval_base": ("--predictions", "data/predictions/base"),
    "features": ("--cost", "metrics/cost/features.json"),
    "train": ("--cost", "metrics/cost/train.json"),
    "eval_tuned": ("--predictions", "data/predictions/tuned"),
    "diff_cases": ("--metrics", "metrics/diff_cases.json"),
}


def write(project, seed, rate, flags):
    """What the stages write, as far as the board reads it: answers of both models, costs, the gain over a baseline."""
    folder = project.folder
    params = {"task": {"source_input": "text"}, "train": {"seed": seed, "learning_rate": rate}, "also": {"sums": {}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for model, answers in (("base", right(100)), ("tuned", flags)):
        for name in ("test", "sums"):
            write_answers(folder / f"data/predictions/{model}/{name}.parquet", answers)
    (folder / "data/test_sets").mkdir(exist_ok=True)
    lines = [json.dumps({"case_id": f"{at:016x}", "text": f"text {at // 2}"}) for at in range(N)]
    (folder / "data/test_sets/test.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "data/test_sets/sums.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "metrics/cost").mkdir(parents=True, exist_ok=True)
    for stage in ("features", "train"):
        (folder / f"metrics/cost/{stage}.json").write_text(json.dumps({"seconds": 10.0, "peak_memory_bytes": 1}))
    metrics = {"gain_over_baseline": 0.2, "gain_over_baseline_low": 0.1, "gain_over_baseline_high": 0.3}
    (folder / "metrics/diff_cases.json").write_text(json.dumps(metrics))
