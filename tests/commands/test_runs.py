"""The stages of dvc.yaml as `tunediff cost` sees them, and what a changed one makes out of date."""

from pathlib import Path

import pytest
import yaml

from tests.imports import ROOT
from tests.settings import settle
from tests.test_pipeline import NAMES, STAGES
from tunediff.commands.runs import by_own_settings, downstream, read_stages
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
    assert by_own_settings(OURS, {"settings", "prepare"}) == {"prepare"}
    Path("params.yaml").write_text(yaml.safe_dump(params | {section: params[section] | values}), encoding="utf-8")
    # DVC says no more than that `settings`, on which all stages depend, has changed.
    assert by_own_settings(OURS, {"settings"}) == stale
    assert by_own_settings(OURS, set()) == set()


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
    with pytest.raises(TunediffError, match=found) as error:
        read_stages(path)
    assert "\n" not in str(error.value)
