"""The stages of dvc.yaml as `tunediff cost` sees them, and what a changed one makes out of date."""

from pathlib import Path

import pytest

from tests.imports import ROOT
from tests.test_pipeline import NAMES, STAGES
from tunediff.commands.runs import downstream, read_stages
from tunediff.runtime.errors import TunediffError

OURS = read_stages(ROOT / "dvc.yaml")


def test_every_stage_of_our_pipeline_is_there_with_its_cost():
    assert [(stage.name, stage.cost) for stage in OURS] == [(name, Path(f"metrics/cost/{name}.json")) for name in NAMES]
    assert all(set(stage.reads) == set(STAGES[stage.name]["deps"]) for stage in OURS)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ([], []),
        (["report"], ["report"]),
        (["diff_cases"], ["diff_cases", "report"]),
        # diff_cases does not read the model itself, and the report neither.
        (["train"], ["train", "eval_tuned", "diff_cases", "report"]),
        # train reads files inside of the folder that prepare writes.
        (["prepare"], ["prepare", "eval_base", "features", "train", "eval_tuned", "diff_cases", "report"]),
        (["base_model"], [name for name in NAMES if name != "prepare"]),
    ],
)
def test_what_reads_a_changed_result_is_out_of_date_with_it(changed, found):
    assert downstream(OURS, changed) == set(found)


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
