"""Questions answered by a span head and in free text: one prediction row each, the answer cut from the context."""

import numpy as np
import pandas as pd
import pytest

from tests.questions import CASES, LABELS, PARK, QUESTIONS, question
from tests.tiny import load, small_bert_tokenizer, small_tokenizer, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import ANSWER_COLUMNS, PREDICTION_COLUMNS, read_predictions, write_predictions
from tunediff.engines import asking as answers
from tunediff.engines.asking import predict_cases
from tunediff.engines.local.spans import Found, Span
from tunediff.engines.other_settings import answered_again

PROMPT = Prompt(max_tokens=48, doc_stride=8)
TEMPLATE = Prompt(template="{context}\n{question}\nAnswer:")
V1 = QUESTIONS.model_copy(update={"labels": LABELS[:1]})
GOLD = [[answer.text for answer in case.answers] for case in CASES]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    write_model(folder / "model", "bert", small_bert_tokenizer(), "none")
    return load(folder / "base", folder / "model", LABELS, head="span")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    tokenizer = small_tokenizer()
    write_model(folder / "model", "llama", tokenizer, max_position_embeddings=200)
    loaded = load(folder / "base", folder / "model")
    return type(loaded)(loaded.model, tokenizer, 200, loaded.pad)


def read(loaded, cases=CASES, task=QUESTIONS, **keys):
    return predict_cases(
        loaded, cases, task, PROMPT, Evaluate(scoring_method="head", max_answer_tokens=6, **keys), "test"
    )


def write(loaded, cases=CASES, task=QUESTIONS, **keys):
    evaluate = Evaluate(scoring_method="generation", max_new_tokens=4, **keys)
    return predict_cases(loaded, cases, task, TEMPLATE, evaluate, "test")


def check_rows(frame, cases=CASES):
    assert list(frame.columns) == [*PREDICTION_COLUMNS, *ANSWER_COLUMNS]
    assert frame["case_id"].tolist() == [case.case_id for case in cases]
    assert frame["label"].tolist() == [case.label for case in cases]
    assert frame["answers"].tolist() == [[answer.text for answer in case.answers] for case in cases]
    assert frame["f1"].between(0, 1).all()


def test_an_answer_is_a_part_of_its_context_in_the_contexts_own_letters(reader):
    frame = read(reader)
    check_rows(frame)
    for case, text, answer in zip(CASES, frame["text"], frame["prediction"], strict=True):
        assert text
        assert text in case.inputs["context"]
        assert answer in ("", text)
    assert set(frame["finish_reason"]) == {"none"}
    assert set(frame["scorer"]) == {"head"}
    assert frame["n_tokens"].max() > 48 >= frame["n_tokens"].min()
    assert not frame["truncated"].any()


def found(monkeypatch, *spans):
    """Let the head find what is given: of each case the text of its best span, its score and that of no answer."""
    made = [
        Found([Span(case.inputs["context"].index(text), case.inputs["context"].index(text) + len(text), score)], null)
        for case, (text, score, null) in zip(CASES, spans, strict=True)
    ]
    monkeypatch.setattr(answers, "find_spans", lambda *_: made)


SPANS = [
    ("in the park", 2.0, 1.0),  # the first gold answer
    ("A woman is reading", 2.0, 1.0),  # half of the words are too many
    ("A man", 2.0, 3.0),  # none is there, and none is said to be
    ("book", 1.0, 2.0),  # there is one, and none is said to be
    ("Two dogs", 2.0, 2.0),  # as likely as none: none
    ("ball", 5.0, -5.0),  # the second gold answer
    ("Nobody", 1.0, 0.0),  # none is there, and one is said to be
]


def test_there_is_an_answer_where_the_best_span_beats_the_null_score(reader, monkeypatch):
    found(monkeypatch, *SPANS)
    frame = read(reader)
    check_rows(frame)
    assert frame["prediction"].tolist() == ["in the park", "A woman is reading", "", "", "", "ball", "Nobody"]
    assert frame["text"].tolist() == [text for text, _, _ in SPANS]
    assert frame["outcome"].tolist() == ["right", "wrong", "right", "wrong", "wrong", "right", "wrong"]
    assert frame["f1"].tolist() == pytest.approx([1, 0.5, 1, 0, 0, 1, 0])
    for log_probs, (_, score, null) in zip(frame["log_probs"], SPANS, strict=True):
        assert np.exp(log_probs).sum() == pytest.approx(1)
        assert log_probs[0] - log_probs[1] == pytest.approx(score - null)


