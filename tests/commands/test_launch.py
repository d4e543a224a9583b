"""`tunediff launch`: what each host runs, and what is refused before it runs."""

import json
import sys

import pytest

from tests.program import tunediff
from tunediff.commands import launch
from tunediff.runtime.errors import TunediffError

SHOW = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('TUNEDIFF_H')}))"
PIPELINE = f"""
stages:
  prepare: {{cmd: "true", outs: [data/splits], metrics: [metrics/cost/prepare.json]}}
  train:
    cmd: {json.dumps(f'{sys.executable} -c "{SHOW}" && exit 7')}
    deps: [data/splits]
    outs: [models/tuned]
    metrics: [metrics/cost/train.json]
"""


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


def test_another_host_runs_the_stage_itself_told_who_it_is_and_ends_as_it_does(pipeline):
    code, out, _ = tunediff(pipeline, "launch", "train", "--hosts", "2", "--host", "1", "--address", "10.0.0.1:29500")
    assert code == 7
    assert json.loads(out) == {"TUNEDIFF_HOSTS": "2", "TUNEDIFF_HOST": "1"}


def test_a_host_that_is_not_there_is_refused(pipeline):
    code, out, error = tunediff(pipeline, "launch", "train", "--hosts", "2", "--host", "2", "--address", "a:1")
    assert (code, out) == (1, "")
    assert error == "tunediff: --host: found 2, expected a number from 0 to 1, --hosts minus one\n"


def test_host_0_refuses_what_is_not_made_and_takes_a_stage_that_is_itself_out_of_date(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    monkeypatch.setattr(launch, "outdated", lambda stages: {"prepare", "train"})
    with pytest.raises(TunediffError, match="train: depends on prepare, which is not up to date"):
        launch._refuse_stale("train")
    monkeypatch.setattr(launch, "outdated", lambda stages: {"train"})
    launch._refuse_stale("train")


def test_host_0_refuses_where_dvc_cannot_tell_what_is_up_to_date(pipeline):
    code, out, error = tunediff(pipeline, "launch", "train", "--hosts", "1", "--host", "0", "--address", "a:1")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith(
        "tunediff: dvc status: cannot determine which results are up to date, expected a DVC project: "
    )
