"""eval_base and eval_tuned: raw answers are graded and measured, set by set, without a model."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from tests import questions
from tests.imports import ROOT
from tests.pipeline import STAGES
from tests.program import script
from tests.settings import settle
from tests.small_tasks import PAIR
from tests.whole_files import write_answers
from tunediff.data.cases import make_cases, read_predictions, write_cases
from tunediff.tasks import task_of

PAIRS = make_cases([({"premise": f"p{n}", "hypothesis": f"h{n}"}, "yes" if n % 2 else "no", ()) for n in range(6)])
DRAWS = {name: {"source": "train", "select": "all"} for name in ("train", "validation", "test")}
CHOICES = {"yes": " yes", "no": " no"}


def write_project(folder):
    """A headline of pairs that are answered with choices, and a further set of questions that are answered freely."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["task"] = PAIR.model_dump()
    params["prompt"] = {"template": "{premise} {hypothesis}", "choices": CHOICES}
    data = {"source": "files", "files": {"dev": "dev.jsonl"}, "test": {"source": "dev"}}
    params["also"] = {
        "questions": {
            "task": questions.QUESTIONS.model_dump(),
            "data": data | {"columns": {name: name for name in ("question", "context", "answers")}},
            "prompt": {"template": "{context} {question}"},
        }
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    settle(folder)
    write_cases(folder / "data/test_sets/test.jsonl", PAIRS)
    write_cases(folder / "data/test_sets/questions.jsonl", questions.CASES)
    write_cases(folder / "data/splits/validation.jsonl", PAIRS)
    common = {"finish_reason": "stop", "scorer": "choices", "prompt_hash": "h", "n_tokens": 3, "truncated": False}
    for model in ("base", "tuned"):
        about = {"labels": ["yes", "no"], "model": model, "environment": {"device": "cpu"}}
        log_probs = [[-0.1, -2.5]] * len(PAIRS)
        pairs = pd.DataFrame({"case_id": [case.case_id for case in PAIRS], "text": " yes", "log_probs": log_probs})
        write_answers(folder / f"data/answers/{model}/test.parquet", pairs.assign(**common), about)
        asked = pd.DataFrame({"case_id": [case.case_id for case in questions.CASES], "text": "in the park\nQ"})
        asked = asked.assign(log_probs=None, **common)
        write_answers(folder / f"data/answers/{model}/questions.parquet", asked, about | {"labels": []})


def command(model):
    """The script of the stage, and its arguments."""
    name = f"stages/eval_{model}.py"
    return ROOT / name, STAGES[f"eval_{model}"]["cmd"].split(name)[1].split()


def evaluate(folder, model):
    path, arguments = command(model)
    return script(folder, path, *arguments)


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_answers_become_predictions_and_metrics_set_by_set(model, tmp_path):
    write_project(tmp_path)
    done = evaluate(tmp_path, model)
    assert (done.returncode, done.stderr) == (0, "")
    frame, about = read_predictions(tmp_path / f"data/predictions/{model}/test.parquet")
    assert frame["prediction"].tolist() == ["yes"] * 6
    assert about == {"labels": ["yes", "no"], "model": model, "environment": {"device": "cpu"}}
    metrics = json.loads((tmp_path / f"metrics/eval_{model}.json").read_text())
    also = metrics.pop("also")
    assert metrics == task_of(PAIR).metrics(frame, None)
    asked, about = read_predictions(tmp_path / f"data/predictions/{model}/questions.parquet")
    assert asked["prediction"].tolist() == ["in the park"] * 7
    assert about["labels"] == ["answerable", "unanswerable"]
    assert also == {"questions": task_of(questions.QUESTIONS).metrics(asked, None)}
    assert f"{model}: 3 of 6 right = 50.0%" in done.stdout
    assert f"{model}, questions: 1 of 7 right = exact match 14.3 %" in done.stdout


@pytest.mark.pipeline
def test_grading_imports_no_torch(tmp_path):
    write_project(tmp_path)
    path, arguments = command("tuned")
    code = f"""
import runpy, sys
sys.argv[0] = {str(path)!r}
runpy.run_path({str(path)!r}, run_name="__main__")
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_of_answers_that_is_not_there_is_one_line_and_nothing_is_written(tmp_path):
    write_project(tmp_path)
    (tmp_path / "data/answers/base/questions.parquet").unlink()
    done = evaluate(tmp_path, "base")
    assert done.returncode == 1
    assert done.stderr == "tunediff: data/answers/base/questions.parquet: there is no such file\n"
    assert not (tmp_path / "data/predictions").exists() or not list((tmp_path / "data/predictions").iterdir())
    assert not (tmp_path / "metrics/eval_base.json").exists()