def test_where_every_question_has_an_answer_the_best_span_is_it(reader, monkeypatch):
    found(monkeypatch, *SPANS)
    answerable = [case for case in CASES if case.answers]
    monkeypatch.setattr(answers, "find_spans", lambda *_, real=answers.find_spans: [
        one for one, case in zip(real(), CASES, strict=True) if case.answers
    ])  # fmt: skip
    frame = read(reader, answerable, V1)
    assert frame["prediction"].tolist() == frame["text"].tolist() == [
        text for (text, _, _), case in zip(SPANS, CASES, strict=True) if case.answers
    ]  # fmt: skip
    assert frame["log_probs"].tolist() == [None] * len(answerable)


def test_what_is_written_is_parsed_to_the_end_of_the_line(writer, monkeypatch):
    written = [
        (" in the park", "stop"), (" a WOMAN.", "stop"), (" Unanswerable", "stop"), ("", "stop"),
        (" dogs", "length"), (" unanswerable", "stop"), (" Nobody", "stop"),
    ]  # fmt: skip
    asked = {}
    monkeypatch.setattr(answers, "generate", lambda *_, until: asked.update(until=until) or written)
    frame = write(writer)
    check_rows(frame)
    answered = [None if pd.isna(answer) else answer for answer in frame["prediction"]]
    assert answered == ["in the park", "a WOMAN.", "", None, "dogs", "", "Nobody"]
    assert frame["outcome"].tolist() == ["right", "right", "right", "invalid", "wrong", "wrong", "wrong"]
    assert frame["f1"].tolist() == pytest.approx([1, 1, 1, 0, 2 / 3, 0, 0])
    assert frame["log_probs"].tolist() == [None] * len(CASES)
    assert asked == {"until": "\n"}


def test_nothing_written_is_invalid_and_scores_nothing_where_there_is_no_answer(writer, monkeypatch):
    monkeypatch.setattr(answers, "generate", lambda *_, until: [("\n", "stop")])
    frame = write(writer, [CASES[2]])
    assert (frame["outcome"][0], frame["f1"][0]) == ("invalid", 0.0)


def test_what_is_written_is_one_line(writer):
    frame = write(writer)
    check_rows(frame)
    assert not any("\n" in text for text in frame["text"])
    assert set(frame["finish_reason"]) <= {"stop", "length"}


@pytest.mark.parametrize("ask", [read, write])
def test_the_order_of_the_cases_does_not_matter(ask, reader, writer):
    loaded = reader if ask is read else writer
    order = [4, 0, 6, 2, 5, 1, 3]
    frame = ask(loaded, batch_tokens=300)
    shuffled = ask(loaded, [CASES[i] for i in order], batch_tokens=300)
    pd.testing.assert_frame_equal(frame.iloc[order].reset_index(drop=True), shuffled)


def test_a_reader_answers_again_at_another_batch_size(reader):
    evaluate = Evaluate(scoring_method="head", max_answer_tokens=6, batch_tokens=1000, noise_batch_tokens=50)
    again = answered_again(reader, CASES, QUESTIONS, PROMPT, evaluate, "test")
    assert again == read(reader)["prediction"].tolist()


@pytest.mark.parametrize("ask", [read, write])
def test_rows_survive_their_file(ask, reader, writer, tmp_path):
    frame = ask(reader if ask is read else writer)
    write_predictions(tmp_path / "base.parquet", frame, {"labels": LABELS})
    back, _ = read_predictions(tmp_path / "base.parquet")
    assert [list(texts) for texts in back["answers"]] == GOLD
    assert back["f1"].tolist() == frame["f1"].tolist()
    answered = [None if pd.isna(answer) else answer for answer in frame["prediction"]]
    assert back["prediction"].tolist() == answered
    if ask is read:
        assert [list(row) for row in back["log_probs"]] == frame["log_probs"].tolist()


def test_a_long_document_is_read_to_its_end(reader):
    context = f"{PARK} " * 6 + "Two dogs are running after a ball."
    frame = read(reader, [question(9, "Who runs?", context, "Two dogs")])
    assert frame["n_tokens"][0] > 200
    assert not frame["truncated"][0]
