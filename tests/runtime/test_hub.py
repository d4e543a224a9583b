"""The hub's own cache layout, written here, and a hub of our own that speaks its protocol on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import time

import huggingface_hub.constants as constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import TOKEN, UNKNOWN_TOKEN, serve_here
from tunediff.data.sources.hub_dataset import dataset_rows
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hub import snapshot

REVISION = "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"
CARD = """---
dataset_info:
- config_name: ax
  features: [{name: sentence, dtype: string}]
  splits: [{name: test, num_bytes: 10, num_examples: 1}]
- config_name: sst2
  features:
  - {name: sentence, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': negative, '1': positive}}}}
  splits: [{name: train, num_bytes: 10, num_examples: 3}, {name: test, num_bytes: 10, num_examples: 1}]
configs:
- config_name: ax
  data_files: [{split: test, path: ax/test-*}]
- config_name: sst2
  data_files: [{split: train, path: sst2/train-*}, {split: test, path: sst2/test-*}]
---
"""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """A cache of its own and no network, unless the test brings a hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def parquet(**columns):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


GLUE = {
    "README.md": CARD.encode(),
    "ax/test-00000-of-00001.parquet": parquet(sentence=["An axe ."]),
    "sst2/train-00000-of-00001.parquet": parquet(sentence=["good", "bad", "both"], label=[1, 0, 1]),
    "sst2/test-00000-of-00001.parquet": parquet(sentence=["who knows"], label=[-1]),
}
MODEL = {
    name: name.encode()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "merges.txt", "chat_template.jinja")
}
# The end of the address that large files are fetched from.
WEIGHTS = f"{hashlib.sha256(MODEL['model.safetensors']).hexdigest()}/model.safetensors"
HOSTILE = dict.fromkeys(("pytorch_model.bin", "modeling_x.py", "data.pkl", "sub/weights.pt", "tf.h5"), b"never")


def fill_cache(cache, id, kind, files, revision=REVISION):
    """Files in the layout that the hub's client keeps: blobs by hash, links to them by revision and name."""
    repo = cache / f"{kind}s--{id.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(revision)
    (repo / "blobs").mkdir()
    for name, content in files.items():
        blob = repo / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = repo / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return repo / "snapshots" / revision


@pytest.fixture
def hub(monkeypatch, empty_cache):
    """A hub that answers this process."""
    with serve_here(monkeypatch, empty_cache.parent) as hub:
        yield hub


def error_of(call, *args):
    with pytest.raises(TunediffError) as caught:
        call(*args)
    [line] = caught.value.args
    assert any(revision in line for revision in args if revision is not None and len(revision) == 40)
    return line


def test_a_model_in_the_cache_is_found_without_network(empty_cache):
    folder = fill_cache(empty_cache, "microsoft/phi-2", "model", MODEL)
    assert snapshot("microsoft/phi-2", REVISION, "model").resolve() == folder.resolve()


def test_a_model_that_is_not_in_the_cache_is_named_with_its_revision():
    line = error_of(snapshot, "microsoft/phi-2", REVISION, "model")
    assert (
        line == f"hub model microsoft/phi-2 at {REVISION}: is incomplete in the local cache, and HF_HUB_OFFLINE is set"
    )


def test_another_revision_than_the_cached_one_is_not_taken_for_it(empty_cache):
    fill_cache(empty_cache, "microsoft/phi-2", "model", MODEL)
    assert "incomplete in the local cache" in error_of(snapshot, "microsoft/phi-2", "b" * 40)


def test_an_id_that_cannot_be_one_is_refused():
    assert "expected NAMESPACE/NAME" in error_of(snapshot, "../../etc/passwd", REVISION)


def test_scripts_and_pickles_are_never_fetched(hub):
    revision = hub.commit("model", "a/model", MODEL | HOSTILE)
    folder = snapshot("a/model", revision, "model")
    assert set(hub.fetched) == set(MODEL)
    assert (folder / "config.json").read_bytes() == b"config.json"
    snapshot("a/model", revision, "model", ["*"])
    assert set(hub.fetched) == set(MODEL)


def test_what_was_fetched_once_needs_no_network(hub, monkeypatch):
    revision = hub.commit("model", "a/model", MODEL)
    folder = snapshot("a/model", revision)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot("a/model", revision) == folder
    (folder / "model.safetensors").unlink()
    assert "incomplete in the local cache" in error_of(snapshot, "a/model", revision)


def test_a_gated_model_names_the_page_that_gives_access(hub):
    name = "meta-llama/Llama-3.2-1B"
    revision = hub.commit("model", name, MODEL)
    hub.repo("model", name).gated = True
    gated = f"hub model {name} at {revision}: is gated; request access on its page {hub.endpoint}/{name}, then run: "
    assert error_of(snapshot, name, revision) == f"{gated}hf auth login"


