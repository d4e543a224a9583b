import subprocess
import sys
from pathlib import Path

import yaml

from tests.tiny import CASES, TASK, model_section, pin, small_bert_tokenizer, write_model
from tunediff.data.cases import read_predictions, write_cases

SCRIPT = Path(__file__).parents[2] / "stages" / "eval_base.py"
RECIPE = Path(__file__).parents[2] / "recipes" / "minilm-snli.yaml"


def stage(folder, **evaluate):
    params = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    params["task"] = TASK.model_dump()
    params["model"] = {"source": "folder", "id": "published", "head": "classification", "quantization": "none"}
    params["prompt"] = {}
    params["evaluate"] = {"scoring_method": "head", "batch_tokens": 512, **evaluate}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    paths = {"test": "test.jsonl", "validation": "test.jsonl", "base": "base", "predictions": "base.parquet"}
    paths |= {"metrics": "metrics.json", "environment": "environment.json", "cost": "cost.json"}
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return read_predictions(folder / "base.parquet")[0]


def test_another_head_answers_the_same_cases_and_changes_nothing_of_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the model's id is a path from here
    section = model_section(Path("published"), head="classification")
    pin(tmp_path / "base", write_model(tmp_path / "published", "bert", small_bert_tokenizer(), "none"), section)
    write_cases(tmp_path / "test.jsonl", CASES)
    plain, noisy = stage(tmp_path), stage(tmp_path, noise_seed=5)
    assert "seed_prediction" not in plain
    assert noisy.drop(columns="seed_prediction").equals(plain)
    assert set(noisy["seed_prediction"]) <= set(TASK.labels)
    # Two random heads over the same features agree on all eight cases only by chance; these two do not.
    assert (noisy["seed_prediction"] != noisy["prediction"]).any()
