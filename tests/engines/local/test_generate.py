"""Batched generation writes what the model writes for one prompt alone, and says why it stopped."""

import pytest
import torch

from tests.tiny import SENTENCES, small_model, small_tokenizer
from tunediff.engines.local.generate import generate
from tunediff.inputs.tokens import encode_text

TOKENIZER = small_tokenizer()
LIMIT = 6
# Prompts of many lengths, so that most rows of a batch are padded.
PROMPTS = [[1, *encode_text(TOKENIZER, text[: 3 + 4 * i])] for i, text in enumerate(SENTENCES * 2)]
# Behind it some answers end early and others do not, in each of the layouts.
SHARED = [1, 124, 306, 281, 69, 192, 312, 245, 300, 36]


def ending_model(name):
    """A model whose answers end early for some prompts and not for others."""
    model = small_model(name, TOKENIZER, tie_word_embeddings=False)
    with torch.no_grad():
        # The end marker looks like a mean of the likely tokens, so that it wins now and then.
        weights = model.get_output_embeddings().weight
        weights[2] = 0.9 * weights[[40, 90, 140, 190, 240, 290]].sum(0)
    return model


@torch.no_grad()
def one_by_one(model, prompts, limit=LIMIT):
    """What `model.generate` writes for each prompt alone, up to the end marker."""
    answers = []
    for prompt in prompts:
        tokens = model.generate(torch.tensor([prompt]), max_new_tokens=limit, do_sample=False, pad_token_id=0)[0]
        new = tokens[len(prompt) :].tolist()
        stopped = 2 in new
        answers.append((TOKENIZER.decode(new[: new.index(2)] if stopped else new), "stop" if stopped else "length"))
    return answers


@pytest.mark.parametrize("name", ["llama", "phi", "gpt_neox", "gpt2"])
@pytest.mark.parametrize("budget", [1, 60, 10_000])
@pytest.mark.parametrize(
    "beginning", [[], [1, 124, 306, 281, 69, 192, 312, 245, 300, 36]], ids=["nothing shared", "a shared beginning"]
)
def test_a_batch_writes_what_each_prompt_gets_alone(name, budget, beginning):
    model, prompts = ending_model(name), [beginning + prompt for prompt in PROMPTS]
    found = generate(model, TOKENIZER, prompts, budget, LIMIT, "test")
    assert found == one_by_one(model, prompts)
    assert {reason for _, reason in found} == {"stop", "length"}, "the test needs both"
    assert len({text for text, _ in found}) > 2


def test_an_answer_that_runs_into_the_limit_says_so_and_has_all_its_tokens():
    model = ending_model("llama")
    texts = {limit: generate(model, TOKENIZER, PROMPTS[:1], 100, limit, "test")[0] for limit in (1, 2)}
    assert [reason for _, reason in texts.values()] == ["length", "length"]
    assert texts[2][0].startswith(texts[1][0])
    assert len(texts[2][0]) > len(texts[1][0]) > 0


def test_an_end_marker_of_the_model_ends_the_answer_too():
    model = small_model("llama", TOKENIZER)
    [(text, reason)] = generate(model, TOKENIZER, PROMPTS[:1], 100, LIMIT, "test")
    assert reason == "length"
    # Chat models end their turn with a token that the tokenizer does not call its end.
    third = model.generate(torch.tensor(PROMPTS[:1]), max_new_tokens=3, do_sample=False)[0, -1].item()
    model.generation_config.eos_token_id = [2, third]
    [(shorter, reason)] = generate(model, TOKENIZER, PROMPTS[:1], 100, LIMIT, "test")
    assert reason == "stop"
    assert len(shorter) < len(text)
    assert text.startswith(shorter)


def test_an_answer_that_spells_a_special_token_keeps_it_as_text():
    model = small_model("phi", TOKENIZER)
    with torch.no_grad():
        model.lm_head.bias[1] = 100.0  # writes <s> and nothing else
    assert generate(model, TOKENIZER, PROMPTS[:2], 100, 2, "test") == [("<s><s>", "length")] * 2


@pytest.mark.parametrize("budget", [1, 10_000])
def test_an_answer_ends_before_the_text_that_ends_it(budget):
    model = ending_model("llama")
    whole = generate(model, TOKENIZER, PROMPTS, 10_000, LIMIT, "test")
    # A letter that the random model writes in some answers and not in others.
    letter = next(one for text, _ in whole for one in text[1:] if 0 < sum(one in other for other, _ in whole) < 8)
    found = generate(model, TOKENIZER, PROMPTS, budget, LIMIT, "test", stop=[letter])
    assert found == [(text.split(letter)[0], "stop" if letter in text else reason) for text, reason in whole]


@pytest.mark.parametrize("budget", [1, 10_000])
def test_a_text_that_ends_an_answer_and_begins_in_the_prompt_ends_nothing(budget):
    model = ending_model("llama")
    whole = generate(model, TOKENIZER, PROMPTS, 10_000, LIMIT, "test")
    prompts = [TOKENIZER.decode(prompt) for prompt in PROMPTS]
    stop = next(
        prompt[-1] + text[0]
        for prompt, (text, _) in zip(prompts, whole, strict=True)
        if text and not any(prompt[-1] + text[0] in other for other, _ in whole)
    )
    assert generate(model, TOKENIZER, PROMPTS, budget, LIMIT, "test", stop=[stop]) == whole
