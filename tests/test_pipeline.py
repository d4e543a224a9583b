"""dvc.yaml keeps its promises: a stage declares what it reads, and no key runs a stage that it cannot change."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.imports import ROOT
from tests.keys import ALL_KEYS, ASKED, DEFAULT, GRADED, KEYS, LEARNED, SECTIONS, changed, changed_by
from tests.pipeline import NAMES, STAGES
from tests.warm import warm_python
from tunediff.config.params import Params
from tunediff.config.settings import (
    BaseModelSettings,
    CountSettings,
    DiffSettings,
    FeaturesSettings,
    MachineSettings,
    PrepareSettings,
    ReportSettings,
    TrainSettings,
    read_settings,
)
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.closure import code_files, code_of
from tunediff.runtime.files import write_json
from tunediff.tasks.evaluation import EvalSettings
from tunediff.tasks.experiment import read_experiment, settings_of

# The stages that a parser or a metric cannot change, and that a GPU may be needed for.
ASKED_OR_TRAINED = ["base_model", "predict_base", "features", "train", "predict_tuned"]


def script(name):
    return ROOT / "stages" / f"{name}.py"


def paths(entries):
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_the_twelve_stages_are_there_and_each_has_its_script():
    assert list(STAGES) == NAMES
    assert sorted(path.stem for path in (ROOT / "stages").glob("*.py")) == sorted(NAMES)


def test_the_files_of_the_pipeline_are_short():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 260
    assert len((ROOT / "dvc.lock").read_text(encoding="utf-8").splitlines()) <= 600


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_says_in_a_sentence_what_it_does(name):
    assert len(STAGES[name]["desc"].split()) >= 5


@pytest.mark.parametrize("name", ASKED_OR_TRAINED)
def test_a_mended_parser_metric_or_sentence_asks_no_model_again(name):
    apart = {"tasks", "metrics", "stats", "compare", "report", "commands", "config"}
    assert not apart & set(code_of(script(name)))


@pytest.mark.slow
def test_a_changed_file_changes_the_settings_of_the_stages_that_run_it_and_of_no_other(tmp_path):
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    shutil.copytree(ROOT / "src", tmp_path / "src")

    def written():
        """The settings files, by stage."""
        script = "from pathlib import Path; from tunediff.tasks.experiment import *; import json; print(json.dumps("
        script += f"stage_files(read_experiment(Path({str(ROOT / 'params.yaml')!r})), Path('stages'))))"
        done = subprocess.run(
            [warm_python(), "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": "src"}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    before = written()
    for file, expected in {
        "config/report.py": set(),
        "commands/cost.py": set(),
        "tasks/classification.py": {"settings", "prepare", *GRADED, "diff_cases", "report"},
        "metrics/accuracy.py": {"settings", "prepare", *GRADED, "diff_cases", "report"},
        "engines/local/choices.py": {*ASKED, *LEARNED},
        "report/templates/style.css": {"report"},
        "pretraining/packing.py": {"base_model"},
    }.items():
        path = tmp_path / "src" / "tunediff" / file
        text = path.read_bytes()
        path.write_bytes(text + b"\n/* a comment */" if path.suffix == ".css" else text + b"\n# a comment\n")
        after = written()
        assert {name for name in before if before[name] != after[name]} == expected - {"settings"}, file
        path.write_bytes(text)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_stage_depends_on_its_own_settings_and_on_params_yaml_through_them_alone(name):
    settings = [path for path in paths(STAGES[name]["deps"]) if "settings" in path and path.startswith("data")]
    assert settings == [f"data/settings/{name}.json"]
    assert "params" not in STAGES[name]
    assert "params.yaml" not in STAGES[name]["cmd"]
    assert "read_experiment" not in script(name).read_text(encoding="utf-8")


def test_what_python_compiles_is_no_dependency():
    assert {"__pycache__/", "*.pyc"} <= set((ROOT / ".dvcignore").read_text(encoding="utf-8").split())


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


def test_what_is_measured_alone_is_kept_out_of_the_cache_and_the_run_cache_stays_on():
    for name, stage in STAGES.items():
        # DVC stores no run of a stage of which an output is not cached that is neither metrics nor plot.
        assert all(isinstance(entry, str) for entry in stage["outs"]), f"{name}: a plain out with options"
        for entry in [*stage["outs"], *stage.get("metrics", []), *stage.get("plots", [])]:
            [(path, options)] = [(entry, {})] if isinstance(entry, str) else entry.items()
            assert options == ({"cache": False} if path.startswith("metrics/") else {}), f"{name}: {path}"


def test_dvc_shows_the_summary_alone_of_what_was_measured():
    shown = {name: paths(stage["metrics"]) for name, stage in STAGES.items() if "metrics" in stage}
    assert shown.pop("diff_cases") == ["metrics/summary.json"]
    assert shown == {"train": ["metrics/loss.json"]}


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


def test_training_never_sees_a_test_set():
    assert not [path for path in paths(STAGES["train"]["deps"]) if "test" in path]


@pytest.mark.parametrize("name", ["settings", "prepare", "eval_base", "eval_tuned", "diff_cases", "report"])
def test_light_stages_import_no_torch(name):
    heavy = {"torch", "transformers", "peft", "bitsandbytes", "datasets", "evaluate"}
    for path in (path for path in code_files(script(name)) if path.suffix == ".py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not heavy & {one.split(".")[0] for one in names}, path


# Key by key


def test_the_table_knows_every_section():
    assert list(SECTIONS) == list(Params.model_fields)
    assert set(KEYS) <= set(ALL_KEYS)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", ALL_KEYS)
def test_a_key_changes_the_settings_of_the_stages_that_it_can_change_and_of_no_other(name):
    assert changed_by(name) == set(KEYS.get(name, SECTIONS[name.split(".")[0]]))


def test_a_further_test_set_changes_what_asks_and_grades_it_and_where_its_rows_come_from_only_how_they_are_drawn():
    [further] = DEFAULT.also.values()
    moved = further.model_copy(update={"data": further.data.model_copy(update={"path": "elsewhere"})})
    assert changed(DEFAULT.model_copy(update={"also": {"further": moved}})) == set(SECTIONS["also"])
    without = changed(DEFAULT.model_copy(update={"also": {}}))
    assert without == {"prepare", *ASKED, *GRADED, "diff_cases", "report"}


SETTINGS = {
    "prepare": PrepareSettings,
    "base_model": BaseModelSettings,
    "count_params": CountSettings,
    "predict_base": PredictSettings,
    "eval_base": EvalSettings,
    "features": FeaturesSettings,
    "train": TrainSettings,
    "predict_tuned": PredictSettings,
    "eval_tuned": EvalSettings,
    "diff_cases": DiffSettings,
    "report": ReportSettings,
    "machine": MachineSettings,
}


@pytest.mark.parametrize(
    "recipe", [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))], ids=lambda path: path.stem
)
def test_a_stage_reads_its_settings_as_they_were_written(recipe, tmp_path):
    settings = settings_of(read_experiment(recipe))
    assert list(settings) == list(SETTINGS)
    for name, values in settings.items():
        write_json(tmp_path / f"{name}.json", values)
        found = read_settings(tmp_path / f"{name}.json", SETTINGS[name]).model_dump(mode="json")
        assert without_defaults(found, values) == values


def without_defaults(found, values):
    """Of what was read the keys that were written: the others have their defaults."""
    if not isinstance(values, dict):
        return found
    return {key: without_defaults(found[key], value) for key, value in values.items()}


def test_the_committed_lock_is_of_the_committed_code_and_parameters():
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [
        (stage, path)
        for stage, reasons in json.loads(done.stdout).items()
        for reason in reasons
        for path, state in (reason.get("changed deps", {}) if isinstance(reason, dict) else {}).items()
        # What stages write is not in a clone.
        if path.startswith(("src", "stages", "params.yaml")) and state != "deleted"
    ]
    assert found == [], "changed since dvc.lock was written: dvc repro"
