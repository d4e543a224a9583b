"""All that a prediction stage asks a model: answers that depend on the batch stop it, unusual joins are said once.

Many cases are asked a window at a time, with the answers of one window and in bounded memory.
"""

import tracemalloc
import weakref

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.tiny import (
    CASE_SET,
    CASES,
    CHOICES,
    LABELS,
    PROMPT,
    SENTENCES,
    asked_for,
    engine_of,
    load,
    model_section,
    write_model,
)
from tunediff.config.evaluate import Evaluate
from tunediff.data.answers import read_answers
from tunediff.data.cases import CaseFile, make_cases, windows, write_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.case_sets import add_answers, answer_folder, ask_sets, read_sets, write_sets
from tunediff.engines.engine import Engine, Generated
from tunediff.engines.journal import finished_batches
from tunediff.engines.local import choices
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import HEADLINE, VALIDATION, PredictSettings
from tunediff.pretraining.tokenizer import train_bpe
from tunediff.runtime.errors import TunediffError


class Moody(Engine):
    """Answers that are other ones where several cases are asked at once."""

    def __init__(self, off=0.0, text=""):
        self.off, self.text, self.calls = off, text, []

    def loglikelihoods(self, prompts, continuations, title):
        self.calls.append((title, len(prompts)))
        off = self.off if len(prompts) > 1 else 0.0
        return [[-1.0 - off, -2.0, -3.0] for _ in prompts]

    def generate(self, prompts, stop, max_new_tokens, title):
        self.calls.append((title, len(prompts)))
        return [Generated(f"yes{self.text if len(prompts) > 1 else ''}", "stop") for _ in prompts]

    def environment(self):
        return {"dtype": "float32"}

    def tuned(self, folder):
        return self


def ask(engine, case_set=CASE_SET, tmp="nowhere", **keys):
    settings = PredictSettings(
        model=model_section(tmp),
        evaluate=Evaluate(scoring_method="choices", **keys),
        sets={HEADLINE: case_set, "further": case_set},
    )
    return list(ask_sets(engine, dict.fromkeys([HEADLINE, VALIDATION, "further"], CASES), settings, "test"))


@pytest.mark.parametrize("answer", ["choices", "text"])
def test_log_probabilities_that_depend_on_the_batch_stop_the_stage(answer):
    ask(Moody(off=1e-4), asked_for(answer))
    with pytest.raises(TunediffError, match="test: evaluated alone, a case gets log-likelihoods that differ"):
        ask(Moody(off=0.1), asked_for(answer))


def test_texts_that_depend_on_the_batch_stop_the_stage():
    without = CASE_SET.model_copy(update={"ask": Ask(answer="text")})
    for case_set in (asked_for("text"), without):
        ask(Moody(), case_set)
        with pytest.raises(TunediffError, match="evaluated alone, 8 of 8 cases get a different text than in a batch"):
            ask(Moody(text=" indeed"), case_set)


def test_the_cases_of_the_headline_are_asked_alone_and_no_others():
    engine = Moody()
    ask(engine, settings=["partial_input"])
    alone = [title for title, n in engine.calls if n == 1]
    assert alone == ["test, alone"] * 8
    assert [title for title, n in engine.calls if n > 1] == ["test", "test, hypothesis alone", "test, further"]


def test_unusual_joins_are_said_once_a_stage(tmp_path, tokenizer, capsys):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    sentence = "the tokens of an answer differ from those that it has alone"
    ask(engine_of(loaded), noise_batch_tokens=64)
    assert sentence not in capsys.readouterr().out
    choices = dict(zip(LABELS, [text.strip() for text in CHOICES.values()], strict=True))
    prompt = PROMPT.model_copy(update={"template": f"{PROMPT.template} ", "choices": choices})
    case_set = CASE_SET.model_copy(
        update={"prompt": prompt, "ask": CASE_SET.ask.model_copy(update={"choices": choices})}
    )
    ask(engine_of(loaded), case_set, noise_batch_tokens=64, settings=["partial_input"])
    out = capsys.readouterr().out
    assert out.startswith(f"test: {sentence} in {len(CASES)} of {len(CASES)} cases")
    assert out.count(sentence) == 1


class Stop(BaseException):
    """Stands in for a kill."""


class Lengths(Engine):
    """Answers from the length of the prompt."""

    def __init__(self, seen=lambda prompts: None):
        self.seen = seen

    def loglikelihoods(self, prompts, continuations, title):
        self.seen(prompts)
        return [[-len(prompt) / (1 + len(text)) for text in continuations] for prompt in prompts]

    def generate(self, prompts, stop, max_new_tokens, title):
        self.seen(prompts)
        return [Generated(f" {len(prompt)}", "stop") for prompt in prompts]

    def environment(self):
        return {"dtype": "float32"}

    def tuned(self, folder):
        return self


EVERYTHING = {"settings": ["generation", "partial_input"], "noise_batch_tokens": 64, "few_shot": 2}


def asked(engine, folder, size, cases=CASES, **evaluate):
    """The file of answers to the headline that is written when `size` cases are asked about at a time."""
    folder.mkdir()
    write_cases(folder / "test.jsonl", cases)
    settings = PredictSettings(
        model=model_section("nowhere"),
        evaluate=Evaluate(scoring_method="choices", max_new_tokens=3, **evaluate),
        sets={HEADLINE: CASE_SET},
    )
    sets = read_sets(settings, folder, folder / "test.jsonl")
    with answer_folder(folder / "answers") as answers:
        answered = ask_sets(engine, sets, settings, "test", size)
        assert write_sets(answers, answered, settings, "base", engine.environment) == {HEADLINE: len(cases)}
        if evaluate:
            add_answers(answers, ask_sets(engine, sets, settings.with_head(1), "test", size), "seed")
    return folder / "answers/test.parquet"


