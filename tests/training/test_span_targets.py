"""What a span head learns from: the places of the gold answer in every window, and the loss of transformers."""

import pytest
import torch

from tests.questions import CASES, LABELS, PARK, question
from tests.tiny import SENTENCES, load, small_bert_tokenizer, small_tokenizer, write_model
from tunediff.config.prompt import Prompt
from tunediff.data.cases import Answer, Case
from tunediff.engines.local.spans import NULL
from tunediff.training.span_targets import pad_spans, span_loss, span_rows

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
PROMPT = Prompt(max_tokens=48, doc_stride=8)


@pytest.fixture(scope="module", params=["bert", "llama"])
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    bert = request.param == "bert"
    write_model(folder / "model", request.param, BERT if bert else BPE, "none" if bert else "lm")
    return load(folder / "base", folder / "model", LABELS, head="span")


def rows_of(loaded, cases, prompt=PROMPT):
    return [row for rows in span_rows(loaded, cases, LABELS, prompt) for row in rows]


def answer_at(loaded, case, prompt=PROMPT):
    """The stretch of the context that each window's places stand for; None for the null place."""
    stretches = []
    for window, (start, end) in rows_of(loaded, [case], prompt):
        if (start, end) == (NULL, NULL):
            stretches.append(None)
        else:
            offsets = window.offsets[start - window.first], window.offsets[end - window.first]
            stretches.append(case.inputs["context"][offsets[0][0] : offsets[1][1]])
    return stretches


def test_the_places_are_those_of_the_first_gold_answer(loaded):
    for case in CASES:
        found = [stretch for stretch in answer_at(loaded, case) if stretch is not None]
        assert set(found) == ({case.answers[0].text} if case.answers else set())


def test_a_window_without_the_whole_answer_has_the_null_place(loaded):
    case = question(0, "What?", PARK, "A woman is reading a red book")
    whole = answer_at(loaded, case, Prompt(max_tokens=64, doc_stride=30))
    parts = answer_at(loaded, case, Prompt(max_tokens=20, doc_stride=3))
    assert "A woman is reading a red book" in answer_at(loaded, case, Prompt(max_tokens=200)) + whole
    if loaded.model.config.model_type == "llama":  # a byte-level tokenizer of a few words: the answer is too long
        assert set(parts) == {None}
    assert len(parts) > 3
    assert None in parts


def test_an_answer_within_a_word_takes_the_tokens_that_hold_it(loaded):
    [found] = set(answer_at(loaded, question(0, "What?", SENTENCES[0], "ark"))) - {None}
    assert found in ("ark", "park")


def test_white_space_around_an_answer_does_not_count(loaded):
    case = question(0, "What?", "Two dogs  are running.", " dogs  ")
    assert set(answer_at(loaded, case)) - {None} == {"dogs"}


def test_a_letter_of_several_tokens_is_an_answer():
    loaded = type("Loaded", (), {"tokenizer": BPE, "context": 64})
    case = question(0, "What?", "A ☂ b", "☂")
    [(window, (start, end))] = rows_of(loaded, [case])
    assert end - start == 2
    assert BPE.decode(window.tokens[start : end + 1]) == "☂"


def test_nothing_is_learned_from_an_answer_that_does_not_stand_in_its_context(loaded):
    inputs = {"question": "Who?", "context": SENTENCES[0]}
    nowhere = Case("a" * 16, inputs, "answerable", (), (Answer("A cat", None), Answer("A man", 5)))
    assert span_rows(loaded, [nowhere], LABELS, PROMPT) == [[]]
    second = Case("b" * 16, inputs, "answerable", (), (Answer("A cat", None), Answer("A man", 0)))
    assert answer_at(loaded, second) == ["A man"]


def test_the_loss_is_that_of_transformers_and_no_padding_is_in_it(loaded):
    rows = rows_of(loaded, CASES)
    alone = []
    for row in rows:
        batch = pad_spans([row], loaded.pad)
        loss = span_loss(loaded.model, batch)
        torch.testing.assert_close(loss.minimized / loss.targets, loaded.model(**batch).loss)
        assert torch.equal(loss.answers, loss.minimized)
        alone.append(loss.minimized)
    assert len({len(window.tokens) for window, _ in rows}) > 2
    together = span_loss(loaded.model, pad_spans(rows, loaded.pad))
    assert together.targets == len(rows)
    torch.testing.assert_close(together.minimized, torch.stack(alone).sum(), rtol=1e-4, atol=1e-4)
