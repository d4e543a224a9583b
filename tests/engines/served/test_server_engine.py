"""What a server is asked about cases, and what of its answers is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engines.served.served import CASES, engine_of, settings_for
from tests.stub_server import BASE, PIECES, TUNED, Stub, likelihood, serve, tokens
from tests.tiny import CHOICES, LABELS
from tunediff.engines.asking import ask_cases
from tunediff.engines.case_sets import ask_sets
from tunediff.engines.journal import finished_batches
from tunediff.inputs.prompts import render
from tunediff.runtime.errors import TunediffError

TEXTS = list(CHOICES.values())
WAYS = [{}, {"tokenize": False}, {"echo": False, "ids": "listed"}]


@pytest.fixture(scope="module", params=WAYS, ids=["echo", "echo of text", "step by step"])
def engine(request):
    with serve(Stub(**request.param)) as url:
        yield engine_of(url)


def asked(engine, settings, cases=CASES, title="base"):
    return ask_cases(engine, cases, settings.headline, settings.evaluate, title)


# Choices


def test_the_likelihood_of_a_choice_is_that_of_its_tokens_behind_the_prompt(engine):
    prompts = ["A dog sleeps in the park.\nAnswer:", "There is no zebra.\nAnswer:"]
    found = engine.loglikelihoods(prompts, TEXTS, "base")
    expected = [[likelihood(BASE, prompt, text) for text in TEXTS] for prompt in prompts]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_where_prompt_and_choice_melt_both_are_scored_from_the_last_token_in_common(engine):
    prompt, texts = "Is there a dog? Answer: ", ["yes", "no"]
    assert tokens(prompt + "yes")[: len(tokens(prompt))] != tokens(prompt)
    [found] = engine.loglikelihoods([prompt], texts, "base")
    np.testing.assert_allclose(found, [likelihood(BASE, prompt, text) for text in texts], atol=1e-9)


@given(
    st.lists(st.sampled_from([*PIECES, "x", " ", "\n", "é"]), min_size=1, max_size=8).map("".join),
    st.lists(st.sampled_from([*PIECES, "z", "1"]), min_size=1, max_size=3).map("".join),
)
def test_any_prompt_and_choice_are_scored_as_one_text(engine, prompt, text):
    # Two choices have to part where the first one ends; the second only moves the boundary where it melts as well.
    texts = [text, "!"]
    first, *wholes = tokens(prompt), *(tokens(prompt + one) for one in texts)
    end = min(
        next((i for i, (a, b) in enumerate(zip(first, one, strict=False)) if a != b), len(first)) for one in wholes
    )
    if end == 0:
        return
    [found] = engine.loglikelihoods([prompt], texts, "base")
    expected = [likelihood(BASE, _spelled(one[:end]), _rest(one, end)) for one in wholes]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def _spelled(ids):
    from tests.stub_server import spelled

    return spelled(ids)


def _rest(ids, end):
    return _spelled(ids[end:])


def test_the_answers_are_rows_as_of_any_engine(engine):
    settings = settings_for("http://localhost/v1")
    frame = asked(engine, settings)
    assert frame["case_id"].tolist() == [case.case_id for case in CASES]
    np.testing.assert_allclose(np.exp(frame["log_probs"].tolist()).sum(1), 1)
    prompts = [render(settings.headline.prompt.template, case.inputs) for case in CASES]
    best = [TEXTS[int(np.argmax([likelihood(BASE, prompt, text) for text in TEXTS]))] for prompt in prompts]
    assert frame["text"].tolist() == best


def test_the_options_of_a_case_are_scored_with_their_tokens(engine):
    prompts, options = (
        ["A dog is in the park.", "There is no zebra."],
        [[" The dog sleeps", " no"], [" yes", " maybe so"]],
    )
    found = engine.option_scores(prompts, options, "base")
    for prompt, texts, row in zip(prompts, options, found, strict=True):
        np.testing.assert_allclose(
            [one.log_likelihood for one in row], [likelihood(BASE, prompt, text) for text in texts]
        )
        assert [one.n_tokens for one in row] == [len(tokens(prompt + text)) - len(tokens(prompt)) for text in texts]


def test_an_option_without_a_prompt_stands_behind_the_bos_of_the_server_or_is_refused(engine, monkeypatch):
    texts = [" yes", " maybe so"]
    with pytest.raises(TunediffError, match=r"unconditional, but .* reports no BOS token"):
        engine.unconditional(texts, "base")
    if engine._tokens is None:
        return
    [bos] = tokens("!")
    monkeypatch.setattr(engine._tokens, "start", [bos])
    monkeypatch.setattr(engine._tokens, "bos_token_id", bos)
    expected = [likelihood(BASE, "!", text) for text in texts]
    np.testing.assert_allclose(engine.unconditional(texts, "base"), expected, atol=1e-9)


def test_a_choice_that_begins_another_is_refused_as_by_any_engine(engine):
    with pytest.raises(
        TunediffError, match=r"prompt\.choices: ' no' is a prefix of ' no no', so it would always be at least as likely"
    ):
        engine.loglikelihoods(["Is it? Answer:"], [" no", " no no"], "base")


# Texts


def test_a_text_ends_at_a_stop_text_or_the_limit(engine):
    [one, two] = engine.generate(["The dog", "A zebra"], ["\n"], 4, "base")
    assert {one.finish_reason, two.finish_reason} <= {"stop", "length"}
    assert engine.generate(["The dog"], [], 4, "base")[0] == one
    if len(one.text) > 1:
        [cut] = engine.generate(["The dog"], [one.text[1]], 4, "base")
        assert cut == (one.text[: one.text.index(one.text[1])], "stop")


def test_messages_go_to_chat_completions_and_their_answers_have_no_probabilities():
    stub = Stub()
    with serve(stub) as url:
        settings = settings_for(url, chat=True)
        frame = asked(engine_of(url, settings), settings)
    assert frame["log_probs"].isna().all()
    assert set(frame["scorer"]) == {"generation"}
    [body] = [one for one in stub.bodies if CASES[0].inputs["premise"] in json.dumps(one)]
    [message] = body["messages"]
    assert message == {"role": "user", "content": render("{premise}\n{hypothesis}\nAnswer:", CASES[0].inputs)}
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0, 6, ["\n"])


def test_a_server_that_refuses_values_for_its_template_is_given_none():
    stub = Stub(faults=["no values"])
    with serve(stub) as url:
        settings = settings_for(url, chat=True)
        engine = engine_of(url, settings)
        asked(engine, settings)
    assert "chat_template_kwargs" not in stub.bodies[-1]


def test_a_server_that_cannot_score_gives_texts_alone():
    with serve(Stub(echo=False, tokenize=False)) as url:
        settings = settings_for(url, scoring_method="generation")
        frame = asked(engine_of(url, settings), settings)
    assert frame["log_probs"].isna().all()
    assert frame["text"].notna().all()


# Requests


def test_never_more_requests_wait_than_are_allowed():
    stub = Stub(pause=0.01)
    with serve(stub) as url:
        engine = engine_of(url, num_concurrent=3)
        engine.loglikelihoods([f"{i} Answer:" for i in range(12)], TEXTS, "base")
    assert 2 <= stub.most_at_once <= 3


def test_a_run_that_was_stopped_asks_for_what_is_left(tmp_path):
    stub, prompts = Stub(), [f"{i} dogs. Answer:" for i in range(6)]
    with serve(stub) as url:
        engine, seen = engine_of(url, num_concurrent=1), len(stub.bodies)
        with finished_batches(tmp_path):
            whole = engine.loglikelihoods(prompts, TEXTS, "base")
        each = (len(stub.bodies) - seen) // len(prompts)
        lines = (tmp_path / "001-0.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "001-0.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:5])
        seen = len(stub.bodies)
        with finished_batches(tmp_path):
            assert engine.loglikelihoods(prompts, TEXTS, "base") == whole
        assert len(stub.bodies) - seen == 2 * each


def test_what_was_answered_before_an_error_is_kept(tmp_path):
    prompts = [f"{i} dogs. Answer:" for i in range(6)]
    stub = Stub()
    with serve(stub) as url:
        engine = engine_of(url, num_concurrent=1)
        real = stub.complete
        stub.complete = lambda body: real(body) if tokens("4 dogs") != body["prompt"][:3] else {"choices": []}
        with (
            finished_batches(tmp_path),
            pytest.raises(TunediffError, match=r"found the response .*, expected one answer in choices"),
        ):
            engine.loglikelihoods(prompts, TEXTS, "base")
    assert len((tmp_path / "001-0.jsonl").read_text().splitlines()) == 4


def test_both_models_of_one_server_are_asked_by_name(tmp_path):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"source": "server", "id": TUNED, "url": None, "form": "server"})
    )
    prompt = "A dog sleeps. Answer:"
    with serve(Stub()) as url:
        base = engine_of(url)
        tuned = base.tuned(tmp_path)
        for engine, name in ((base, BASE), (tuned, TUNED)):
            [found] = engine.loglikelihoods([prompt], TEXTS, name)
            np.testing.assert_allclose(found, [likelihood(name, prompt, text) for text in TEXTS], atol=1e-9)


def test_a_tuned_model_of_another_kind_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"source": "train", "form": "adapter"}')
    with serve(Stub()) as url, pytest.raises(TunediffError, match="expected a model on a server; run dvc repro"):
        engine_of(url).tuned(tmp_path)


def test_the_standing_checks_of_a_prediction_are_made_of_a_server_too():
    with serve(Stub()) as url:
        settings = settings_for(url)
        frames = dict(ask_sets(engine_of(url, settings), {"test": CASES, "validation": []}, settings, "base"))
    assert len(frames["test"]) == len(CASES)
    assert set(LABELS) == {case.label for case in CASES}


def test_a_prompt_that_is_longer_than_the_server_reads_is_refused():
    case = CASES[0]
    long = [replace(case, inputs={**case.inputs, "premise": "x" * 600})]
    line = r"tokens, the longest of 1 too long cases among 1, expected at most 5\d\d"
    with serve(Stub()) as url, pytest.raises(TunediffError, match=line):
        asked(engine_of(url), settings_for(url), long)
