"""The loss on the answer equals transformers' own with the prompt masked, and padding never hides the end marker."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import adapt_section, small_model, small_tokenizer
from tunediff.models.adapt import adapt_model
from tunediff.training.loss import IGNORED, answer_loss, answer_rows, pad_answers, without_beginning

TOKENIZER = small_tokenizer()
END = TOKENIZER.eos_token_id
NAMES = ["llama", "phi", "gpt_neox", "gpt2", "gemma2"]
MODELS = {name: small_model(name, TOKENIZER) for name in NAMES}
TOKENS = st.integers(3, len(TOKENIZER) - 1)
ROWS = st.lists(
    st.tuples(st.lists(TOKENS, min_size=1, max_size=9), st.lists(TOKENS, min_size=1, max_size=4)),
    min_size=1,
    max_size=4,
)


def theirs(model, rows, pad):
    """transformers' loss of the padded batch: labels of prompt and padding masked, the padding hidden."""
    width = max(len(prompt) + len(answer) + 1 for prompt, answer in rows)
    tokens, labels, mask = [], [], []
    for prompt, answer in rows:
        row = prompt + answer + [END]
        rest = width - len(row)
        tokens.append(row + [pad] * rest)
        labels.append([-100] * len(prompt) + answer + [END] + [-100] * rest)
        mask.append([1] * len(row) + [0] * rest)
    return model(torch.tensor(tokens), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)).loss


def ours(model, rows, pad):
    batch = pad_answers(answer_rows([prompt for prompt, _ in rows], [answer for _, answer in rows], END), pad)
    loss = answer_loss(model, batch)
    assert loss.targets == sum(len(answer) + 1 for _, answer in rows)
    torch.testing.assert_close(loss.minimized, loss.answers)
    return loss.answers / loss.targets


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pad", [0, END], ids=["pad", "pad is the end marker"])
@settings(max_examples=15)
@given(rows=ROWS)
def test_the_loss_is_that_of_transformers(name, pad, rows):
    with torch.no_grad():
        expected, found = (loss(MODELS[name], rows, pad) for loss in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_gradient_is_that_of_transformers(name):
    rows = [([1, 40, 41, 42], [50, 51]), ([1, 60], [70]), ([1], [80, 81, 82])]
    gradients = []
    for loss in (theirs, ours):
        targets = ["q_proj", "mlp.down_proj", "lm_head"] if name == "llama" else ["c_attn"]
        model = adapt_model(small_model(name, TOKENIZER), adapt_section("lora", target_modules=targets), seed=0)
        loss(model, rows, END).backward()
        gradients.append({key: value.grad for key, value in model.named_parameters() if value.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-4, atol=1e-6)
    # B starts at zero, so only its gradient is not.
    assert all(value.abs().max() > 0 for key, value in gradients[1].items() if "lora_B" in key)


@pytest.mark.parametrize("name", ["llama", "phi", "gpt_neox"])
def test_what_all_rows_begin_with_is_read_once_and_gradients_stay_the_same(name):
    beginning, rows = [1, 9, 8, 7], [([40, 41], [50, 51]), ([60], [70])]
    gradients = []
    for shared in (False, True):
        model = adapt_model(small_model(name, TOKENIZER), adapt_section("lora", target_modules="all-linear"), seed=0)
        prompts = [prompt if shared else beginning + prompt for prompt, _ in rows]
        batch = pad_answers(answer_rows(prompts, [answer for _, answer in rows], END), 0)
        loss = answer_loss(model, batch, beginning=beginning if shared else [])
        loss.minimized.backward()
        gradients.append({"loss": loss.minimized.detach()})
        gradients[-1] |= {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-4, atol=1e-6)


def test_the_beginning_of_all_prompts_is_cut_off_and_never_an_answer():
    beginning = list(range(10, 22))
    rows = answer_rows([[*beginning, 5], [*beginning, 5]], [[7, 8], [7, 9]], END)
    found, (first, second) = without_beginning(MODELS["llama"].config, [rows[:1], rows[1:]])
    assert found == beginning  # the 5 is shared too, but each row keeps a token of its prompt
    assert (first, second) == ([([5, 7, 8, END], 3)], [([5, 7, 9, END], 3)])
    assert without_beginning(MODELS["gpt2"].config, [rows]) == ([], [rows])


def test_rows_hold_prompt_answer_and_end_and_the_target_is_what_follows():
    batch = pad_answers(answer_rows([[1, 10, 11]], [[20, 21]], 2), 0)
    assert batch["input_ids"].tolist() == [[1, 10, 11, 20, 21]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 20, 21, 2]]
    assert batch["prompt_labels"].tolist() == [[10, 11, IGNORED, IGNORED, IGNORED]]
    batch = pad_answers(answer_rows([[1, 10, 11]], [[20, 21]], None), 0)
    assert batch["input_ids"].tolist() == [[1, 10, 11, 20]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 20, 21]]


def test_padding_is_no_target_and_a_token_that_looks_like_padding_is():
    batch = pad_answers([([1, 2, 5, 2], 2), ([1, 2], 1)], 2)
    assert batch["input_ids"].tolist() == [[1, 2, 5], [1, 2, 2]]
    assert batch["labels"].tolist() == [[IGNORED, 5, 2], [2, IGNORED, IGNORED]]
    assert batch["prompt_labels"].tolist() == [[2, IGNORED, IGNORED], [IGNORED] * 3]


@settings(max_examples=15)
@given(rows=ROWS, weight=st.floats(0.01, 1.0))
def test_the_prompt_counts_with_its_weight_and_the_answers_are_reported_alone(rows, weight):
    model, batch = MODELS["llama"], pad_answers(answer_rows(*zip(*rows, strict=True), END), 0)
    targets = torch.where(batch["labels"] == IGNORED, batch["prompt_labels"], batch["labels"])
    with torch.no_grad():
        loss, plain = answer_loss(model, batch, weight), answer_loss(model, batch)
        logits = model(input_ids=batch["input_ids"]).logits
        whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(loss.answers, plain.answers, rtol=1e-5, atol=1e-5)
    assert loss.targets == plain.targets
    expected = plain.answers + weight * (whole - plain.answers)
    torch.testing.assert_close(loss.minimized, expected, rtol=1e-4, atol=1e-4)
