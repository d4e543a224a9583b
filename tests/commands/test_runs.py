"""The stages of dvc.yaml as `tunediff cost` sees them, and what a changed one makes out of date."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from tests.imports import ROOT
from tests.pipeline import NAMES, STAGES
from tests.settings import settle
from tunediff.commands.runs import by_settings, check_templates, downstream, dvc_status, read_stages, stage_path
from tunediff.commands.scaffold import dvc_yaml
from tunediff.runtime.errors import TunediffError

OURS = read_stages(ROOT / "dvc.yaml")


def test_every_stage_of_our_pipeline_is_there_with_its_cost():
    # `settings` takes a second.
    costs = {name: Path(f"metrics/cost/{name}.json") for name in NAMES[1:]}
    assert {stage.name: stage.cost for stage in OURS} == costs
    assert all(set(stage.reads) == set(STAGES[stage.name]["deps"]) for stage in OURS)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ([], []),
        (["report"], ["report"]),
        (["diff_cases"], ["diff_cases", "report"]),
        # diff_cases does not read the model itself, and the report neither.
        (["train"], ["train", "predict_tuned", "eval_tuned", "diff_cases", "report"]),
        # train reads files inside of the folder that prepare writes.
        (["prepare"], [name for name in NAMES[1:] if name not in ("base_model", "count_params")]),
        (["base_model"], [name for name in NAMES[1:] if name != "prepare"]),
    ],
)
def test_what_reads_a_changed_result_is_out_of_date_with_it(changed, found):
    assert downstream(OURS, changed) == set(found)


@pytest.mark.parametrize(
    ("section", "values", "stale"),
    [
        ("report", {"title": "Another"}, {"report"}),
        ("train", {"logging_steps": 7}, set()),
        ("train", {"seed": 7}, {"train"}),
        ("evaluate", {"few_shot": 2}, {"predict_base", "report"}),
    ],
)
def test_a_changed_key_makes_those_stages_out_of_date_whose_own_settings_it_changes(
    section, values, stale, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    settle(tmp_path)
    assert by_settings(OURS, {"settings", "prepare"}) == {"prepare"}
    Path("params.yaml").write_text(yaml.safe_dump(params | {section: params[section] | values}), encoding="utf-8")
    # DVC says no more than that `settings`, on which all stages depend, has changed.
    assert by_settings(OURS, {"settings"}) == stale
    assert by_settings(OURS, set()) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vars: []\n", "stages: found None"),
        ("", "stages: found None"),
        ("stages: [a]\n", "stages: found"),
        ("stages: {a: b}\n", "stages: found"),
        ("stages: {a: [\n", "is not YAML"),
    ],
)
def test_a_pipeline_without_stages_is_named_in_a_line(tmp_path, text, found):
    path = tmp_path / "dvc.yaml"
    path.write_text(text)
    for read in (read_stages, lambda path: stage_path("train", "tuned", path)):
        with pytest.raises(TunediffError, match=found) as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["", "cmd: [a, b]", "cmd: python train.py", "cmd: python train.py --tuned"])
def test_a_stage_that_hands_its_script_no_such_path_is_named_in_a_line(tmp_path, command):
    path = tmp_path / "dvc.yaml"
    path.write_text(f"stages: {{train: {{{command}}}}}\n")
    with pytest.raises(TunediffError, match=r"stages\.train\.cmd: found no --tuned, expected it with a path$"):
        stage_path("train", "tuned", path)


def test_a_command_that_no_shell_reads_is_named_in_a_line(tmp_path):
    path = tmp_path / "dvc.yaml"
    path.write_text('stages: {train: {cmd: "python \'train.py --tuned a"}}\n')
    with pytest.raises(TunediffError, match=r"stages\.train\.cmd: found .* No closing quotation$"):
        stage_path("train", "tuned", path)


@pytest.mark.parametrize(("code", "out"), [(0, "no JSON"), (0, "[]"), (255, "{}")])
def test_a_status_that_cannot_be_read_is_a_line(code, out, monkeypatch):
    done = subprocess.CompletedProcess([], code, out, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(TunediffError, match="dvc status: cannot determine which results are up to date"):
        dvc_status()


def test_what_dvc_yaml_takes_from_params_yaml_and_finds_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'cat ${data.path} ${pretrain.path}'}}\n")
    (tmp_path / "params.yaml").write_text("data: {path: data/raw}\n")
    with pytest.raises(TunediffError, match=r"^params\.yaml: pretrain\.path: missing, expected a path"):
        check_templates()
    (tmp_path / "params.yaml").write_text("data: {path: data/raw}\npretrain: {path: data/raw}\n")
    check_templates()


@pytest.mark.slow
@pytest.mark.parametrize(("of", "lacking"), [(dvc_yaml, {}), (str, {"data": "data.path", "pretrain": "pretrain.path"})])
def test_dvc_asks_for_no_section_of_params_yaml_but_a_clone_for_the_two_that_tunediff_names(
    of, lacking, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    Path("dvc.yaml").write_text(of((ROOT / "dvc.yaml").read_text(encoding="utf-8")), encoding="utf-8")
    whole = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    found = {}
    for section in whole:
        Path("params.yaml").write_text(yaml.safe_dump({key: whole[key] for key in whole if key != section}))
        try:
            with Repo(str(tmp_path)) as repo:
                assert len(repo.index.stages) == len(NAMES)
        except DvcException as error:
            found[section] = re.search(r"Could not find '(.*)'$", str(error)).group(1)
            with pytest.raises(TunediffError, match=rf"^params\.yaml: {found[section]}: missing, expected a path"):
                check_templates()
    assert found == lacking
