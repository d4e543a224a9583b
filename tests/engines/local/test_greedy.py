"""Greedy is greedy, and no row's answer depends on the rows beside it, in layouts where both went wrong."""

import pytest
import torch
from transformers import GenerationConfig

from tests.tiny import SENTENCES, adapt_section, small_model
from tests.tiny_generator import BART, LAYOUTS, LIMIT, TOKENIZER, made
from tunediff.engines.local.batching import plan
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generate import generate
from tunediff.engines.local.greedy import batch_by
from tunediff.models.adapt import adapt_model

PROMPTS = [TOKENIZER(f"Read and answer. {text[: 4 + 5 * i]}").input_ids for i, text in enumerate(SENTENCES * 2)]
BART |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "max_position_embeddings": 128}
BART |= {"is_decoder": True, "is_encoder_decoder": False}


@torch.no_grad()
def by_hand(model, prompt, n):
    """The likeliest token at each place, one after the other, without a cache."""
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
        if tokens[-1] == TOKENIZER.eos_token_id:
            break
    return TOKENIZER.decode([token for token in tokens[len(prompt) :] if token != TOKENIZER.eos_token_id])


CHANGES = [
    {"repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 2},
    {"num_beams": 4, "num_return_sequences": 2},
    {"min_length": 60},
    {"min_new_tokens": 5},
    {"max_length": 20},
    {"forced_eos_token_id": 5},
    {"suppress_tokens": list(range(40, 200))},
    {"bad_words_ids": [[token] for token in range(40, 200)]},
    {"return_dict_in_generate": True, "output_scores": True},
    {"cache_implementation": "static"},
    {"cache_implementation": "quantized"},
    {"stop_strings": ["a", "e"]},
    {"prompt_lookup_num_tokens": 3},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"guidance_scale": 2.0},
    {"use_cache": False},
    {"do_sample": True, "temperature": 5.0},
    {"pad_token_id": -1},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_checkpoints_generation_config_changes_no_text(change):
    model = small_model("llama", TOKENIZER)
    expected = [by_hand(model, prompt, 6) for prompt in PROMPTS]
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    for key, value in change.items():
        setattr(model.generation_config, key, value)
    kept = model.generation_config.to_dict()
    assert [text for text, _ in generate(model, TOKENIZER, PROMPTS, 4096, 6, "test")] == expected
    assert model.generation_config.to_dict() == kept


def test_a_cache_that_the_layout_switches_off_is_on_and_an_adapter_writes_as_the_base_does():
    model = small_model("llama", TOKENIZER, use_cache=False)
    expected = [by_hand(model, prompt, 6) for prompt in PROMPTS]
    assert [text for text, _ in generate(model, TOKENIZER, PROMPTS, 4096, 6, "test")] == expected
    adapted = adapt_model(model, adapt_section("lora"), seed=0).eval()
    adapted.get_base_model().generation_config.repetition_penalty = 1.5
    assert [text for text, _ in generate(adapted, TOKENIZER, PROMPTS, 4096, 6, "test")] == expected


def test_an_end_marker_that_only_the_layout_names_ends_an_answer():
    model = small_model("llama", TOKENIZER)
    third = TOKENIZER(by_hand(model, PROMPTS[0], 3)).input_ids
    tokens = model.generate(torch.tensor(PROMPTS[:1]), max_new_tokens=3, do_sample=False)[0].tolist()
    model.config.eos_token_id = [2, tokens[-1]]
    [(_, reason)] = generate(model, TOKENIZER, PROMPTS[:1], 4096, 6, "test")
    assert third
    assert reason == "stop"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_batch_writes_what_each_prompt_gets_alone_and_by_hand(name, capsys):
    model = made(name)
    prompts = [*PROMPTS, PROMPTS[0], [*PROMPTS[2][:-1], 50], PROMPTS[-1] + PROMPTS[-2][1:]]
    found = generate(model, TOKENIZER, prompts, 4096, 6, "test")
    assert [text for text, _ in found] == [by_hand(model, prompt, 6) for prompt in prompts]
    slow = {"rwkv": "row", "bart": "length", "blenderbot": "length", "bigbird_pegasus": "length"}
    assert batch_by(model, 0) == slow.get(name, "any")
    assert (f"the layout {name} generates one" in capsys.readouterr().err) == (name in slow)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_batch_scores_what_each_prompt_gets_alone(name):
    model, choices = made(name), [[40, 41], [42], [43, 44, 45]]
    long = [PROMPTS[i] + PROMPTS[i - 1][1:] for i in (3, 5, 7)]
    prompts = [*PROMPTS, *long]
    if name in ("phi3", "llama"):
        assert {len(prompt) > LIMIT for prompt in prompts} == {True, False}
    found = score_choices(model, prompts, [choices] * len(prompts), 4096, "test")
    for prompt, row in zip(prompts, found, strict=True):
        for choice, score in zip(choices, row.tolist(), strict=True):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + choice[:-1]]), use_cache=False).logits[0]
            log_probs = logits[len(prompt) - 1 :].double().log_softmax(-1)
            expected = sum(log_probs[k, token].item() for k, token in enumerate(choice))
            assert score == pytest.approx(expected, abs=1e-4)


def test_rows_of_different_kinds_share_no_batch_and_others_still_do():
    rows = [[1] * n for n in (3, 9, 4, 9, 3)]
    assert plan(rows, 1000) == [[1, 3, 2, 0, 4]]
    assert plan(rows, 1000, [0, 1, 0, 1, 0]) == [[1, 3], [2, 0, 4]]
    assert plan(rows, 1000, [0, 1, 2, 3, 4]) == [[1], [3], [2], [0], [4]]
