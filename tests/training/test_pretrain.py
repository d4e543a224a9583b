"""A model from scratch: its tokenizer writes any text, packing loses nothing, and the loss falls."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import SENTENCES, SMALL, small_tokenizer
from tunediff.errors import TunediffError
from tunediff.sections import Pretrain
from tunediff.training.pretrain import document_rows, pad_documents, pretrain, train_tokenizer

TOKENIZER = small_tokenizer()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LAYOUT = {key: value for key, value in SMALL["qwen2"].items() if key != "initializer_range"}


def section(**keys):
    usual = {"path": "data/raw", "text": "world", "world": "captions", "documents": 8, "max_tokens": 32, "seed": 1}
    return Pretrain(**(usual | {"per_device_train_batch_size": 4, "learning_rate": 1e-2} | keys))


# The tokenizer


@given(TEXT)
def test_any_text_can_be_written_and_read_back(text):
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert TOKENIZER.decode(ids) == text
    assert all(0 <= token < len(TOKENIZER) for token in ids)


def test_the_tokenizer_is_as_large_as_asked_and_reads_its_own_text_in_few_tokens():
    tokenizer = train_tokenizer(SENTENCES * 5, vocab_size=340, context=48)
    assert len(tokenizer) <= 340
    assert tokenizer.model_max_length == 48
    assert len(tokenizer(SENTENCES[0]).input_ids) < len(SENTENCES[0]) / 2
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_the_tokenizer_survives_its_files(tmp_path):
    from transformers import AutoTokenizer

    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*SENTENCES, "</s> Ünïcode \t {x}"]:
        assert loaded(text).input_ids == TOKENIZER(text).input_ids
        assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True) == text or "</s>" in text


# Rows


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(8, 40))
def test_rows_lose_no_token_that_can_be_learned_and_change_no_order(texts, size):
    expected = []
    for text in texts:
        ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
        document = [TOKENIZER.bos_token_id, *ids, TOKENIZER.eos_token_id]
        pieces = [document[at : at + size] for at in range(0, len(document), size)]
        expected += [piece for piece in pieces if len(piece) > 1]
    assert [row["input_ids"] for row in document_rows(texts, TOKENIZER, size)] == expected


@given(st.lists(st.lists(st.integers(1, 50), min_size=2, max_size=12), min_size=1, max_size=6))
def test_padding_stands_at_the_end_and_is_no_target(rows):
    batch = pad_documents([{"input_ids": row} for row in rows], pad=0)
    width = max(map(len, rows))
    assert batch["input_ids"].tolist() == [row + [0] * (width - len(row)) for row in rows]
    assert batch["labels"].tolist() == [row + [-100] * (width - len(row)) for row in rows]


def test_the_loss_of_a_padded_batch_is_that_of_its_documents():
    model, _ = pretrain(SENTENCES, TOKENIZER, LAYOUT, section(num_train_epochs=2))
    rows = document_rows(SENTENCES, TOKENIZER, 64)
    assert len({len(row["input_ids"]) for row in rows}) > 1
    with torch.no_grad():
        together = model.eval()(**pad_documents(rows, pad=0)).loss
        alone = [model(**pad_documents([row], pad=0)).loss * (len(row["input_ids"]) - 1) for row in rows]
    torch.testing.assert_close(together, sum(alone) / sum(len(row["input_ids"]) - 1 for row in rows))


def test_a_text_that_spells_a_special_token_keeps_it_as_text():
    [row] = document_rows(["a</s><pad><s>b"], TOKENIZER, 40)
    special = [token for token in row["input_ids"] if token in (0, 1, 2)]
    assert special == [TOKENIZER.bos_token_id, TOKENIZER.eos_token_id]


# Training


def test_the_loss_falls_far_below_that_of_guessing():
    _, first = pretrain(SENTENCES, TOKENIZER, LAYOUT, section(num_train_epochs=1))
    model, mean = pretrain(SENTENCES, TOKENIZER, LAYOUT, section(num_train_epochs=60))
    assert first == pytest.approx(math.log(len(TOKENIZER)), rel=0.1)
    assert mean < first / 2
    # It has learned the text by heart: the rest of a sentence is what it writes.
    prompt = TOKENIZER("A woman is reading", return_tensors="pt").input_ids
    written = model.eval().generate(prompt, max_new_tokens=25, do_sample=False)
    assert TOKENIZER.decode(written[0], skip_special_tokens=True) == SENTENCES[1]


def test_the_layout_takes_vocabulary_and_special_tokens_from_the_tokenizer():
    model, _ = pretrain(SENTENCES, TOKENIZER, LAYOUT | {"vocab_size": 7, "torch_dtype": "float16"}, section())
    assert model.get_input_embeddings().weight.shape == (len(TOKENIZER), 32)
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
    assert {(value.dtype, value.device.type) for value in model.parameters()} == {(torch.float32, "cpu")}


@pytest.mark.skipif(torch.cuda.is_available(), reason="to the bit on the CPU alone; this machine has a GPU")
def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    torch.rand(3)  # whatever was drawn before
    runs = [pretrain(SENTENCES * 3, TOKENIZER, LAYOUT, section(seed=seed)) for seed in (1, 1, 2)]
    weights = [torch.cat([value.flatten() for value in model.parameters()]) for model, _ in runs]
    assert torch.equal(weights[0], weights[1])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"model_type": "lama"}, ["model.config.model_type: found 'lama'", "did you mean 'llama'?"]),
        (LAYOUT | {"hiden_size": 8}, ["model.config.hiden_size", "hidden_size"]),
        (LAYOUT | {"hidden_size": "wide"}, ["model.config", "hidden_size"]),
        (LAYOUT | {"num_attention_heads": 0}, ["model.config", "zero"]),
        (LAYOUT | {"num_key_value_heads": 3}, ["model.config", "expected sizes that agree"]),
        (SMALL["bert"], ["model.config.model_type: found bert", "both directions", "llama"]),
        (LAYOUT | {"max_position_embeddings": 16}, ["pretrain.max_tokens: found 32, expected at most 16"]),
    ],
    ids=["unknown", "misspelt", "no number", "no heads", "no multiple", "no causal", "too short"],
)
def test_a_layout_that_cannot_be_trained_is_one_line(layout, words):
    with pytest.raises(TunediffError) as caught:
        pretrain(SENTENCES, TOKENIZER, layout, section())
    [line] = caught.value.args
    assert "\n" not in line
    assert all(word in line for word in words), line


def test_a_loss_that_is_no_number_is_one_line():
    with pytest.raises(
        TunediffError, match=r"pretrain: the loss is nan, expected a finite number; lower pretrain\.learn"
    ):
        pretrain(SENTENCES * 8, TOKENIZER, LAYOUT, section(learning_rate=1e30, num_train_epochs=3, warmup_steps=0))
