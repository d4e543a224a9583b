"""One row of raw answers per case, whatever is asked and whatever the model writes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.tiny import CASE_SET, CASES, CHOICES, LABELS, PROMPT, asked_for, engine_of, load, write_model
from tests.whole_files import write_answers
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.answers import ANSWER_FILE_COLUMNS, read_answers
from tunediff.engines import asking
from tunediff.engines.asking import ask_cases
from tunediff.engines.engine import Engine, Generated
from tunediff.engines.local.transformers_engine import TransformersEngine
from tunediff.inputs.ask import Ask
from tunediff.runtime.errors import TunediffError

HEAD = asked_for("labels", prompt=Prompt())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("lm")
    return load(folder / "base", write_model(folder / "model", "llama", tokenizer))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, bert_tokenizer):
    folder = tmp_path_factory.mktemp("classifier")
    return load(folder / "base", write_model(folder / "model", "bert", bert_tokenizer, "none"), head="classification")


def ask(loaded, case_set=CASE_SET, cases=CASES, batch_tokens=8192, **keys):
    evaluate = Evaluate(scoring_method="choices", **keys)
    return ask_cases(engine_of(loaded, batch_tokens), cases, case_set, evaluate, "test")


def check_rows(frame, cases=CASES):
    assert list(frame.columns) == list(ANSWER_FILE_COLUMNS)
    assert frame["case_id"].tolist() == [case.case_id for case in cases]
    probabilities = np.exp(np.array(frame["log_probs"].tolist()))
    assert probabilities.shape == (len(cases), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("scorer", ["choices", "head"])
def test_the_text_is_the_most_likely_choice_or_label(scorer, loaded, classifier):
    frame = ask(loaded) if scorer == "choices" else ask(classifier, HEAD)
    check_rows(frame)
    assert set(frame["finish_reason"]) == {"none"}
    assert set(frame["scorer"]) == {scorer}
    texts = [CHOICES[label] for label in LABELS] if scorer == "choices" else LABELS
    assert frame["text"].tolist() == [texts[int(np.argmax(row))] for row in frame["log_probs"]]
    assert frame["n_tokens"].between(5, 64).all()


def test_what_is_written_stands_as_it_is_beside_the_probabilities_of_the_choices(loaded, monkeypatch):
    written = [
        Generated(" yes", "stop"),
        Generated("yesterday", "length"),
        Generated("", "stop"),
        Generated(" No.", "stop"),
    ] * 2
    monkeypatch.setattr(TransformersEngine, "generate", lambda *_: written)
    frame = ask(loaded, asked_for("text"))
    check_rows(frame)
    assert list(zip(frame["text"], frame["finish_reason"], strict=True)) == written
    assert set(frame["scorer"]) == {"generation"}
    assert frame["log_probs"].tolist() == ask(loaded)["log_probs"].tolist()


@pytest.mark.parametrize("answer", ["choices", "text"])
def test_the_order_of_the_cases_does_not_matter(answer, loaded):
    order = [4, 0, 7, 2, 6, 1, 5, 3]
    frame = ask(loaded, asked_for(answer), batch_tokens=150)
    shuffled = ask(loaded, asked_for(answer), [CASES[i] for i in order], batch_tokens=150)
    pd.testing.assert_frame_equal(frame.iloc[order].reset_index(drop=True), shuffled)


def test_another_batch_size_changes_no_more_than_rounding(loaded):
    small, large = (ask(loaded, batch_tokens=budget) for budget in (1, 10_000))
    np.testing.assert_allclose(small["log_probs"].tolist(), large["log_probs"].tolist(), rtol=1e-5, atol=1e-5)
    columns = [name for name in ANSWER_FILE_COLUMNS if name != "log_probs"]
    pd.testing.assert_frame_equal(small[columns], large[columns])


def test_cases_that_are_read_in_several_parts_get_the_answers_that_they_get_at_once(loaded, monkeypatch):
    whole = ask(loaded)
    monkeypatch.setattr(asking, "ROWS", 3)
    parts = ask(loaded)
    check_rows(parts)
    pd.testing.assert_frame_equal(parts.drop(columns="log_probs"), whole.drop(columns="log_probs"))
    np.testing.assert_allclose(parts["log_probs"].tolist(), whole["log_probs"].tolist(), atol=1e-5)


def test_each_prompt_is_tokenised_once(loaded, monkeypatch):
    counted = []
    real = type(loaded.tokenizer).__call__
    monkeypatch.setattr(
        type(loaded.tokenizer),
        "__call__",
        lambda self, text, *a, **k: counted.append(text) or real(self, text, *a, **k),
    )
    ask(loaded, asked_for("text"))
    assert sum(len(texts) for texts in counted if isinstance(texts, list) and texts[0].endswith("True?")) == len(CASES)


def test_rows_survive_their_file(loaded, tmp_path):
    frame = ask(loaded, asked_for("text"))
    write_answers(tmp_path / "test.parquet", frame.assign(own=1), {"labels": LABELS})
    read, about = read_answers(tmp_path / "test.parquet")
    assert about == {"labels": LABELS}
    assert [list(row) for row in read["log_probs"]] == frame["log_probs"].tolist()
    for name in set(ANSWER_FILE_COLUMNS) - {"log_probs"}:
        assert read[name].tolist() == frame[name].tolist()
    assert "own" not in read


def test_room_is_kept_for_the_answer(loaded):
    longest = max(len(case.inputs["premise"]) for case in CASES)
    assert longest < 64
    with pytest.raises(TunediffError, match="minus 40 for the answer"):
        ask(loaded, asked_for("text"), max_new_tokens=40)
    shortened = asked_for("text", prompt=PROMPT.model_copy(update={"too_long": "truncate"}))
    cut = ask(loaded, shortened, max_new_tokens=40)
    assert cut["n_tokens"].max() == 24
    assert cut["truncated"].any()
    assert not ask(loaded)["truncated"].any()


@pytest.mark.parametrize("answer", ["labels", "span"])
def test_an_engine_without_heads_is_refused_in_a_line(answer, loaded, monkeypatch):
    for name in ("label_log_probs", "spans"):
        monkeypatch.delattr(TransformersEngine, name)
    with pytest.raises(TunediffError, match=r"engine\.kind: found TransformersEngine, which has no head"):
        ask(loaded, asked_for(answer))


OPTIONS = [("yes", "maybe so, or not"), ("a red book", "two dogs"), ("no", "no dog is running")]
OPTION_SET = CASE_SET.model_copy(
    update={
        "prompt": Prompt(template="{premise}\n{hypothesis}\nTrue?"),
        "labels": ["A", "B"],
        "ask": Ask(answer="options", names=["A", "B"], unconditional=True),
    }
)


def test_options_of_a_case_are_scored_as_a_row_of_their_own_would_be(loaded):
    cases = [replace(case, label="A", options=OPTIONS[number % len(OPTIONS)]) for number, case in enumerate(CASES)]
    frame = ask(loaded, OPTION_SET, cases)
    assert set(frame["scorer"]) == {"choices"}
    assert frame["prompt_hash"].nunique() == len(cases)

    def likelihood(read, text):
        """Of the tokens of a text behind those that are read: one row, no batch."""
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([read + text])).logits[0].double().log_softmax(-1)
        return sum(float(logits[len(read) + at - 1, token]) for at, token in enumerate(text))

    for case, row in zip(cases, frame.itertuples(), strict=True):
        prompt = f"{case.inputs['premise']}\n{case.inputs['hypothesis']}\nTrue?"
        read = loaded.tokenizer(prompt).input_ids
        for at, option in enumerate(case.options):
            text = loaded.tokenizer(f"{prompt} {option}").input_ids[len(read) :]
            assert row.sum_log_probs[at] == pytest.approx(likelihood(read, text), abs=1e-4)
            assert row.token_log_probs[at] == pytest.approx(row.sum_log_probs[at] / len(text))
            alone = loaded.tokenizer(f" {option}", add_special_tokens=False).input_ids
            start = [loaded.tokenizer.bos_token_id or loaded.tokenizer.eos_token_id]
            assert row.unconditional_log_probs[at] == pytest.approx(likelihood(start, alone), abs=1e-4)
        assert row.text == case.options[int(np.argmax(row.sum_log_probs))]


def test_an_engine_that_scores_texts_alone_scores_options_too(loaded):
    engine = engine_of(loaded)
    prompts, options = (
        ["A man is feeding two dogs.", "Nobody is sleeping:"],
        [[" yes", " two dogs"], [" no", " a ball"]],
    )
    ours, plain = engine.option_scores(prompts, options, "test"), Engine.option_scores(engine, prompts, options, "test")
    for row, other in zip(ours, plain, strict=True):
        assert [one.n_tokens for one in row] == [one.n_tokens for one in other]
        assert [one.log_likelihood for one in row] == pytest.approx([one.log_likelihood for one in other], abs=1e-4)
