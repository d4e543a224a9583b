"""The tree gives what one row a choice gives, computed here in the plainest way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import adapt_section, load, small_model, small_tokenizer, write_model
from tunediff.models.adapt import adapt_model
from tunediff.models.logits import PLAIN_LAYOUTS
from tunediff.models.prefix import WORTH_SHARING
from tunediff.predict.choices import score_choices

TOKENIZER = small_tokenizer()
# No special token: the embedding of the padding is zero, and a norm makes noise of zero.
TOKENS = st.integers(3, len(TOKENIZER) - 1)
PROMPTS = st.lists(st.lists(TOKENS, min_size=1, max_size=14), min_size=1, max_size=4)
CHOICES = st.lists(st.lists(TOKENS, min_size=1, max_size=5), min_size=1, max_size=4)
# Llama and Qwen2 with grouped queries, Phi and GPT-NeoX with rotary positions on a part of each head.
TREES = ["llama", "phi", "qwen2", "gpt_neox"]
# Learned positions; capped logits; a window that the tree's mask would lift.
OTHERS = ["gpt2", "gemma2", "mistral"]
MODELS = {name: small_model(name, TOKENIZER) for name in TREES + OTHERS}


@torch.no_grad()
def naive(model, prompts, choices):
    """One forward pass a prompt and choice, log-softmax over the whole vocabulary at every place."""
    table = torch.zeros(len(prompts), len(choices), dtype=torch.float64)
    for i, prompt in enumerate(prompts):
        for j, choice in enumerate(choices):
            log_probs = model(torch.tensor([prompt + choice])).logits[0].double().log_softmax(-1)
            table[i, j] = sum(log_probs[len(prompt) - 1 + k, token] for k, token in enumerate(choice))
    return table


def check(model, prompts, choices, budget):
    found = score_choices(model, prompts, choices, budget, "test")
    expected = naive(model, prompts, choices)
    assert found.shape == expected.shape
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TREES + OTHERS)
@settings(deadline=None, max_examples=25)
@given(
    beginning=st.lists(TOKENS, max_size=2 * WORTH_SHARING), prompts=PROMPTS, choices=CHOICES, budget=st.integers(1, 120)
)
def test_scores_equal_one_row_a_choice(name, beginning, prompts, choices, budget):
    check(MODELS[name], [beginning + prompt for prompt in prompts], choices, budget)


def test_the_layouts_above_take_both_ways():
    assert set(TREES) < PLAIN_LAYOUTS
    assert not {"gpt2", "gemma2"} & PLAIN_LAYOUTS
    assert MODELS["mistral"].config.sliding_window == 8


def test_a_row_within_the_sliding_window_is_a_tree_and_right():
    check(MODELS["mistral"], [[1, 9, 4], [1, 8]], [[5, 6], [7, 8], [9]], 100)


PROMPTS_OF_ONE_KIND = [[1, 30 + i, 7, 100 + i, 5][: 2 + i % 4] for i in range(9)]
THREE = [[40, 41], [42], [40, 43, 44]]


@pytest.mark.parametrize("budget", [1, 30, 10_000])
def test_the_order_of_the_cases_does_not_matter(budget):
    order = [4, 0, 8, 2, 6, 1, 7, 3, 5]
    scores = score_choices(MODELS["llama"], PROMPTS_OF_ONE_KIND, THREE, budget, "test")
    shuffled = score_choices(MODELS["llama"], [PROMPTS_OF_ONE_KIND[i] for i in order], THREE, budget, "test")
    assert torch.equal(scores[order], shuffled)


def test_all_choices_of_a_batch_cost_one_pass():
    widths = []
    decoder = MODELS["llama"].get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda module, args, inputs: widths.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    try:
        score_choices(MODELS["llama"], [[1, 5, 6], [1, 7]], THREE, 10_000, "test")
        score_choices(MODELS["llama"], [[1, 5, 6], [1, 7]], [[40], [41], [42]], 10_000, "test")
    finally:
        hook.remove()
    # A choice's last token is never fed: the longest row is 3 + 1 + 0 + 2 tokens, and 3 with choices of one token.
    assert widths == [(2, 6), (2, 3)]


@pytest.mark.parametrize("name", TREES)
def test_what_all_prompts_begin_with_is_read_once(name):
    beginning = list(range(10, 10 + WORTH_SHARING))
    read = []
    hook = (
        MODELS[name]
        .get_decoder()
        .register_forward_pre_hook(
            lambda module, args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
        )
    )
    try:
        score_choices(MODELS[name], [[*beginning, 5, 6], [*beginning, 7, 9]], [[40], [41]], 12, "test")
    finally:
        hook.remove()
    assert read == [WORTH_SHARING, 2, 2]


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]])
def test_scores_are_those_of_the_adapter(targets):
    model = small_model("llama", TOKENIZER)
    before = score_choices(model, PROMPTS_OF_ONE_KIND, THREE, 100, "test")
    tuned = adapt_model(model, adapt_section("lora", target_modules=targets), seed=0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:  # zero at first, so that an adapter changes nothing
                weight.normal_(0, 0.3)
    check(tuned, PROMPTS_OF_ONE_KIND, THREE, 100)
    after = score_choices(tuned, PROMPTS_OF_ONE_KIND, THREE, 100, "test")
    assert (after - before).abs().min() > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_scores_of_a_4_bit_model_equal_one_row_a_choice(name, tmp_path):
    folder = write_model(tmp_path / "model", name, TOKENIZER)
    plain, quantised = (load(tmp_path / key, folder, quantization=key).model for key in ("none", "nf4"))
    check(quantised, PROMPTS_OF_ONE_KIND, THREE, 100)
    difference = naive(plain, PROMPTS_OF_ONE_KIND, THREE) - naive(quantised, PROMPTS_OF_ONE_KIND, THREE)
    assert difference.abs().max() > 1e-3, "the weights are not 4-bit"
