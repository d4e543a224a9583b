"""The hub's own cache layout, written here, and a hub of our own that speaks its protocol on this machine."""

import hashlib
import http.server
import json
import threading
import time

import huggingface_hub.constants as constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunediff.errors import TunediffError
from tunediff.sources.hub import dataset_rows, snapshot

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
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
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
def hub(monkeypatch):
    """A hub that serves `hub.repos` and notes in `hub.fetched` which files were asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = self.path.split("?")[0].removeprefix("/api").strip("/")
            for (kind, id), files in server.repos.items():
                prefix = f"{kind}s/{id}" if path.startswith("datasets/") or "/tree/" in path else id
                if not path.startswith(f"{prefix}/"):
                    continue
                what, revision, *name = path.removeprefix(f"{prefix}/").split("/", 2)
                if isinstance(files, str):
                    return self.answer(403, b"", {"X-Error-Code": files})
                if revision != REVISION:
                    return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                if what == "tree":
                    listed = [
                        {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                        for n, c in files.items()
                    ]
                    return self.answer(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
                server.fetched.add(name[0])
                content = files[name[0]]
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": REVISION}
                return self.answer(200, content, headers)
            return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})

        def answer(self, status, body, headers):
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.repos, server.fetched = {}, set()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    url = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def error_of(call, *args):
    with pytest.raises(TunediffError) as caught:
        call(*args)
    [line] = caught.value.args
    assert REVISION in line or "b" * 40 in line
    return line


def test_a_model_in_the_cache_is_found_without_network(empty_cache):
    folder = fill_cache(empty_cache, "microsoft/phi-2", "model", MODEL)
    assert snapshot("microsoft/phi-2", REVISION, "model").resolve() == folder.resolve()


def test_a_model_that_is_not_in_the_cache_is_named_with_its_revision():
    line = error_of(snapshot, "microsoft/phi-2", REVISION, "model")
    assert (
        line == f"hub model microsoft/phi-2 at {REVISION}: is not whole in the local cache, and HF_HUB_OFFLINE is set"
    )


def test_another_revision_than_the_cached_one_is_not_taken_for_it(empty_cache):
    fill_cache(empty_cache, "microsoft/phi-2", "model", MODEL)
    assert "not whole in the local cache" in error_of(snapshot, "microsoft/phi-2", "b" * 40)


def test_an_id_that_cannot_be_one_is_refused():
    assert "expected NAMESPACE/NAME" in error_of(snapshot, "../../etc/passwd", REVISION)


def test_scripts_and_pickles_are_never_fetched(hub):
    hub.repos["model", "a/model"] = MODEL | HOSTILE
    folder = snapshot("a/model", REVISION, "model")
    assert hub.fetched == set(MODEL)
    assert (folder / "config.json").read_bytes() == b"config.json"
    snapshot("a/model", REVISION, "model", ["*"])
    assert hub.fetched == set(MODEL)


def test_what_was_fetched_once_needs_no_network(hub, monkeypatch):
    hub.repos["model", "a/model"] = MODEL
    folder = snapshot("a/model", REVISION)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot("a/model", REVISION) == folder
    (folder / "model.safetensors").unlink()
    assert "not whole in the local cache" in error_of(snapshot, "a/model", REVISION)


def test_a_gated_model_names_the_page_that_gives_access(hub):
    hub.repos["model", "meta-llama/Llama-3.2-1B"] = "GatedRepo"
    line = error_of(snapshot, "meta-llama/Llama-3.2-1B", REVISION)
    assert "meta-llama/Llama-3.2-1B" in line
    assert "is gated; ask for access on its page https://huggingface.co/meta-llama/Llama-3.2-1B" in line


def test_a_model_that_does_not_exist_is_named(hub):
    assert "hub model no/such" in error_of(snapshot, "no/such", REVISION)
    assert "has no such model" in error_of(snapshot, "no/such", REVISION)


def test_a_revision_that_does_not_exist_is_named(hub):
    hub.repos["dataset", "a/glue"] = GLUE
    line = error_of(snapshot, "a/glue", "b" * 40, "dataset")
    assert line == f"hub dataset a/glue at {'b' * 40}: the data set has no such revision, expected a commit of it"


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
    hub.repos["dataset", "a/glue"] = GLUE | HOSTILE | {"sst2/train-script.py": b"never"}
    assert len(dataset_rows("a/glue", "sst2", REVISION, "train")) == 3
    assert hub.fetched == {"README.md", "sst2/train-00000-of-00001.parquet"}


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
