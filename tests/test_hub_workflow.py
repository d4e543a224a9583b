"""The pipeline with model and data from a hub, then back to it: fetched, measured, published, loaded by a stranger."""

import io
import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from tests.hub_server import TOKEN, files_of, serve
from tests.pipeline import NAMES
from tests.program import tunediff
from tests.project import Project, environment
from tests.tiny import LABELS, small_tokenizer, write_model
from tunediff.data.cases import read_cases, read_predictions
from tunediff.data.synthetic.captions import rows

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("hub")]

MODEL, DATA, PUBLISHED = "someone/small-llama", "someone/captions", "me/captions-lora"
CARD = """---
configs:
- config_name: plain_text
  data_files:
  - {split: test, path: plain_text/test-*}
  - {split: validation, path: plain_text/validation-*}
  - {split: train, path: plain_text/train-*}
---
"""


def data_files():
    """Captions in the layout of SNLI on the hub: Parquet by split, labels as numbers, -1 where there is no gold one."""
    files = {"README.md": CARD.encode()}
    for split, drawn in rows(train=240, validation=60, test=120, seed=1).items():
        table = pd.DataFrame(drawn)[["premise", "hypothesis", "label"]]
        table["label"] = [LABELS.index(label) for label in table["label"]]
        table.loc[0, "label"] = -1
        buffer = io.BytesIO()
        table.to_parquet(buffer)
        files[f"plain_text/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    return files


@pytest.fixture(scope="module")
def hub():
    with serve() as hub:
        yield hub


@pytest.fixture(scope="module")
def project(hub, tmp_path_factory):
    """A project whose pipeline has run with everything from the hub, and the environment that it ran in."""
    tokenizer = small_tokenizer()
    tokenizer.model_max_length = 256
    folder = write_model(tmp_path_factory.mktemp("model"), "llama", tokenizer, max_position_embeddings=256)
    revisions = hub.commit("model", MODEL, files_of(folder)), hub.commit("dataset", DATA, data_files())
    project = Project(
        tmp_path_factory.mktemp("project"),
        data={"source": "hub", "synthetic": None, "hub": {"id": DATA, "config": "plain_text", "revision": revisions[1]}}
        | {"labels": dict(enumerate(LABELS)), "unlabelled": [-1]},
        model={"source": "hub", "id": MODEL, "revision": revisions[0], "config": None},
        evaluate={"noise_batch_tokens": None, "few_shot": 0, "settings": []},
        pretrain={"text": "none", "synthetic": None, "documents": None},
        train={"num_train_epochs": 1},
    )
    project.env = hub.environment(tmp_path_factory.mktemp("home"))
    assert project.stages_run("dvc", "repro", **project.env) == NAMES
    project.commit("measured")
    return project


def force(project, *stages, **env):
    """Run some stages again; the report then takes up what they cost."""
    assert project.stages_run("dvc", "repro", "--force", "--single-item", *stages, **env) == [*stages]
    project.run("dvc", "repro", **project.env)
    project.commit(f"{', '.join(stages)} again")


def test_what_was_fetched_once_runs_again_without_the_hub(hub, project):
    hub.requests.clear()
    assert project.stages_run("dvc", "repro", **project.env) == []
    offline = project.env | {"HF_HUB_OFFLINE": "1"}
    before = (project.folder / "data/predictions/base/test.parquet").read_bytes()
    force(project, "prepare", "predict_base", **offline)
    assert (project.folder / "data/predictions/base/test.parquet").read_bytes() == before
    assert hub.requests == []


def test_a_changed_main_changes_nothing(hub, project):
    hub.commit("model", MODEL, {"config.json": b"main has moved on"})
    hub.commit("dataset", DATA, {"README.md": b"so has this"})
    assert project.stages_run("dvc", "repro", **project.env) == []
    splits = (project.folder / "data/test_sets/test.jsonl").read_bytes()
    fresh = environment() | project.env | {"HF_HOME": str(project.folder.parent / "fresh-home")}  # cold: one use
    force(project, "prepare", **fresh)
    assert (project.folder / "data/test_sets/test.jsonl").read_bytes() == splits


def test_a_gated_model_stops_the_run_with_the_page_that_gives_access(hub, project):
    hub.repo("model", MODEL).gated = True
    fresh = environment() | project.env | {"HF_HOME": str(project.folder.parent / "gated-home")}  # cold: one use
    output = project.run("dvc", "repro", "--force", "--single-item", "base_model", check=False, **fresh)
    hub.repo("model", MODEL).gated = False
    said = f"is gated; request access on its page {hub.endpoint}/{MODEL}, then run: hf auth login"
    assert any(line.startswith("tunediff: hub model") and said in line for line in output.splitlines()), output
    assert "Traceback" not in output
    project.run("git", "checkout", "--", ".")
    project.run("dvc", "checkout")
    assert project.stages_run("dvc", "repro", **project.env) == []


def test_a_dry_run_writes_and_checks_the_folder_and_asks_no_hub(hub, project):
    hub.requests.clear()
    offline = project.env | {"HF_HUB_OFFLINE": "1"}
    code, out, err = tunediff(project.folder, "publish", "--repo-id", PUBLISHED, "--dry-run", **offline)
    assert code == 0, err
    assert hub.requests == []
    folder = project.folder / "models/publish"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"README.md", "params.yaml", "adapter_config.json", "adapter_model.safetensors"} <= names
    assert {"metrics/diff_cases.json", "metrics/cost/train.json"} <= names
    assert not [name for name in names if name.startswith("base/")]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == MODEL
    assert config["revision"] == project.params()["model"]["revision"]
    assert (
        "119 of 119 test cases evaluated again, all with the same answers as in data/predictions/tuned/test.parquet"
    ) in out
    assert "nothing was uploaded" in out
    assert project.run("git", "status", "--porcelain", "--untracked-files=all") == ""


