"""dvc.yaml keeps its promises: what a stage reads is what it declares."""

import ast
import hashlib
import re

import pytest
import yaml

from tests.imports import ROOT, all_project_imports, templates
from tunediff.config.model import Base
from tunediff.config.params import Params

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
NAMES = [
    "prepare",
    "base_model",
    "count_params",
    "eval_base",
    "features",
    "train",
    "eval_tuned",
    "diff_cases",
    "report",
]


def script(name):
    return ROOT / "stages" / f"{name}.py"


def paths(entries):
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def sections_read(name):
    """Sections of params.yaml that a stage script takes: params.SECTION, wherever `params` is used at all."""
    tree = ast.parse(script(name).read_text(encoding="utf-8"))
    attributes = {
        id(node.value): node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "params" and isinstance(node.ctx, ast.Load):
            assert id(node) in attributes, f"{name}, line {node.lineno}: hands on all of params.yaml"
    return set(attributes.values())


def test_the_nine_stages_are_there_and_each_has_its_script():
    assert list(STAGES) == NAMES
    assert sorted(path.stem for path in (ROOT / "stages").glob("*.py")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_says_in_a_sentence_what_it_does(name):
    assert len(STAGES[name]["desc"].split()) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_deps_of_a_stage_are_its_script_every_module_it_imports_and_their_templates(name):
    modules = all_project_imports(script(name))
    needed = {str(path.relative_to(ROOT)) for path in modules | templates(modules)}
    declared = {path for path in paths(STAGES[name]["deps"]) if path.startswith(("src/", "stages/"))}
    assert declared == needed | {f"stages/{name}.py"}


@pytest.mark.parametrize("name", NAMES)
def test_the_params_of_a_stage_are_the_sections_it_reads(name):
    assert {key.partition(".")[0] for key in STAGES[name]["params"]} == sections_read(name)
    assert sections_read(name) <= set(Params.model_fields)


def test_the_base_model_depends_on_where_it_comes_from_and_on_nothing_else_of_the_model():
    # Two experiments with another head share the base. The stage takes `params.model` as a Base, so mypy refuses it
    # any other key.
    assert STAGES["base_model"]["params"] == [*(f"model.{key}" for key in Base.model_fields), "pretrain"]
    assert "base: Base = params.model" in script("base_model").read_text(encoding="utf-8")
    assert script("base_model").read_text(encoding="utf-8").count("params.model") == 1


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_every_recipe_has_the_keys_that_dvc_asks_for_by_name(path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    for stage in STAGES.values():
        for section, _, key in (name.partition(".") for name in stage["params"]):
            assert key in given[section] if key else section in given


@pytest.mark.parametrize("name", NAMES)
def test_every_path_in_the_command_of_a_stage_is_a_declared_dep_or_out(name):
    stage = STAGES[name]
    given = re.findall(r"--\S+ (\S+)", stage["cmd"])
    outs = paths(stage.get("outs", [])) + paths(stage.get("metrics", [])) + paths(stage.get("plots", []))
    declared = paths(stage["deps"]) + outs
    for path in given:
        assert any(one == path or one.startswith(f"{path}/") or path.startswith(f"{one}/") for one in declared), path
    for out in outs:
        assert any(out == path or out.startswith(f"{path}/") for path in given), f"{out} is no argument of the command"


def test_no_output_persists_and_none_is_kept_out_of_the_cache():
    for name, stage in STAGES.items():
        for entry in [*stage["outs"], *stage["metrics"], *stage.get("plots", [])]:
            options = {} if isinstance(entry, str) else next(iter(entry.values()))
            assert "persist" not in options, name
        assert all(isinstance(entry, str) for entry in stage["outs"]), f"{name}: a plain out with options"
        # In Git, not in the cache, and the run cache stays on: only metrics may say so.
        assert all(entry == {path: {"cache": False}} for entry in stage["metrics"] for path in entry), name


def test_every_output_has_one_writer():
    outs = [
        out for stage in STAGES.values() for key in ("outs", "metrics", "plots") for out in paths(stage.get(key, []))
    ]
    assert len(outs) == len(set(outs))
    assert not [(a, b) for a in outs for b in outs if a != b and b.startswith(f"{a}/")]


def test_no_stage_but_the_report_depends_on_costs():
    for name, stage in STAGES.items():
        costs = [path for path in paths(stage["deps"]) if path.startswith("metrics/cost")]
        assert costs == [] or name == "report"


def test_training_never_sees_the_test_split_and_the_base_is_never_measured_again_for_a_training_parameter():
    assert not [path for path in paths(STAGES["train"]["deps"]) if "test" in path or path == "data/splits"]
    assert "train" not in STAGES["eval_base"]["params"]
    assert "adapt" not in STAGES["eval_base"]["params"]


def test_the_features_of_a_frozen_base_do_not_depend_on_how_its_head_is_trained():
    assert "train" not in STAGES["features"]["params"]
    assert "data/features.safetensors" in STAGES["train"]["deps"]


@pytest.mark.parametrize("name", ["prepare", "diff_cases", "report"])
def test_light_stages_import_no_torch(name):
    heavy = {"torch", "transformers", "peft", "bitsandbytes", "datasets", "evaluate"}
    for path in [script(name), *all_project_imports(script(name))]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not heavy & {one.split(".")[0] for one in names}, path


def test_the_committed_lock_is_of_the_committed_code_and_parameters():
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert list(lock) == list(STAGES) or sorted(lock) == sorted(STAGES)
    for name, stage in lock.items():
        for dep in stage["deps"]:
            path = ROOT / dep["path"]
            if path.suffix in (".py", ".j2", ".css"):
                digest = hashlib.md5(path.read_bytes()).hexdigest()
                assert dep["md5"] == digest, f"{name}: {dep['path']} has changed since dvc.lock was written"
        for entry, values in stage["params"]["params.yaml"].items():
            current = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
            for key in entry.split("."):
                current = current[key]
            assert values == current, f"{name}: {entry} of params.yaml has changed since dvc.lock was written"