def test_a_model_that_does_not_exist_is_named(hub):
    assert "hub model no/such" in error_of(snapshot, "no/such", REVISION)
    assert "has no such model" in error_of(snapshot, "no/such", REVISION)


def test_a_revision_that_does_not_exist_is_named(hub):
    hub.commit("dataset", "a/glue", GLUE)
    line = error_of(snapshot, "a/glue", "b" * 40, "dataset")
    assert line == f"hub dataset a/glue at {'b' * 40}: the data set has no such revision, expected one of its commits"


def test_a_token_opens_a_gated_or_private_model_and_a_wrong_one_is_named(hub, monkeypatch):
    revision = hub.commit("model", "a/model", MODEL)
    hub.repo("model", "a/model").private = True
    assert "the hub has no such model, or it is private" in error_of(snapshot, "a/model", revision)
    monkeypatch.setenv("HF_TOKEN", UNKNOWN_TOKEN)
    line = error_of(snapshot, "a/model", revision)
    assert line.endswith("the hub does not recognize your token (HF_TOKEN, or that of hf auth login)")
    assert UNKNOWN_TOKEN not in line
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (snapshot("a/model", revision) / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "fault", "words"),
    [
        ("list", 429, "the hub received too many requests from here"),
        ("list", 503, "the hub answered with status 503"),
        ("list", "hang", "the hub cannot be reached at http://127.0.0.1"),
        ("weights", 429, "the hub received too many requests from here"),
        ("weights", "hang", "the hub cannot be reached at http://127.0.0.1"),
        ("weights", "cut", "the connection to the hub was lost"),
    ],
)
def test_a_hub_that_fails_ends_in_a_line_and_leaves_no_model(hub, monkeypatch, capfd, what, fault, words):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    revision = hub.commit("model", "a/model", MODEL)
    hub.faults[f"tree/{revision}" if what == "list" else WEIGHTS] = fault
    assert words in error_of(snapshot, "a/model", revision)
    assert not capfd.readouterr().out
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "is incomplete in the local cache" in error_of(snapshot, "a/model", revision)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.faults.clear()
    assert (snapshot("a/model", revision) / "model.safetensors").read_bytes() == MODEL["model.safetensors"]


