"""Cases that Ray deals out get the answers of one process; needs Ray (pip install '.[ray]')."""

import os
import re
import signal
import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import pandas as pd
import pytest

from tests.tiny import CASE_SET, CASES, engine_of, load, model_section, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.engines import open_engines
from tunediff.engines.case_sets import ask_sets
from tunediff.engines.dealt import DealtEngine
from tunediff.engines.engine import Engine
from tunediff.engines.journal import finished_batches
from tunediff.inputs.settings import HEADLINE, VALIDATION, PredictSettings
from tunediff.runtime.errors import TunediffError

# Two processes that start Ray at the same time wait for ever.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def ray():
    """Ray on this host; stopped when the tests of this file have run."""
    if find_spec("ray") is None:
        pytest.skip("needs Ray: pip install '.[ray]'")
    module = import_module("ray")
    yield module
    module.shutdown()


def settings_of(folder):
    return PredictSettings(
        model=model_section(folder),
        evaluate=Evaluate(scoring_method="choices", settings=["partial_input"], batch_tokens=64),
        sets={HEADLINE: CASE_SET, "further": CASE_SET},
    )


def answers(engine, settings):
    answered = list(ask_sets(engine, dict.fromkeys([HEADLINE, VALIDATION, "further"], CASES), settings, "test", 3))
    assert [(name, len(frame)) for name, frame in answered] == [
        (name, n) for name in (HEADLINE, "further") for n in (3, 3, 2)
    ]
    return pd.concat([frame for _, frame in answered], ignore_index=True)


@pytest.mark.pipeline
@pytest.mark.usefixtures("ray")
def test_two_workers_with_a_model_each_answer_as_one_process(tmp_path, tokenizer):
    folder = write_model(tmp_path / "model", "llama", tokenizer)
    alone, settings = engine_of(load(tmp_path / "base", folder), 64), settings_of(folder)
    dealt = open_engines(settings, tmp_path / "base", workers=2)
    with finished_batches(tmp_path / "scratch"):
        found = answers(dealt, settings)
    pd.testing.assert_frame_equal(found, answers(alone, settings))
    assert dealt.environment() == alone.environment()
    assert dealt.inspected() == alone.inspected()
    assert [path.name for path in sorted((tmp_path / "scratch/001").iterdir())] == [f"{n:06d}" for n in range(6)]


def table(fails):
    """What opens an engine that first calls `fails` when it is asked; no module has it, so it is pickled whole."""

    class Table(Engine):
        def loglikelihoods(self, prompts, continuations, title):
            fails()
            return [[-len(prompt) / len(text) for text in continuations] for prompt in prompts]

        def generate(self, prompts, stop, max_new_tokens, title):
            raise NotImplementedError

        def environment(self):
            return {"engine": "table"}

        def tuned(self, folder):
            return self

    return lambda settings, base: Table()


@pytest.mark.pipeline
@pytest.mark.usefixtures("ray")
def test_the_window_of_a_worker_that_was_killed_is_asked_again(tmp_path):
    mark, settings = tmp_path / "killed", settings_of(tmp_path)

    def fails():
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    found = answers(DealtEngine(2, table(fails), settings, tmp_path), settings)
    assert mark.exists()
    pd.testing.assert_frame_equal(found, answers(table(lambda: None)(settings, tmp_path), settings))


@pytest.mark.pipeline
@pytest.mark.usefixtures("ray")
def test_a_window_that_kills_each_worker_ends_in_a_line(tmp_path):
    settings = settings_of(tmp_path)
    dealt = DealtEngine(1, table(lambda: os.kill(os.getpid(), signal.SIGKILL)), settings, tmp_path)
    with pytest.raises(TunediffError, match=r"^evaluate.workers: a worker of Ray was lost 3 times: .*; run the same"):
        answers(dealt, settings)


@pytest.mark.pipeline
@pytest.mark.usefixtures("ray")
def test_bad_input_is_the_line_that_one_process_ends_with(tmp_path):
    def fails():
        raise TunediffError("case 1: found nothing", "case 2: found nothing")

    settings = settings_of(tmp_path)
    with pytest.raises(TunediffError) as caught:
        answers(DealtEngine(2, table(fails), settings, tmp_path), settings)
    assert caught.value.args == ("case 1: found nothing", "case 2: found nothing")


@pytest.mark.pipeline
@pytest.mark.usefixtures("ray")
def test_more_workers_than_there_is_room_for_are_refused(tmp_path):
    settings = settings_of(tmp_path)
    with pytest.raises(TunediffError, match=r"^evaluate.workers: found 1000, expected at most the \d+ "):
        answers(DealtEngine(1000, table(lambda: None), settings, tmp_path), settings)


def test_without_ray_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    settings = settings_of(tmp_path)
    with pytest.raises(
        TunediffError, match=r"^evaluate.workers: this needs Ray, .*: pip install '.\[ray\]' in the clone of tunediff$"
    ):
        answers(open_engines(settings, tmp_path, workers=2), settings)


@pytest.fixture
def ray_that_fails(monkeypatch):
    """A Ray that cannot be used; the addresses that it was given."""
    given = []

    def init(address, **_):
        given.append(address)
        raise ConnectionError("ray client\nconnection timeout")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    return given


def line_of(tmp_path):
    settings = settings_of(tmp_path)
    with pytest.raises(TunediffError) as caught:
        answers(open_engines(settings, tmp_path, workers=2), settings)
    return str(caught.value)


def test_a_ray_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch, ray_that_fails):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        line = line_of(tmp_path)
    expected = f"evaluate.workers: cannot connect to Ray at {address} (RAY_ADDRESS): ray client connection timeout"
    assert (line, ray_that_fails) == (expected, [address])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_at_which_nothing_listens_is_not_left_to_ray(tmp_path, monkeypatch, ray_that_fails, scheme):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"{scheme}127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    line = line_of(tmp_path)
    assert re.fullmatch(rf"evaluate.workers: cannot connect to Ray at {address} \(RAY_ADDRESS\): .* refused", line)
    assert not ray_that_fails


@pytest.mark.parametrize("address", [None, ""])
def test_without_an_address_a_ray_of_this_host_that_fails_is_one_line(tmp_path, monkeypatch, ray_that_fails, address):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    line = line_of(tmp_path)
    assert line == "evaluate.workers: cannot start Ray on this host: ray client connection timeout"
    # Not what an earlier `ray start` left in /tmp/ray.
    assert ray_that_fails == ["local"]
