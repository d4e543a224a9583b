"""An engine of thirty lines, registered from outside, answers both prediction stages without torch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.imports import ROOT
from tests.tiny import CASES, CHOICES, LABELS, PROMPT
from tunediff.config.settings import read_settings
from tunediff.data.answers import read_answers
from tunediff.data.cases import write_cases
from tunediff.engines import open_engine
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.errors import TunediffError

ENGINE = '''
import json, runpy, sys
from tunediff.engines import ENGINES
from tunediff.engines.engine import Engine, Generated

class Table(Engine):
    """Answers from a file of likelihoods by choice and of texts."""

    def __init__(self, settings, folder):
        self.settings, self.table = settings, json.loads((folder / "table.json").read_text())

    def tuned(self, folder):
        return Table(self.settings, folder)

    def loglikelihoods(self, prompts, continuations, title):
        return [[self.table["likelihoods"][text] - len(prompt) for text in continuations] for prompt in prompts]

    def generate(self, prompts, stop, max_new_tokens, title):
        return [Generated(self.table["text"], "stop") for _ in prompts]

    def environment(self):
        return {"engine": "table"}

ENGINES["table"] = Table
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not {"torch", "transformers", "peft", "bitsandbytes"} & set(sys.modules)
'''
TABLES = {"base": [-1.0, -2.0, -3.0], "tuned": [-5.0, -4.0, -6.0]}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Settings, two test sets and two models that are a table each; both stages have run."""
    folder = tmp_path_factory.mktemp("project")
    one = {"inputs": ["premise", "hypothesis"], "labels": LABELS, "partial_input": "hypothesis"}
    one |= {"prompt": PROMPT.model_dump(), "ask": {"answer": "choices", "names": LABELS, "choices": CHOICES}}
    written = one | {"ask": {"answer": "text", "stop": ["\n"]}}
    settings = {
        "model": {"source": "folder", "id": "nowhere", "head": "lm", "quantization": "none"},
        "engine": {"kind": "table"},
        "sets": {"test": one, "words": written},
    }
    evaluate = {"scoring_method": "choices", "settings": ["generation", "partial_input"]}
    more = {"noise_batch_tokens": 64, "few_shot": 2}
    (folder / "settings").mkdir()
    machine = {"logging_steps": 10, "save_total_limit": None, "num_processes": 1}
    for name, content in {
        "predict_base": settings | {"evaluate": evaluate | more, "validate_too": True},
        "predict_tuned": settings | {"evaluate": evaluate},
        "machine": machine,
    }.items():
        (folder / f"settings/{name}.json").write_text(json.dumps(content))
    for name in ("sets/test", "sets/words", "validation"):
        write_cases(folder / f"{name}.jsonl", CASES)
    for model, likelihoods in TABLES.items():
        (folder / model).mkdir()
        table = {"likelihoods": dict(zip(CHOICES.values(), likelihoods, strict=True)), "text": f" {model}\n"}
        (folder / model / "table.json").write_text(json.dumps(table))
    for model in TABLES:
        done = predict(folder, model)
        assert done.returncode == 0, done.stderr
    return folder


def predict(folder, model):
    paths = {"settings": f"settings/predict_{model}.json", "test-sets": "sets", "validation": "validation.jsonl"}
    paths |= {"base": "base"} | ({"tuned": "tuned"} if model == "tuned" else {})
    paths |= {"answers": f"answers/{model}", "environment": f"{model}.json", "cost": f"{model}-cost.json"}
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    command = [sys.executable, "-c", ENGINE, str(ROOT / f"stages/predict_{model}.py"), *options]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", list(TABLES))
def test_the_answers_are_those_of_the_table(project, model):
    frame, about = read_answers(project / f"answers/{model}/test.parquet")
    assert about == {"labels": LABELS, "model": model, "environment": {"engine": "table"}}
    assert json.loads((project / f"{model}.json").read_text()) == {"engine": "table", "model": {}}
    assert frame["case_id"].tolist() == [case.case_id for case in CASES]
    expected = np.array(TABLES[model]) - np.log(np.exp(TABLES[model]).sum())
    np.testing.assert_allclose(frame["log_probs"].tolist(), [expected] * len(CASES))
    assert set(frame["text"]) == {CHOICES[LABELS[int(np.argmax(expected))]]}
    assert set(frame["generated_text"]) == {f" {model}\n"}
    np.testing.assert_allclose(frame["premise_free_log_probs"].tolist(), [expected] * len(CASES))


def test_each_test_set_is_a_file_and_the_other_settings_are_asked_of_the_headline_alone(project):
    assert sorted(path.name for path in (project / "answers/base").iterdir()) == [
        *("test.parquet", "validation.parquet", "words.parquet")
    ]
    assert sorted(path.name for path in (project / "answers/tuned").iterdir()) == ["test.parquet", "words.parquet"]
    base, _ = read_answers(project / "answers/base/test.parquet")
    assert {"again_text", "again_log_probs", "few_shot_log_probs"} <= set(base)
    for name in ("validation", "words"):
        frame, _ = read_answers(project / f"answers/base/{name}.parquet")
        assert not any(column.startswith(("again", "few_shot", "premise_free", "generated")) for column in frame)
    words, about = read_answers(project / "answers/tuned/words.parquet")
    assert (set(words["text"]), set(words["finish_reason"]), about["labels"]) == ({" tuned\n"}, {"stop"}, [])
    assert words["log_probs"].isna().all()


def test_an_engine_that_nobody_registered_is_refused_in_a_line(project):
    settings = read_settings(project / "settings/predict_base.json", PredictSettings)
    with pytest.raises(TunediffError, match=r"^params.yaml: engine.kind: found table, expected one of local, server$"):
        open_engine(settings, project / "base")
