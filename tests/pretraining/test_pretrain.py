"""A model from scratch: its tokenizer writes any text, packing loses nothing, and the loss falls."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.layouts import SMALL_BERT
from tests.tiny import SENTENCES, SMALL, small_bert_tokenizer, small_tokenizer
from tests.training.stopping import Stop, stop_after_save
from tunediff.config.pretrain import Pretrain
from tunediff.pretraining import pretrain as module
from tunediff.pretraining.pretrain import document_rows, find_tokenizer, pad_documents, pretrain
from tunediff.pretraining.texts import Texts
from tunediff.pretraining.tokenizer import train_bpe
from tunediff.runtime.errors import TunediffError

TOKENIZER = small_tokenizer()
BERT_TOKENIZER = small_bert_tokenizer()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LAYOUT = {key: value for key, value in SMALL["qwen2"].items() if key != "initializer_range"}
BERT = SMALL_BERT | {"max_position_embeddings": 32, "hidden_dropout_prob": 0.1}
ROBERTA = {"model_type": "roberta", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
ROBERTA |= {"num_attention_heads": 2, "max_position_embeddings": 40, "type_vocab_size": 1}
# Two documents of sentences in an order that can be told from any other.
DOCUMENTS = [" ".join(SENTENCES), " ".join(f"{text} Yes." for text in reversed(SENTENCES))]
CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="to the bit on the CPU alone; this machine has a GPU")


def section(**keys):
    usual = {
        "path": "data/raw",
        "text": "synthetic",
        "synthetic": "captions",
        "documents": 8,
        "max_tokens": 32,
        "seed": 1,
    }
    return Pretrain(**(usual | {"per_device_train_batch_size": 4, "learning_rate": 1e-2} | keys))


@pytest.fixture
def train(tmp_path):
    """Train on some texts, validate on the same; each run has a scratch folder of its own."""
    runs = iter(range(99))

    def train(texts=SENTENCES, tokenizer=TOKENIZER, layout=LAYOUT, scratch=None, **keys):
        folder = scratch or tmp_path / str(next(runs))
        return pretrain(Texts(list(texts), list(texts)), tokenizer, layout, section(**keys), folder)

    return train


def weights(model):
    return torch.cat([value.detach().flatten() for value in model.parameters()])


# The tokenizer


@given(TEXT)
def test_any_text_can_be_written_and_read_back(text):
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert TOKENIZER.decode(ids) == text
    assert all(0 <= token < len(TOKENIZER) for token in ids)


def test_the_tokenizer_is_as_large_as_asked_and_reads_its_own_text_in_few_tokens():
    tokenizer = train_bpe(SENTENCES * 5, vocab_size=340, context=48)
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


def test_an_encoder_gets_berts_kind_of_tokenizer_a_decoder_the_other_and_a_given_one_is_taken(tmp_path):
    BERT_TOKENIZER.save_pretrained(tmp_path)
    given = {"source": "folder", "id": str(tmp_path)}
    assert find_tokenizer(SENTENCES, BERT, section(vocab_size=300)).mask_token == "[MASK]"
    assert find_tokenizer(SENTENCES, LAYOUT, section(vocab_size=300)).bos_token == "<s>"
    assert find_tokenizer(SENTENCES, BERT, section(tokenizer=given)).get_vocab() == BERT_TOKENIZER.get_vocab()


# Rows


@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(8, 40))
def test_rows_lose_no_token_that_can_be_learned_and_change_no_order(texts, size):
    expected = []
    for text in texts:
        ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
        document = [TOKENIZER.bos_token_id, *ids, TOKENIZER.eos_token_id]
        pieces = [document[at : at + size] for at in range(0, len(document), size)]
        expected += [piece for piece in pieces if len(piece) > 1]
    assert document_rows(texts, TOKENIZER, size) == expected


@given(st.lists(st.lists(st.integers(1, 50), min_size=2, max_size=12), min_size=1, max_size=6))
def test_padding_stands_at_the_end_and_is_no_target(rows):
    batch = pad_documents(rows, pad=0)
    width = max(map(len, rows))
    assert batch["input_ids"].tolist() == [row + [0] * (width - len(row)) for row in rows]
    # The first token of a text follows none.
    assert batch["labels"].tolist() == [[-100, *row[1:]] + [-100] * (width - len(row)) for row in rows]


def test_the_loss_of_a_padded_batch_is_that_of_its_documents(train):
    model, _ = train(num_train_epochs=2)
    rows = document_rows(SENTENCES, TOKENIZER, 64)
    assert len({len(row) for row in rows}) > 1
    with torch.no_grad():
        together = model.eval()(**pad_documents(rows, pad=0)).loss
        alone = [model(**pad_documents([row], pad=0)).loss * (len(row) - 1) for row in rows]
    torch.testing.assert_close(together, sum(alone) / sum(len(row) - 1 for row in rows))


def test_a_text_that_spells_a_special_token_keeps_it_as_text():
    [row] = document_rows(["a</s><pad><s>b"], TOKENIZER, 40)
    special = [token for token in row if token in (0, 1, 2)]
    assert special == [TOKENIZER.bos_token_id, TOKENIZER.eos_token_id]


# Training


@pytest.mark.slow
def test_the_loss_falls_far_below_that_of_guessing(train):
    model, log = train(num_train_epochs=60)
    assert log[0]["train_loss"] == pytest.approx(math.log(len(TOKENIZER)), rel=0.1)
    assert log[-1]["train_loss"] < log[0]["train_loss"] / 4
    # It has learned the text by heart: the rest of a sentence is what it writes.
    prompt = TOKENIZER("A woman is reading", return_tensors="pt").input_ids
    written = model.eval().generate(prompt, max_new_tokens=25, do_sample=False)
    assert TOKENIZER.decode(written[0], skip_special_tokens=True) == SENTENCES[1]


def test_a_row_an_epoch_says_how_well_the_validation_text_is_told(train):
    model, log = train(num_train_epochs=3)
    assert [(row["epoch"], row["step"]) for row in log] == [(1, 1), (2, 2), (3, 3)]
    batch = pad_documents(document_rows(SENTENCES, TOKENIZER, 32), pad=0)
    with torch.no_grad():
        loss = float(model.eval()(**batch).loss)  # transformers' own
    assert log[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert log[-1]["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert set(log[-1]) == {"epoch", "step", "train_loss", "validation_loss", "perplexity"}


def test_the_last_pass_may_be_a_part(train):
    _, log = train(SENTENCES * 4, num_train_epochs=1.4)
    assert [(row["epoch"], row["step"]) for row in log] == [(1.0, 4), (1.5, 6)]


def test_the_model_keeps_what_its_layout_says_of_the_cache(train, tmp_path):
    train()[0].save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model/config.json").read_text())["use_cache"] is True


def test_the_layout_takes_vocabulary_and_special_tokens_from_the_tokenizer(train):
    model, _ = train(layout=LAYOUT | {"vocab_size": 7, "torch_dtype": "float16"})
    assert model.get_input_embeddings().weight.shape == (len(TOKENIZER), 32)
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
    assert {(value.dtype, value.device.type) for value in model.parameters()} == {(torch.float32, "cpu")}


@CPU_ONLY
@pytest.mark.parametrize(
    ("layout", "tokenizer"), [(LAYOUT, TOKENIZER), (BERT, BERT_TOKENIZER)], ids=["decoder", "bert"]
)
def test_the_same_seed_gives_the_same_weights_and_another_does_not(layout, tokenizer, train):
    torch.rand(3)  # whatever was drawn before
    runs = [train(DOCUMENTS * 3, tokenizer, layout, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(weights(runs[0][0]), weights(runs[1][0]))
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(weights(runs[0][0]), weights(runs[2][0]))


# Encoders


@pytest.mark.pipeline
def test_a_bert_learns_masks_and_what_follows(train):
    # Each document has words of its own, so a second part of the other one is no riddle.
    topics = [f"{SENTENCES[number]} " * 30 for number in (1, 2)]
    sure = BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model, log = train(topics, BERT_TOKENIZER, sure, num_train_epochs=30)
    first, last = log[0], log[-1]
    assert type(model).__name__ == "BertForPreTraining"
    assert first["train_loss"] == pytest.approx(math.log(len(BERT_TOKENIZER)), rel=0.35)
    assert last["perplexity"] < first["perplexity"] / 5
    assert last["mlm_accuracy"] > 0.6
    assert last["nsp_accuracy"] > 0.9
    assert all(row["perplexity"] == pytest.approx(math.exp(row["validation_loss"])) for row in log)


def test_a_layout_without_that_head_learns_masks_alone(train):
    model, log = train(DOCUMENTS * 8, BERT_TOKENIZER, ROBERTA, num_train_epochs=15, per_device_train_batch_size=16)
    assert type(model).__name__ == "RobertaForMaskedLM"
    assert log[-1]["perplexity"] < log[0]["perplexity"] / 2
    assert set(log[-1]) == {"epoch", "step", "train_loss", "validation_loss", "perplexity", "mlm_accuracy"}


def test_losses_are_those_of_transformers(train):
    model, _ = train(DOCUMENTS * 2, BERT_TOKENIZER, BERT)
    model.eval()
    texts = Texts(DOCUMENTS, DOCUMENTS)
    rows = module._rows(texts, BERT_TOKENIZER, model, section())
    batch = rows.collate_validation(rows.validation)
    with torch.no_grad():
        ours = module.fill_masks(model, batch)
        theirs = model(**batch)
    assert float(ours.minimized / ours.targets) == pytest.approx(float(theirs.loss), rel=1e-5)
    chosen = batch["labels"] != -100
    assert int(ours.targets) == int(chosen.sum())
    right = theirs.prediction_logits.argmax(-1)[chosen] == batch["labels"][chosen]
    follows = theirs.seq_relationship_logits.argmax(-1) == batch["next_sentence_label"]
    expected = {"right": right.sum(), "pairs": len(follows), "pairs_right": follows.sum()}
    assert {name: int(count) for name, count in ours.counts.items()} == expected


def test_masks_to_validate_on_are_the_same_in_every_run_and_at_every_batch_size_and_those_to_learn_from_are_not(train):
    model, _ = train(DOCUMENTS, BERT_TOKENIZER, BERT)
    texts = Texts(DOCUMENTS, DOCUMENTS)
    runs = []
    for size in (2, 16):
        torch.rand(size)
        runs.append(module._rows(texts, BERT_TOKENIZER, model, section(per_device_train_batch_size=size)))
    fixed = [rows.collate_validation(rows.validation) for rows in runs]
    assert all(torch.equal(fixed[0][name], fixed[1][name]) for name in fixed[0])
    drawn = [runs[0].objective.collate(runs[0].train) for _ in range(2)]
    assert not torch.equal(drawn[0]["labels"], drawn[1]["labels"])


def test_measuring_draws_nothing_that_training_would_have_drawn(train, monkeypatch):
    ordinary, _ = train(DOCUMENTS * 2, BERT_TOKENIZER, BERT, num_train_epochs=2)
    totals = {"answers": 1.0, "targets": 1.0}
    monkeypatch.setattr(module.Loop, "_measure", lambda *_: totals)
    unmeasured, _ = train(DOCUMENTS * 2, BERT_TOKENIZER, BERT, num_train_epochs=2)
    torch.testing.assert_close(weights(ordinary), weights(unmeasured))


# Stopped and gone on with


@CPU_ONLY
@pytest.mark.parametrize(
    ("layout", "tokenizer"), [(LAYOUT, TOKENIZER), (BERT, BERT_TOKENIZER)], ids=["decoder", "bert"]
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(layout, tokenizer, train, tmp_path, monkeypatch, capsys):
    keys = {"texts": DOCUMENTS * 4, "tokenizer": tokenizer, "layout": layout, "num_train_epochs": 3}
    whole, log = train(**keys)
    per_epoch = log[0]["step"]
    for epoch in (1, 3):  # after the first, and after the last, before anything was made of it
        scratch = tmp_path / f"stopped-{epoch}"
        with monkeypatch.context() as patch:
            stop_after_save(patch, epoch * per_epoch)
            with pytest.raises(Stop):
                train(**keys, scratch=scratch)
        capsys.readouterr()
        gone_on, again = train(**keys, scratch=scratch)
        assert capsys.readouterr().out == f"resuming from {scratch}/checkpoint-{epoch * per_epoch}\n"
        assert again == log
        assert torch.equal(weights(gone_on), weights(whole))


# What cannot be trained


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"model_type": "lama"}, ["model.config.model_type: found 'lama'", "did you mean 'llama'?"]),
        (LAYOUT | {"hiden_size": 8}, ["model.config.hiden_size", "hidden_size"]),
        (LAYOUT | {"hidden_size": "wide"}, ["model.config", "hidden_size"]),
        (LAYOUT | {"num_attention_heads": 0}, ["model.config", "zero"]),
        (LAYOUT | {"num_key_value_heads": 3}, ["model.config", "expected consistent sizes"]),
        ({"model_type": "clip_vision_model"}, ["model.config.model_type", "no lm head"]),
        (BERT | {"hidden_size": 30, "num_attention_heads": 4}, ["model.config", "multiple"]),
        (BERT | {"max_position_embeddings": 16}, ["pretrain.max_tokens: found 32, expected at most 16"]),
        (ROBERTA | {"max_position_embeddings": 32}, ["model.config", "expected consistent sizes"]),
        (LAYOUT | {"max_position_embeddings": 16}, ["pretrain.max_tokens: found 32, expected at most 16"]),
    ],
    ids=[
        *("unknown", "misspelt", "no number", "no heads", "no multiple", "no language"),
        *("bert's heads", "bert too short", "roberta's first positions", "too short"),
    ],
)
def test_a_layout_that_cannot_be_trained_is_one_line(layout, words, train):
    tokenizer = BERT_TOKENIZER if layout["model_type"] in ("bert", "roberta") else TOKENIZER
    with pytest.raises(TunediffError) as caught:
        train(SENTENCES, tokenizer, layout)
    [line] = caught.value.args
    assert "\n" not in line
    assert all(word in line for word in words), line


def test_a_tokenizer_that_does_not_fit_the_layout_is_one_line(train):
    with pytest.raises(TunediffError, match="found no BOS or no EOS token"):
        train(SENTENCES, BERT_TOKENIZER, LAYOUT)
    with pytest.raises(TunediffError, match="found no cls, sep, mask, unk token"):
        train(SENTENCES, TOKENIZER, BERT)


def test_a_loss_that_is_no_number_is_one_line(train):
    found = r"pretrain: found a loss that is not finite at step 2, expected .*; lower pretrain\.learning_rate, or"
    with pytest.raises(TunediffError, match=found):
        train(SENTENCES * 8, learning_rate=1e30, num_train_epochs=3, warmup_steps=0)
