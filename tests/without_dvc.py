"""The stages of dvc.yaml in this process, without DVC, on a recipe in small."""

import runpy
import shutil

import yaml

from tests.imports import ROOT
from tests.pipeline import STAGES

SMALL = {
    "data": {"train": 64, "validation": 16, "test": 40},
    "model": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    "pretrain": {"documents": 64},
    "train": {"num_train_epochs": 1, "per_device_train_batch_size": 16},
}


def small(name):
    """A recipe in small."""
    params = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    params["data"]["synthetic"] |= SMALL["data"]
    params["model"]["config"] |= SMALL["model"]
    params["pretrain"] |= SMALL["pretrain"]
    params["train"] |= SMALL["train"]
    return params


def run_stage(name, params, monkeypatch):
    """Run the command of a stage in the current folder."""
    command = STAGES[name]["cmd"].replace("${data.path}", params["data"]["path"])
    _, script, *arguments = command.replace("${pretrain.path}", params["pretrain"]["path"]).split()[1:]
    monkeypatch.setattr("sys.argv", [script, *arguments])
    runpy.run_path(script, run_name="__main__")


def project(folder, params, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copytree(ROOT / "stages", folder / "stages")
    shutil.copytree(ROOT / "graders", folder / "graders")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "src").symlink_to(ROOT / "src")  # what runs, and what the settings are of
    (folder / "data/raw").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
