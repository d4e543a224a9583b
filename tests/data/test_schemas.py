"""What a schema declares is what the files of real runs have."""

import json

from tests.imports import ROOT
from tunediff.data.schemas import STAGE_FILES, names

FILES = [
    path for folder in ("environment", "cost") for path in sorted((ROOT / "docs/results").rglob(f"{folder}/*.json"))
]


def keys(content):
    inner = content.get("model") or {}
    return {*content, *(f"model.{name}" for name in inner)}


def test_environments_and_costs_of_published_runs_have_declared_keys_alone():
    assert FILES
    for path in FILES:
        declared = names(STAGE_FILES[f"{path.parent.name}/STAGE"])
        assert keys(json.loads(path.read_text(encoding="utf-8"))) <= {*declared}, path


def test_every_key_of_an_environment_without_a_gpu_occurs_in_a_published_run():
    found = set().union(*(keys(json.loads(path.read_text(encoding="utf-8"))) for path in FILES))
    assert {*names(STAGE_FILES["environment/STAGE"])} <= found
