"""`tunediff publish`: what it refuses, what it writes, and what it says to a hub.

The whole way there and back again is run in tests/test_hub_workflow.py.
"""

import json

import huggingface_hub.constants as constants
import pytest
import yaml

from tests.hub_server import TOKEN, UNKNOWN_TOKEN, serve_here
from tests.program import tunediff
from tunediff.commands.publish import upload
from tunediff.runtime.errors import TunediffError

NAME = "me/my-model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve_here(monkeypatch, tmp_path / "home") as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def folder(tmp_path):
    """What an adapter's folder holds, as far as an upload looks at it."""
    (tmp_path / "out/metrics").mkdir(parents=True)
    (tmp_path / "out/README.md").write_text("---\nlicense: unknown\n---\n# A model\n")
    (tmp_path / "out/adapter_model.safetensors").write_bytes(b"weights" * 99)
    (tmp_path / "out/metrics/diff_cases.json").write_text("{}")
    return tmp_path / "out"


def refused(*arguments):
    with pytest.raises(TunediffError) as caught:
        upload(*arguments)
    [line] = caught.value.args
    assert line.startswith(f"hub model {NAME}: ")
    assert TOKEN not in line
    assert UNKNOWN_TOKEN not in line
    return line


def test_files_large_and_small_arrive_in_one_commit(hub, folder):
    commit, address = upload(folder, NAME, False)
    assert address == f"{hub.endpoint}/{NAME}"
    assert commit == hub.repo("model", NAME).main
    files = hub.repo("model", NAME).commits[commit]
    assert files["adapter_model.safetensors"] == b"weights" * 99
    assert files["metrics/diff_cases.json"] == b"{}"
    assert not hub.repo("model", NAME).private


def test_a_second_upload_replaces_our_files_and_leaves_others(hub, folder):
    hub.commit("model", NAME, {"LICENSE": b"mine", "README.md": b"old"})
    commit, _ = upload(folder, NAME, False)
    files = hub.repo("model", NAME).commits[commit]
    assert files["LICENSE"] == b"mine"
    assert b"# A model" in files["README.md"]
    assert upload(folder, NAME, False)[0] == commit


def test_without_a_token_nothing_is_asked(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    assert "found no token, expected one with write access; run: hf auth login" in refused(folder, NAME, False)
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know_is_refused_without_being_shown(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", UNKNOWN_TOKEN)
    assert "the hub does not recognize your token" in refused(folder, NAME, False)


def test_a_private_model_is_private_and_a_public_one_is_not_taken_for_one(hub, folder):
    upload(folder, NAME, True)
    assert hub.repo("model", NAME).private
    hub.repo("model", NAME).private = False
    before = hub.repo("model", NAME).main
    assert "exists and is public" in refused(folder, NAME, True)
    assert hub.repo("model", NAME).main == before


def test_weights_of_another_model_are_not_left_beside_ours(hub, folder):
    before = hub.commit("model", NAME, {"model.safetensors": b"another"})
    assert "holds model.safetensors of another model" in refused(folder, NAME, False)
    assert hub.repo("model", NAME).main == before


@pytest.mark.parametrize(
    ("end", "fault", "words"),
    [
        ("create", 403, "your token lacks this permission"),
        ("preupload/main", 429, "the hub received too many requests from here"),
        ("batch", 503, "the hub answered with status 503"),
        ("commit/main", 413, "the hub answered with status 413"),
    ],
)
def test_a_hub_that_fails_ends_in_a_line_and_leaves_no_commit(hub, folder, end, fault, words):
    hub.faults[end] = fault
    assert words in refused(folder, NAME, False)
    commits = hub.repos["model", NAME].commits.values() if ("model", NAME) in hub.repos else ()
    assert not [files for files in commits if "README.md" in files]


def test_offline_nothing_is_uploaded(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(folder, NAME, False)


@pytest.fixture(scope="module")
def reported(small_run, tmp_path_factory):
    """The small project, from scratch with an adapter on NF4 weights, whose pipeline has run to its end."""
    return small_run.copy(tmp_path_factory.mktemp("reported"))


@pytest.mark.pipeline
def test_a_base_from_scratch_goes_with_its_adapter(reported):
    code, out, err = tunediff(reported.folder, "publish", "--repo-id", NAME, "--dry-run")
    assert code == 0, err
    assert (
        "120 of 120 test cases evaluated again, all with the same answers as in data/predictions/tuned/test.parquet"
    ) in out
    folder = reported.folder / "models/publish"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"base/config.json", "base/model.safetensors", "base/tokenizer.json"} <= names
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "params.yaml"} <= names
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == (NAME, "CAUSAL_LM")
    card = (folder / "README.md").read_text()
    assert "NAMESPACE/NAME" not in card
    assert f'snapshot_download("{NAME}")' in card
    # Again, over what was written before.
    assert tunediff(reported.folder, "publish", "--repo-id", NAME, "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repo-id", "no-namespace"], "--repo-id: found 'no-namespace', expected NAMESPACE/NAME"),
        (["--repo-id", "a/b/c"], "--repo-id: found 'a/b/c', expected NAMESPACE/NAME"),
        (["--repo-id", "../x"], "--repo-id: found '../x', expected NAMESPACE/NAME"),
        (["--repo-id", NAME, "--out", "src"], "which exists without metrics/diff_cases.json"),
        (["--repo-id", NAME, "--out", "models/tuned/x"], "which the stage train writes"),
        (["--repo-id", NAME, "--out", "/tmp/elsewhere"], "leads out of the project"),
    ],
)
def test_a_wrong_argument_is_a_line(small_run, arguments, words):
    code, out, err = tunediff(small_run.folder, "publish", "--dry-run", *arguments)
    assert (code, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_pipeline_that_has_not_come_to_its_end_has_nothing_to_publish(small_run, tmp_path):
    project = small_run.copy(tmp_path)
    lock = project.folder / "dvc.lock"
    found = yaml.safe_load(lock.read_text())
    del found["stages"]["report"]
    lock.write_text(yaml.safe_dump(found, sort_keys=False))
    code, out, err = tunediff(project.folder, "publish", "--repo-id", NAME, "--dry-run")
    assert (code, out) == (1, "")
    assert err.startswith("tunediff: dvc.lock: the results of ")
    assert "report" in err
    assert not (project.folder / "models/publish").exists()