def test_a_download_goes_on_where_the_connection_broke_off(hub):
    revision = hub.commit("model", "a/model", MODEL)
    hub.faults[WEIGHTS] = "cut"
    error_of(snapshot, "a/model", revision)
    hub.faults.clear()
    hub.requests.clear()
    snapshot("a/model", revision)
    assert (snapshot("a/model", revision) / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert not [path for _, path, _ in hub.requests if path.endswith("tokenizer.json")]


@pytest.mark.parametrize("name", ["../model.safetensors", "a/../../../model.safetensors", "/tmp/model.safetensors"])
def test_a_file_whose_path_leads_out_is_not_followed(hub, empty_cache, name):
    revision = hub.commit("model", "a/model", MODEL | {name: b"outside"})
    assert "Invalid filename" in error_of(snapshot, "a/model", revision)
    assert not [path for path in empty_cache.parent.rglob("*") if path.is_file() and path.read_bytes() == b"outside"]


def test_a_changed_main_does_not_change_what_is_loaded(hub):
    revision = hub.commit("model", "a/model", MODEL)
    hub.commit("model", "a/model", MODEL | {"config.json": b"changed", "new.json": b"{}"})
    folder = snapshot("a/model", revision)
    assert (folder / "config.json").read_bytes() == MODEL["config.json"]
    assert not (folder / "new.json").exists()


SNLI = """---
configs:
- config_name: plain_text
  data_files:
  - {split: test, path: plain_text/test-*}
  - {split: train, path: plain_text/train-*}
---
"""
PAIRS = {"premise": ["A dog sleeps.", "A man runs."], "hypothesis": ["It rests.", "He sits."], "label": [0, -1]}
READ = """
import json, sys
from pathlib import Path
from tunediff.runtime.errors import run
from tunediff.data.sources.hub_dataset import dataset_rows
id, revision = sys.argv[1:]
def main():
    print(json.dumps(dataset_rows(id, "plain_text", revision, "train")))
    print("torch" in sys.modules)
run(main)
"""


@pytest.mark.pipeline
def test_a_process_of_its_own_fetches_a_data_set_once_and_reads_it_offline_later(hub, tmp_path):
    files = {"README.md": SNLI.encode(), "plain_text/train-00000-of-00001.parquet": parquet(**PAIRS)}
    revision = hub.commit("dataset", "stanfordnlp/snli", files)

    def read(**env):
        return subprocess.run(
            [sys.executable, "-c", READ, "stanfordnlp/snli", revision],
            env=os.environ | hub.environment(tmp_path / "home", **env),
            capture_output=True,
            text=True,
            check=False,
        )

    first = read()
    assert first.returncode == 0, first.stderr
    expected = [dict(zip(PAIRS, row, strict=True)) for row in zip(*PAIRS.values(), strict=True)]
    assert json.loads(first.stdout.splitlines()[0]) == expected
    hub.requests.clear()
    hub.commit("dataset", "stanfordnlp/snli", {"README.md": b"gone"})
    again = read(HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout
    assert hub.requests == []
    fresh = read(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert fresh.returncode == 1
    assert fresh.stdout == ""
    assert fresh.stderr == (
        f"tunediff: hub dataset stanfordnlp/snli at {revision}: is incomplete in the local cache, and HF_HUB_OFFLINE "
        "is set\n"
    )


def test_without_network_the_error_is_one_line_and_nothing_else_is_printed(monkeypatch, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert "the hub cannot be reached" in error_of(snapshot, "microsoft/phi-2", REVISION)
    assert capfd.readouterr() == ("", "")


def test_a_data_set_gives_its_rows_with_class_labels_as_numbers(empty_cache):
    fill_cache(empty_cache, "a/glue", "dataset", GLUE)
    rows = dataset_rows("a/glue", "sst2", REVISION, "train")
    assert rows == [
        {"sentence": "good", "label": 1},
        {"sentence": "bad", "label": 0},
        {"sentence": "both", "label": 1},
    ]
    assert rows[1].place == f"hub dataset a/glue at {REVISION}, train, row 2"
    assert dataset_rows("a/glue", "sst2", REVISION, "test") == [{"sentence": "who knows", "label": -1}]


def test_only_the_files_of_the_split_are_fetched(hub):
    revision = hub.commit("dataset", "a/glue", GLUE | HOSTILE | {"sst2/train-script.py": b"never"})
    assert len(dataset_rows("a/glue", "sst2", revision, "train")) == 3
    assert set(hub.fetched) == {"README.md", "sst2/train-00000-of-00001.parquet"}


def test_a_data_set_without_a_card_is_read_by_the_names_of_its_files(empty_cache):
    files = {"train.csv": b"text,label\nx,0\n", "test.jsonl": b'{"text": "y", "label": 1}\n'}
    fill_cache(empty_cache, "a/csv", "dataset", {"train.csv": files["train.csv"]})
    fill_cache(empty_cache, "a/json", "dataset", {"test.jsonl": files["test.jsonl"]})
    assert dataset_rows("a/csv", None, REVISION, "train") == [{"text": "x", "label": 0}]
    assert dataset_rows("a/json", None, REVISION, "test") == [{"text": "y", "label": 1}]


def test_an_unknown_configuration_or_split_names_those_there_are(empty_cache):
    fill_cache(empty_cache, "a/glue", "dataset", GLUE)
    assert "configuration sst3, expected one of ax, sst2" in error_of(dataset_rows, "a/glue", "sst3", REVISION, "test")
    assert "configuration None, expected one of ax, sst2" in error_of(dataset_rows, "a/glue", None, REVISION, "test")
    assert "no split dev, expected one of train, test" in error_of(dataset_rows, "a/glue", "sst2", REVISION, "dev")


def test_a_data_set_that_only_a_script_could_load_is_refused(empty_cache):
    fill_cache(empty_cache, "a/script", "dataset", {"script.py": b"raise SystemExit('ran')"})
    assert "cannot be read" in error_of(dataset_rows, "a/script", None, REVISION, "train")


def test_a_damaged_file_or_card_is_named(empty_cache):
    fill_cache(empty_cache, "a/glue", "dataset", GLUE | {"sst2/train-00000-of-00001.parquet": b"PAR1 no"})
    assert "split train: cannot be read" in error_of(dataset_rows, "a/glue", "sst2", REVISION, "train")
    fill_cache(empty_cache, "a/card", "dataset", {"README.md": b"---\nconfigs: [x\n---\n"})
    assert "README.md cannot be read" in error_of(dataset_rows, "a/card", None, REVISION, "train")


@pytest.mark.parametrize(
    "entry",
    [
        {"data_files": "../../../secret.csv"},
        {"data_files": [{"split": "train", "path": ["/etc/passwd"]}]},
        {"data_files": {"train": "https://evil.example/train.csv"}},
        {"data_files": {"train": "zip://*.csv::train.zip"}},
        {"data_dir": "../.."},
    ],
)
def test_a_card_whose_files_lie_elsewhere_is_refused(entry, empty_cache):
    card = json.dumps({"configs": [{"config_name": "x"} | entry]})
    fill_cache(empty_cache, "a/card", "dataset", {"README.md": f"---\n{card}\n---\n".encode()})
    line = error_of(dataset_rows, "a/card", None, REVISION, "train")
    assert "card README.md: found the file" in line
