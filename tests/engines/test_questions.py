"""Questions answered by a span head and in free text: one row of raw answers each, spans cut from the context."""

import numpy as np
import pandas as pd
import pytest

from tests.questions import CASE_SET, CASES, LABELS, PARK, question
from tests.tiny import engine_of, load, small_bert_tokenizer, small_tokenizer, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.answers import ANSWER_FILE_COLUMNS
from tunediff.engines.asking import ask_cases
from tunediff.engines.local import transformers_engine
from tunediff.engines.local.spans import Found, Span
from tunediff.engines.other_settings import other_settings
from tunediff.inputs.ask import Ask

WRITTEN = CASE_SET.model_copy(
    update={
        "prompt": Prompt(template="{context}\n{question}\nAnswer:"),
        "ask": Ask(answer="text", stop=["\n"]),
    }
)
V1 = CASE_SET.model_copy(update={"labels": LABELS[:1], "ask": Ask(answer="span")})
EVALUATE = Evaluate(scoring_method="head", max_answer_tokens=6, max_new_tokens=4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    write_model(folder / "model", "bert", small_bert_tokenizer(), "none")
    return load(folder / "base", folder / "model", LABELS, head="span")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = small_tokenizer()
    tokenizer.model_max_length = 200
    write_model(folder / "model", "llama", tokenizer, max_position_embeddings=200)
    return load(folder / "base", folder / "model")


def ask(loaded, case_set=CASE_SET, cases=CASES, batch_tokens=8192):
    return ask_cases(engine_of(loaded, batch_tokens), cases, case_set, EVALUATE, "test")


def check_rows(frame, cases=CASES):
    assert list(frame.columns) == list(ANSWER_FILE_COLUMNS)
    assert frame["case_id"].tolist() == [case.case_id for case in cases]


def test_an_answer_is_a_part_of_its_context_in_the_contexts_own_letters(reader):
    frame = ask(reader)
    check_rows(frame)
    for case, text in zip(CASES, frame["text"], strict=True):
        assert text
        assert text in case.inputs["context"]
    assert set(frame["finish_reason"]) == {"none"}
    assert set(frame["scorer"]) == {"head"}
    assert frame["n_tokens"].max() > 48 >= frame["n_tokens"].min()
    assert not frame["truncated"].any()


SPANS = [
    ("in the park", 2.0, 1.0),
    ("A woman is reading", 2.0, 1.0),
    ("A man", 2.0, 3.0),  # there being no answer is likelier
    ("book", 1.0, 2.0),
    ("Two dogs", 2.0, 2.0),
    ("ball", 5.0, -5.0),
    ("Nobody", 1.0, 0.0),
]


@pytest.mark.parametrize("case_set", [CASE_SET, V1])
def test_the_text_is_the_best_span_also_where_it_is_less_likely_than_none(case_set, reader, monkeypatch):
    made = [
        Found([Span(case.inputs["context"].index(text), case.inputs["context"].index(text) + len(text), score)], null)
        for case, (text, score, null) in zip(CASES, SPANS, strict=True)
    ]
    monkeypatch.setattr(transformers_engine, "find_spans", lambda *_: made)
    frame = ask(reader, case_set)
    check_rows(frame)
    assert frame["text"].tolist() == [text for text, _, _ in SPANS]
    if case_set is V1:  # every question has an answer, so that there is none is no candidate
        assert frame["log_probs"].tolist() == [None] * len(CASES)
        return
    for log_probs, (_, score, null) in zip(frame["log_probs"], SPANS, strict=True):
        assert np.exp(log_probs).sum() == pytest.approx(1)
        assert log_probs[0] - log_probs[1] == pytest.approx(score - null)


def test_what_is_written_is_one_line_without_probabilities(writer):
    frame = ask(writer, WRITTEN)
    check_rows(frame)
    assert not any("\n" in text for text in frame["text"])
    assert set(frame["finish_reason"]) <= {"stop", "length"}
    assert frame["log_probs"].tolist() == [None] * len(CASES)
    assert set(frame["scorer"]) == {"generation"}


@pytest.mark.parametrize("case_set", [CASE_SET, WRITTEN])
def test_the_order_of_the_cases_does_not_matter(case_set, reader, writer):
    loaded = reader if case_set is CASE_SET else writer
    order = [4, 0, 6, 2, 5, 1, 3]
    frame = ask(loaded, case_set, batch_tokens=300)
    shuffled = ask(loaded, case_set, [CASES[i] for i in order], batch_tokens=300)
    pd.testing.assert_frame_equal(frame.iloc[order].reset_index(drop=True), shuffled)


def test_a_reader_answers_again_at_another_batch_size(reader):
    evaluate = EVALUATE.model_copy(update={"noise_batch_tokens": 50})
    frame = ask(reader)
    columns = other_settings(frame, engine_of(reader, 1000), CASES, [], CASE_SET, evaluate, "test")
    assert columns["again_text"] == frame["text"].tolist()
    np.testing.assert_allclose(columns["again_log_probs"], frame["log_probs"].tolist(), atol=1e-5)


def test_a_long_document_is_read_to_its_end(reader):
    context = f"{PARK} " * 6 + "Two dogs are running after a ball."
    frame = ask(reader, cases=[question(9, "Who runs?", context, "Two dogs")])
    assert frame["n_tokens"][0] > 200
    assert not frame["truncated"][0]
