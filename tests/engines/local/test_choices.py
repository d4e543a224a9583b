"""The tree gives what one row a choice gives, computed here in the plainest way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import adapt_section, load, small_model, small_tokenizer, write_model
from tunediff.engines.local.choices import LONGEST_ROW, score_choices
from tunediff.models.adapt import adapt_model
from tunediff.models.logits import PLAIN_LAYOUTS
from tunediff.models.prefix import WORTH_SHARING

TOKENIZER = small_tokenizer()
# No special token: the embedding of the padding is zero, and a norm makes noise of zero.
TOKENS = st.integers(3, len(TOKENIZER) - 1)
PROMPTS = st.lists(st.lists(TOKENS, min_size=1, max_size=8), min_size=1, max_size=4)
CHOICES = st.lists(st.lists(TOKENS, min_size=1, max_size=5), min_size=1, max_size=4)
# Llama and Qwen2 with grouped queries, Phi and GPT-NeoX with rotary positions on a part of each head.
TREES = ["llama", "phi", "qwen2", "gpt_neox"]
# Learned positions; capped logits; a window that the tree's mask would lift.
OTHERS = ["gpt2", "gemma2", "mistral"]
MODELS = {name: small_model(name, TOKENIZER) for name in TREES + OTHERS}


@torch.no_grad()
def naive(model, prompts, choices):
    """One forward pass a prompt and choice, log-softmax over the whole vocabulary at every place."""
    table = torch.zeros(len(prompts), len(choices[0]), dtype=torch.float64)
    for i, prompt in enumerate(prompts):
        for j, choice in enumerate(choices[i]):
            log_probs = model(torch.tensor([prompt + choice])).logits[0].double().log_softmax(-1)
            table[i, j] = sum(log_probs[len(prompt) - 1 + k, token] for k, token in enumerate(choice))
    return table


def check(model, prompts, choices, budget):
    """`choices`: those of all prompts, or of each prompt its own."""
    choices = choices if isinstance(choices[0][0], list) else [choices] * len(prompts)
    found = score_choices(model, prompts, choices, budget, "test")
    expected = naive(model, prompts, choices)
    assert found.shape == expected.shape
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES + OTHERS)
@given(
    beginning=st.lists(TOKENS, max_size=2 * WORTH_SHARING),
    stems=st.lists(st.tuples(st.lists(TOKENS, max_size=2 * WORTH_SHARING), PROMPTS), min_size=1, max_size=3),
    choices=CHOICES,
    budget=st.integers(1, 200),
)
def test_scores_equal_one_row_a_choice(name, beginning, stems, choices, budget):
    prompts = [beginning + stem + prompt for stem, prompts in stems for prompt in prompts]
    check(MODELS[name], prompts, choices, budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES + OTHERS)
@given(
    stem=st.lists(TOKENS, max_size=2 * WORTH_SHARING),
    rows=st.integers(1, 3).flatmap(
        lambda n: st.lists(
            st.tuples(
                st.lists(TOKENS, min_size=1, max_size=8),
                st.lists(st.lists(TOKENS, min_size=1, max_size=4), min_size=n, max_size=n),
            ),
            min_size=1,
            max_size=5,
        )
    ),
    budget=st.integers(1, 200),
)
def test_each_prompt_may_have_choices_of_its_own(name, stem, rows, budget):
    check(MODELS[name], [stem + prompt for prompt, _ in rows], [choices for _, choices in rows], budget)


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
    scores = score_choices(MODELS["llama"], PROMPTS_OF_ONE_KIND, [THREE] * 9, budget, "test")
    shuffled = score_choices(MODELS["llama"], [PROMPTS_OF_ONE_KIND[i] for i in order], [THREE] * 9, budget, "test")
    assert torch.equal(scores[order], shuffled)


def test_all_choices_of_a_batch_cost_one_pass():
    # A choice's last token is never fed: the longest row is 3 + 1 + 0 + 2 tokens, and 3 with choices of one token.
    assert fed(MODELS["llama"], [[1, 5, 6], [1, 7]], THREE)["decoder"] == [(2, 6)]
    assert fed(MODELS["llama"], [[1, 5, 6], [1, 7]], [[40], [41], [42]])["decoder"] == [(2, 3)]


@pytest.mark.parametrize("name", TREES)
def test_what_all_prompts_begin_with_is_read_once(name):
    beginning = list(range(10, 10 + WORTH_SHARING))
    found = fed(MODELS[name], [[*beginning, 5, 6], [*beginning, 7, 9]], [[40], [41]], 12)
    assert found["decoder"] == [(1, WORTH_SHARING), (1, 2), (1, 2)]


def fed(model, prompts, choices, budget=10_000):
    """The shapes of what the decoder and the output layer read, pass by pass."""
    shapes = {"decoder": [], "output": []}
    hooks = [
        model.get_decoder().register_forward_pre_hook(
            lambda module, args, inputs: shapes["decoder"].append(tuple([*args, inputs.get("input_ids")][0].shape)),
            with_kwargs=True,
        ),
        model.get_output_embeddings().register_forward_pre_hook(
            lambda module, args: shapes["output"].append(tuple(args[0].shape[:-1]))
        ),
    ]
    try:
        score_choices(model, prompts, [choices] * len(prompts), budget, "test")
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


STEMS = [list(range(10, 10 + WORTH_SHARING + 2)), list(range(30, 30 + WORTH_SHARING))]


def test_prompts_that_begin_alike_share_a_row_and_others_do_not():
    hypotheses = [[60], [61, 62], [63]]
    prompts = [stem + hypothesis for hypothesis in hypotheses for stem in STEMS]
    # Rows of 10 + 4 and 8 + 4 tokens; a branch of 1 and one of 2 tokens behind each of the six prompts.
    assert fed(MODELS["llama"], prompts, [[40], [41], [42]]) == {"decoder": [(2, 14)], "output": [(6, 1)]}
    assert fed(MODELS["llama"], prompts, THREE) == {"decoder": [(2, 23)], "output": [(6, 4)]}
    alike = [STEMS[0][: WORTH_SHARING - 1] + hypothesis for hypothesis in hypotheses]
    assert fed(MODELS["llama"], [[9], *alike], [[40], [41]])["decoder"] == [(4, WORTH_SHARING + 1)]


def test_a_row_that_would_grow_too_long_is_two():
    many = [[*STEMS[0], 60 + i % 200] for i in range(LONGEST_ROW + 1)]
    found = fed(MODELS["llama"], [[9, 9], *many], [[40], [41]], 100_000)
    # The one too many is a row of its own, as is the prompt that begins otherwise.
    assert found == {"decoder": [(3, len(STEMS[0]) + LONGEST_ROW)], "output": [(len(many) + 1, 1)]}


@pytest.mark.parametrize("name", TREES)
def test_the_output_layer_reads_the_places_of_the_answers_and_no_other(name):
    prompts = [[1, *range(10, 10 + n)] for n in (3, 5, 9)]
    assert fed(MODELS[name], prompts, THREE)["output"] == [(3, 1 + 1 + 0 + 2)]


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_of_another_layout_the_output_layer_reads_the_columns_of_the_answers_and_it_is_said(name, capsys):
    prompts = [[1, *range(10, 10 + n)] for n in (9, 9, 8)]
    # Two prompts end at the tenth token and one at the ninth; a choice of three tokens reads two more.
    assert fed(MODELS[name], prompts, [[40], [41, 42, 43]])["output"] == [(3, 2), (3, 4)]
    assert (
        f"test: the layout {name} does not support prefix trees of these lengths; using one row per choice"
        in capsys.readouterr().err
    )
    fed(MODELS["llama"], prompts, [[40], [41, 42, 43]])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]])
def test_scores_are_those_of_the_adapter(targets):
    model = small_model("llama", TOKENIZER)
    before = score_choices(model, PROMPTS_OF_ONE_KIND, [THREE] * 9, 100, "test")
    tuned = adapt_model(model, adapt_section("lora", target_modules=targets), seed=0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:  # zero at first, so that an adapter changes nothing
                weight.normal_(0, 0.3)
    check(tuned, PROMPTS_OF_ONE_KIND, THREE, 100)
    after = score_choices(tuned, PROMPTS_OF_ONE_KIND, [THREE] * 9, 100, "test")
    assert (after - before).abs().min() > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_scores_of_a_4_bit_model_equal_one_row_a_choice(name, tmp_path):
    folder = write_model(tmp_path / "model", name, TOKENIZER)
    plain, quantised = (load(tmp_path / key, folder, quantization=key).model for key in ("none", "nf4"))
    check(quantised, PROMPTS_OF_ONE_KIND, THREE, 100)
    difference = naive(plain, PROMPTS_OF_ONE_KIND, [THREE] * 9) - naive(quantised, PROMPTS_OF_ONE_KIND, [THREE] * 9)
    assert difference.abs().max() > 1e-3, "the weights are not 4-bit"
