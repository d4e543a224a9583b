"""Two models of a server through every stage, in this process: what is asked, kept, left out and said."""

import argparse
import csv
import json
import runpy
import shutil

import numpy as np
import pytest
import yaml

from tests.imports import ROOT
from tests.stub_server import Stub, likelihood, serve
from tunediff.commands import compare, verify
from tunediff.commands.merge import _adapter_method
from tunediff.data.answers import read_answers
from tunediff.data.cases import MODELS, read_cases
from tunediff.models.publish import write_model
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.experiment import read_experiment, settings_of

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
LABELS = ["negative", "positive"]
KEY = "sk-0123456789abcdef"
pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which all stages have run on what `tunediff compare` writes; the server is still up."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("stages", "graders"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "data/raw").mkdir(parents=True)
    with (folder / "data/raw/test.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            [f"A {word} dog {n}.", label] for n in range(8) for word, label in zip(("bad", "good"), LABELS, strict=True)
        )
    with pytest.MonkeyPatch.context() as patch, serve(Stub(key=KEY)) as url:
        patch.chdir(folder)
        patch.setenv("MY_KEY", KEY)
        parser = argparse.ArgumentParser()
        compare.add_arguments(parser)
        data = ["--data", "data/raw/test.csv", "--input", "text", "--api-key-env", "MY_KEY"]
        params = compare.parameters(parser.parse_args([f"{url}#base", f"{url}#tuned", *data]))
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        for stage in STAGES.values():
            command = stage["cmd"].replace("${data.path}", "data/raw").replace("${pretrain.path}", "data/raw")
            _, script, *arguments = command.split()[1:]
            patch.setattr("sys.argv", [script, *arguments])
            runpy.run_path(script, run_name="__main__")
        yield folder


def test_the_log_probabilities_in_the_files_are_those_of_the_served_models(project):
    texts = {
        one.case_id: one.inputs["text"] for one in read_cases(project / "data/test_sets/test.jsonl", ["text"], LABELS)
    }
    for who in MODELS:
        frame, about = read_answers(project / f"data/answers/{who}/test.parquet")
        assert about["environment"] == {"engine": "server", "server": "stub 1.0", "scoring": "echo"}
        assert len(frame) == len(texts)
        for row in frame.to_dict("records"):
            prompt = f"Text: {texts[row['case_id']]}\nLabel:"
            scores = np.array([likelihood(who, prompt, f" {label}") for label in about["labels"]])
            np.testing.assert_allclose(row["log_probs"], scores - np.log(np.exp(scores).sum()), atol=1e-9)


def test_what_cannot_be_known_is_left_out_and_said(project):
    assert json.loads((project / "metrics/count_params.json").read_text()) == {}
    assert len((project / "data/parameters.csv").read_text().splitlines()) == 1
    for page in ("report.md", "report.html"):
        text = (project / "reports" / page).read_text(encoding="utf-8")
        assert "Parameters were not counted, because a server does not report them." in text
        assert "The base model as served: base at http" in text
    card = (project / "reports/model_card.md").read_text(encoding="utf-8")
    assert "The model is available only from a server: neither its weights nor its parameters are known here." in card
    assert "from_pretrained" not in card


def test_the_key_is_in_no_file(project):
    assert [path for path in project.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_how_a_server_is_asked_changes_no_stage(project):
    before = {path.name: path.read_bytes() for path in (project / "data/settings").iterdir()}
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["engine"] |= {"num_concurrent": 2, "timeout": 5.0}
    (project / "other.yaml").write_text(yaml.safe_dump(params))
    after = settings_of(read_experiment(project / "other.yaml"))
    changed = {
        name
        for name, values in after.items()
        if json.loads(before[f"{name}.json"]) | values != json.loads(before[f"{name}.json"])
    }
    assert changed == {"machine"}


def test_a_sample_that_is_asked_again_agrees(project):
    found = {one.stage: one for one in verify.check(verify.STAGES, "test", 6)}
    assert {name for name, one in found.items() if one.agree < one.run} == set()
    assert found["predict_tuned"].run == 6


def test_a_served_model_is_neither_merged_nor_published(project, tmp_path):
    with pytest.raises(TunediffError, match="found server, which has nothing to merge"):
        _adapter_method(project / "models/tuned")
    model = read_experiment(project / "params.yaml").params.model
    with pytest.raises(TunediffError, match="whose weights are not available locally"):
        write_model(tmp_path, project / "models/base", project / "models/tuned", model, LABELS, "me/it")