@pytest.mark.parametrize("size", [3, len(CASES)])
def test_the_answers_of_some_windows_are_those_of_one(size, tmp_path):
    whole, some = (asked(Lengths(), tmp_path / f"{n}", n, **EVERYTHING) for n in (len(CASES) + 1, size))
    frame, about = read_answers(whole)
    assert {"few_shot_log_probs", "again_log_probs", "generated_text", "seed_text"} <= set(frame)
    pd.testing.assert_frame_equal(read_answers(some)[0], frame)
    assert read_answers(some)[1] == about
    rows = [pq.read_metadata(some).row_group(n).num_rows for n in range(-(-len(CASES) // size))]
    assert rows == ([3, 3, 2] if size == 3 else [8])
    # Cases that fit into one window are written as they always were.
    assert (whole.read_bytes() == some.read_bytes()) == (size > 3)


@pytest.mark.slow
def test_a_model_answers_windows_as_one_and_one_window_as_before(tmp_path):
    tokenizer = train_bpe(SENTENCES, 320, 256)
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer, max_position_embeddings=256))
    every = EVERYTHING | {"batch_tokens": 256}
    whole, some = (read_answers(asked(engine_of(loaded, 256), tmp_path / f"{n}", n, **every))[0] for n in (8, 3))
    numbers = [name for name in whole if name.endswith("log_probs")]
    assert len(numbers) == 5
    for name in numbers:
        np.testing.assert_allclose(some[name].tolist(), whole[name].tolist(), atol=1e-5)
    pd.testing.assert_frame_equal(some.drop(columns=numbers), whole.drop(columns=numbers))
    alone = ask_cases(engine_of(loaded, 256), CASES, CASE_SET, Evaluate(scoring_method="choices"), "test")
    assert list(map(list, whole["log_probs"])) == alone["log_probs"].tolist()


def test_a_run_that_was_stopped_in_its_last_window_asks_for_what_is_left(tmp_path, tokenizer, monkeypatch):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    real, batches, limits = choices._score_batch, [], [10**9]

    def counting(model, trees, prefix):
        if len(batches) == limits[-1]:
            raise Stop
        batches.append(len(trees))
        return real(model, trees, prefix)

    monkeypatch.setattr(choices, "_score_batch", counting)
    whole = read_answers(asked(engine_of(loaded, 64), tmp_path / "whole", 3))[0]
    limits.append(len(batches) - 1)
    batches.clear()
    with pytest.raises(Stop), finished_batches(tmp_path / "scratch"):
        asked(engine_of(loaded, 64), tmp_path / "stopped", 3)
    assert not list((tmp_path / "stopped").rglob("*.parquet"))
    batches.clear()
    with finished_batches(tmp_path / "scratch"):
        found = read_answers(asked(engine_of(loaded, 64), tmp_path / "resumed", 3))[0]
    assert len(batches) == 1
    pd.testing.assert_frame_equal(found, whole)


def test_the_texts_of_a_window_are_let_go_before_the_next_but_one(tmp_path):
    alive, most = set(), []

    def cases():
        for case in many:
            twin = make_cases([(case.inputs, case.label, ())])[0]
            alive.add(id(twin))
            weakref.finalize(twin, alive.discard, id(twin))
            yield twin

    class Again:
        def __iter__(self):
            return cases()

    many = make_cases(({"premise": f"{n} dogs", "hypothesis": "x"}, LABELS[n % 3], ()) for n in range(60))
    settings = PredictSettings(
        model=model_section("nowhere"), evaluate=Evaluate(scoring_method="choices"), sets={HEADLINE: CASE_SET}
    )
    engine = Lengths(lambda prompts: most.append(max(len(alive), len(prompts))))
    answered = ask_sets(engine, {HEADLINE: Again(), VALIDATION: []}, settings, "test", 5)
    assert sum(len(frame) for _, frame in answered) == 60
    assert max(most) <= 2 * 5


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    def peak(n):
        cases = make_cases(
            ({"premise": f"{i} {'word ' * 600}", "hypothesis": "x"}, LABELS[i % 3], ()) for i in range(n)
        )
        tracemalloc.start()
        asked(Lengths(), tmp_path / f"{n}", 30, cases)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # The texts of the larger one alone are 1.3 MB more.
    assert peak(600) - peak(150) < 300_000


def test_a_window_ends_where_its_texts_are_long():
    assert [len(some) for some in windows(CASES, 3)] == [3, 3, 2]
    texts = [sum(map(len, case.inputs.values())) for case in CASES]
    assert [len(some) for some in windows(CASES, 8, texts[0] + texts[1])] != [8]
    assert [len(some) for some in windows(CASES, 8, 1)] == [1] * 8
    assert list(windows([])) == [[]]


def test_a_file_of_cases_is_checked_before_the_first_one_is_asked(tmp_path):
    write_cases(tmp_path / "test.jsonl", CASES)
    cases = CaseFile(tmp_path / "test.jsonl", CASE_SET.inputs, LABELS)
    assert (list(cases), list(cases)) == (CASES, CASES)
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write('{"case_id": "x"}\n')
    with pytest.raises(TunediffError, match="row 9: premise: found None, expected text"):
        CaseFile(tmp_path / "test.jsonl", CASE_SET.inputs, LABELS)
