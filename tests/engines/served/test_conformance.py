"""A server that does what it says is believed, and one that does not is refused with the cause, before any case."""

import re

import pytest

from tests.engines.served.served import engine_of, settings_for
from tests.stub_server import BASE, TUNED, Stub, serve
from tunediff.engines.served import client as http
from tunediff.runtime.errors import TunediffError

STEPS = {"echo": False, "ids": "listed"}


@pytest.mark.parametrize(
    ("stub", "way"),
    [
        ({}, "echo"),
        ({"ids": "listed"}, "echo"),
        ({"ids": False}, "echo"),
        ({"tokenize": False}, "echo of text"),
        ({"tokenize": False, "ids": False}, "echo of text"),
        (STEPS, "step by step"),
        ({"echo": False}, "step by step"),
        (STEPS | {"faults": ["bias ignored"]}, "step by step"),
    ],
)
def test_the_way_that_the_server_honours_is_found_and_its_answers_agree(stub, way):
    with serve(Stub(**stub)) as url:
        engine = engine_of(url)
        assert engine.environment() == {"engine": "server", "server": "stub 1.0", "scoring": way}
        found = engine.inspected()
        assert found["served"] == BASE
        for name in ("repeat_nats", "aligned_nats", "cut_nats"):
            assert found[name] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("stub", "line"),
    [
        ({"echo": False, "tokenize": False}, "ignores echo and has no /tokenize to score a choice step by step"),
        ({"echo": False, "ids": False}, "ignores echo and returns no ids of the likeliest tokens"),
        (
            {"faults": ["echo shifted"]},
            r"a generated token that differ by \d[\d.]* nats between generating and reading it \(echo\)",
        ),
        ({"tokenize": False, "faults": ["echo shifted"]}, r"nats between generating and reading it \(echo of text\)"),
        ({"faults": ["cut matters"]}, r"differ by \d[\d.]* nats"),
        (
            STEPS | {"faults": ["few told", "bias ignored"]},
            r"returns 3 of the 64 likeliest tokens .* is not among them",
        ),
        ({"faults": ["a number that is none"]}, "answered with NaN as a number, expected JSON"),
        ({"faults": ["positive"]}, r"found the log-probability \d[\d.]*, expected at most 0"),
        ({"faults": ["certain"]}, "where another has|log-probability"),
        ({"faults": ["penalty"]}, "at temperature 0 where another has .* without penalties"),
        ({"faults": ["sampled"]}, "for the same request at temperature 0|at temperature 0 where another has"),
        ({"faults": ["no JSON"]}, "Welcome to nginx!.*, expected JSON"),
    ],
)
def test_a_server_that_does_not_do_what_it_says_is_refused_with_the_cause(stub, line):
    with serve(Stub(**stub)) as url, pytest.raises(TunediffError) as caught:
        engine_of(url)
    [found] = caught.value.args
    assert re.search(line, found)
    assert found.startswith(url)
    assert "\n" not in found


def test_a_server_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    for fault in ("hangs", "drips"):
        with (
            serve(Stub(faults=[fault])) as url,
            pytest.raises(
                TunediffError, match=r"did not complete an answer within 0\.2 seconds \(engine\.timeout\), 2 times"
            ),
        ):
            engine_of(url, timeout=0.2)


def test_a_name_that_the_server_does_not_have_is_refused_with_those_that_it_has():
    with serve(Stub()) as url, pytest.raises(TunediffError, match=r"found no model bass, expected one of base, tuned$"):
        engine_of(url, model="bass")


def test_an_adapter_that_the_server_drops_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(f'{{"source": "server", "id": "{TUNED}", "url": null, "form": "server"}}')
    line = r"model tuned: answers like the base: \d+ log-probabilities differ by at most 0"
    with serve(Stub(faults=["adapter dropped"])) as url, pytest.raises(TunediffError, match=line):
        engine_of(url).tuned(tmp_path)
    with serve(Stub()) as url:
        assert engine_of(url).tuned(tmp_path).inspected()["served"] == TUNED


def test_of_two_chat_models_that_write_the_same_it_is_said(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text(f'{{"source": "server", "id": "{TUNED}", "url": null, "form": "server"}}')
    for faults, said in (["adapter dropped"], True), ([], False):
        with serve(Stub(faults=faults)) as url:
            engine_of(url, settings=settings_for(url, chat=True)).tuned(tmp_path)
        assert ("is it the tuned model?" in capsys.readouterr().err) is said


def test_without_a_way_to_score_a_server_is_still_asked_for_texts():
    with serve(Stub(echo=False, tokenize=False)) as url:
        settings = settings_for(url, scoring_method="generation")
        engine = engine_of(url, settings=settings)
        assert not engine.scores(settings.headline.prompt)
        assert "scoring" not in engine.environment()
