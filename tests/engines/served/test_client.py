"""Requests that are patient with a busy server, and in which no key is seen."""

import re
import threading
import time

import pytest

from tests.engines.served.served import engine_of
from tests.stub_server import Stub, serve
from tunediff.engines.served import client as http
from tunediff.engines.served.client import Client, RefusedError
from tunediff.runtime.errors import TunediffError

BODY = {"model": "base", "prompt": "A dog", "max_tokens": 1}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT", 0.001)


@pytest.mark.parametrize("failure", [429, 500, 502, 503, "lost"])
def test_a_server_that_is_busy_or_loses_the_connection_is_asked_again(failure):
    stub = Stub(fail=3, failure=failure)
    with serve(stub) as url:
        assert Client(url, None, 5).post("/completions", BODY)["choices"]
    assert stub.asked["/v1/completions"] == 4


@pytest.mark.parametrize(("failure", "words"), [(503, "answered 503: 'busy'"), ("lost", "cannot be reached: ")])
def test_a_server_that_stays_so_is_given_up_in_a_line(failure, words):
    stub = Stub(fail=100, failure=failure)
    with serve(stub) as url, pytest.raises(TunediffError, match=f"{re.escape(words)}.*, 7 times$"):
        Client(url, None, 5).post("/completions", BODY)
    assert stub.asked["/v1/completions"] == http.TRIES


def test_what_a_server_refuses_is_not_asked_again():
    stub = Stub(fail=100, failure=400)
    with serve(stub) as url, pytest.raises(RefusedError, match=r"/v1/completions: answered 400: 'busy'$"):
        Client(url, None, 5).post("/completions", BODY)
    assert stub.asked["/v1/completions"] == 1


def test_an_address_where_nobody_listens_is_a_line():
    with serve(Stub()) as url:
        pass
    with pytest.raises(TunediffError, match=f"^{url}/models: cannot be reached: Connection refused, 2 times$"):
        engine_of(url)
    with pytest.raises(TunediffError, match="the host name cannot be resolved"):
        Client("http://nowhere.invalid/v1", None, 1).get("/models", tries=1)


def test_a_redirect_is_not_followed():
    stub = Stub(fail=100, failure=307)
    with serve(stub) as url, pytest.raises(RefusedError, match="answered 307"):
        Client(url, "secret-key", 5).post("/completions", BODY)


def test_one_that_is_told_to_wait_holds_up_the_others(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT", 0.3)
    stub = Stub(fail=1, failure="lost")
    with serve(stub) as url:
        client = Client(url, None, 5)
        first = threading.Thread(target=client.post, args=("/completions", BODY))
        start = time.monotonic()
        first.start()
        while stub.fail:
            time.sleep(0.005)
        time.sleep(0.05)
        client.post("/completions", BODY)
        assert time.monotonic() - start > 0.3
        first.join()


def test_a_request_that_is_at_work_ends_when_the_client_is_stopped():
    with serve(Stub(faults=["hangs"])) as url:
        client, caught = Client(url, None, 60), []

        def ask():
            try:
                client.post("/completions", BODY)
            except TunediffError as error:
                caught.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.1)
        start = time.monotonic()
        client.stop()
        thread.join()
        assert time.monotonic() - start < 0.7
        assert "cannot be reached" in caught[0]


# Keys


def test_the_key_comes_from_the_environment_and_is_in_no_error_and_no_file(monkeypatch, tmp_path):
    key = "sk-0123456789abcdef"
    monkeypatch.setenv("MY_KEY", f"{key}\n")
    with serve(Stub(key=key)) as url:
        engine = engine_of(url, api_key_env="MY_KEY")
        assert key not in repr([engine.environment(), engine.inspected(), engine._settings.model_dump()])
    with serve(Stub(key="another")) as url, pytest.raises(TunediffError) as caught:
        engine_of(url, api_key_env="MY_KEY")  # pragma: allowlist secret
    assert "answered 401: 'Incorrect API key provided: Bearer ***'" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is not set"), ("  ", "is not set"), ("a\x07b", "does not hold a valid key")]
)
def test_a_variable_without_a_key_is_named_and_not_shown(value, words, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(TunediffError, match=rf"engine\.api_key_env: the environment variable MY_KEY {words}$"):
        engine_of("http://127.0.0.1:1/v1", api_key_env="MY_KEY")  # pragma: allowlist secret
