"""The stages features and train, in this process: models a few units wide, the scripts as they stand."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.settings import settle
from tests.tiny import CASES, TASK, model_section, pin, small_bert_tokenizer, write_model
from tunediff.data.cases import write_cases
from tunediff.training import features

STAGES = Path(__file__).parents[2] / "stages"
RECIPE = Path(__file__).parents[2] / "recipes" / "minilm-snli.yaml"
READS = {"train": "train.jsonl", "validation": "validation.jsonl", "base": "base"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A base model, two splits and params.yaml."""
    monkeypatch.chdir(tmp_path)  # the model's id is a path from here
    section = model_section(Path("published"), head="classification")
    pin(tmp_path / "base", write_model(tmp_path / "published", "bert", small_bert_tokenizer(), "none"), section)
    write_cases(tmp_path / "train.jsonl", CASES[:6])
    write_cases(tmp_path / "validation.jsonl", CASES[6:])
    write_params(method="head")
    return tmp_path


def write_params(learning_rate=1e-2, **adapt):
    params = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    params["task"] = TASK.model_dump()
    params["model"] = {"source": "folder", "id": "published", "head": "classification", "quantization": "none"}
    params["prompt"] = {}
    params["adapt"] = adapt
    params["train"] |= {"learning_rate": learning_rate, "num_train_epochs": 2, "per_device_train_batch_size": 2}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def stage(name, monkeypatch, **paths):
    settle(Path())
    paths = {"settings": f"data/settings/{name}.json"} | READS | paths
    monkeypatch.setattr(sys, "argv", [name, *(part for key, path in paths.items() for part in (f"--{key}", path))])
    spec = importlib.util.spec_from_file_location(name, STAGES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


def train(monkeypatch, tuned):
    written = {"log": "log.csv", "loss": "loss.json", "metrics": "metrics.json"}
    written |= {"environment": "environment.json", "cost": "cost.json"}
    stage("train", monkeypatch, features="features", tuned=tuned, **written)
    return json.loads(Path("metrics.json").read_text()), load_file(Path(tuned) / "trained.safetensors")


def test_a_head_learns_anew_from_what_the_frozen_base_said_once(folder, monkeypatch):
    stage("features", monkeypatch, features="features", cost="cost.json")
    assert len(features.read_features(Path("features"))) == len(CASES)
    passes = []
    with monkeypatch.context() as patched:
        patched.setattr("transformers.BertModel.forward", lambda *_, **__: passes.append(1))
        first = train(monkeypatch, "first")
        write_params(learning_rate=1e-3, method="head")
        second = train(monkeypatch, "second")
    assert passes == []
    assert not torch.equal(first[1]["classifier.weight"], second[1]["classifier.weight"])
    features.write_features(Path("features"), {})  # as where they take too much memory
    again = train(monkeypatch, "again")
    assert again[0] == pytest.approx(second[0], abs=1e-5)
    torch.testing.assert_close(again[1], second[1], rtol=1e-4, atol=1e-5)


def test_where_the_base_does_not_stay_as_it_is_there_are_none(folder, monkeypatch, capsys):
    write_params(method="full")
    monkeypatch.setattr(features, "compute_features", lambda *_: pytest.fail("the base was run"))
    stage("features", monkeypatch, features="features", cost="cost.json")
    assert "features: skipped, because only adapt.method head" in capsys.readouterr().out
    assert features.read_features(Path("features")) == {}