STRANGER = """
import json, sys, torch
torch.set_num_threads(1)
CODE
for module in model.modules():
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False  # another kernel on some CPUs, which fails on layers this narrow
model.eval()
prompts, answers = json.load(sys.stdin)
for prompt in prompts:
    scores = []
    for answer in answers:
        start = [tokenizer.bos_token_id] + tokenizer(prompt, add_special_tokens=False).input_ids
        rest = tokenizer(answer, add_special_tokens=False).input_ids
        with torch.inference_mode():
            logits = model(torch.tensor([start + rest])).logits[0].double().log_softmax(-1)
        scores.append(sum(logits[len(start) - 1 + i, token].item() for i, token in enumerate(rest)))
    print(json.dumps(torch.tensor(scores, dtype=torch.float64).log_softmax(-1).tolist()))
"""


def test_what_is_published_is_checked_where_it_lies_and_a_stranger_gets_the_measured_answers(hub, project, tmp_path):
    env = project.env | {"HF_TOKEN": TOKEN}
    code, out, err = tunediff(project.folder, "publish", "--repo-id", PUBLISHED, "--private", **env)
    assert code == 0, err
    assert TOKEN not in out + err
    commit = hub.repo("model", PUBLISHED).main
    assert f"uploaded to {hub.endpoint}/{PUBLISHED} at commit {commit}" in out
    assert "fetched from there: 119 of 119 test cases evaluated again, all with the same answers" in out
    assert hub.repo("model", PUBLISHED).private
    there = hub.repo("model", PUBLISHED).commits[commit]
    assert {name: data for name, data in there.items() if name != ".gitattributes"} == files_of(
        project.folder / "models/publish"
    )
    card = there["README.md"].decode()
    metrics = project.metrics("eval_tuned")
    assert {result.metric_value for result in ModelCard(card).data.eval_results} >= {metrics["accuracy"]}
    [loading] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    params = project.params()
    cases = read_cases(project.folder / "data/test_sets/test.jsonl", ["premise", "hypothesis"], LABELS)[:5]
    prompts = [params["prompt"]["template"].format(**case.inputs) for case in cases]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER.replace("CODE", loading)],
        input=json.dumps([prompts, [params["prompt"]["choices"][label] for label in LABELS]]),
        env=os.environ | hub.environment(tmp_path / "stranger", HF_TOKEN=TOKEN),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured, _ = read_predictions(project.folder / "data/predictions/tuned/test.parquet")
    for line, expected in zip(done.stdout.splitlines(), measured["log_probs"][:5], strict=True):
        assert json.loads(line) == pytest.approx(list(expected), abs=1e-4)


def test_results_of_other_parameters_are_not_published(hub, project):
    rate = project.params()["train"]["learning_rate"]
    project.change(train={"learning_rate": 2 * rate})
    writes = [method for method, _, _ in hub.requests if method != "GET"]
    code, _, err = tunediff(project.folder, "publish", "--repo-id", "me/other", **project.env | {"HF_TOKEN": TOKEN})
    project.change(train={"learning_rate": rate})
    assert code == 1
    assert err.startswith("tunediff: dvc.lock: the results of ")
    assert "train" in err
    assert err.count("\n") == 1
    assert [method for method, _, _ in hub.requests if method != "GET"] == writes
    assert ("model", "me/other") not in hub.repos


def test_an_upload_that_the_hub_changes_is_found_out_and_the_cases_are_named(hub, project, tmp_path):
    """The weights of another adapter lie there after the upload."""
    other = tmp_path / "other.safetensors"
    name = "adapter_model.safetensors"
    weights = load_file(project.folder / "models/tuned" / name)
    save_file({key: 5 - value for key, value in weights.items()}, other, metadata={"format": "pt"})
    hub.replaced[name] = other.read_bytes()
    code, _, err = tunediff(project.folder, "publish", "--repo-id", "me/swapped", **project.env | {"HF_TOKEN": TOKEN})
    hub.replaced.clear()
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"tunediff: hub model me/swapped at {hub.repo('model', 'me/swapped').main}: ")
    assert "test cases are answered differently from data/predictions/tuned/test.parquet" in last
    ids = {case.case_id for case in read_cases(project.folder / "data/test_sets/test.jsonl", ["premise"], LABELS)}
    named = re.findall(r"\b[0-9a-f]{16}\b", last)
    assert len(named) == 5
    assert set(named) <= ids
