"""Heads on layouts: which class, whose weights reach it, and which token a classifier reads."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertForMaskedLM, BertForPreTraining
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tests.models.layouts import LLAMA_3_2_1B, PHI_2
from tests.tiny import (
    LABELS,
    adapt_section,
    load,
    small_bert_tokenizer,
    small_config,
    small_model,
    small_tokenizer,
    write_model,
)
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import Row
from tunediff.models.adapt import adapt_model
from tunediff.models.counts import count_parameters
from tunediff.models.heads import head_class, label_scores
from tunediff.models.layouts import layout
from tunediff.models.modules import new_head
from tunediff.models.parameters import totals
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
DECODERS = ["llama", "phi", "gpt_neox", "qwen2", "mistral", "gpt2", "gemma2"]
ROWS = [[1, 40, 41, 42, 43, 44], [1, 50], [1, 60, 61, 62]]


# Whose weights reach a head


def tensors(model):
    return dict(model.base_model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("head", ["span", "classification"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_language_model_gives_its_weights_to_a_model_with_a_head(name, head, quantization, tmp_path):
    folder = write_model(tmp_path / "model", name, BPE)
    loaded = load(tmp_path / "base", folder, head=head, quantization=quantization)
    whole, known = tensors(loaded.model), tensors(small_model(name, BPE))
    assert set(whole) == set(known)
    for weight, value in whole.items():
        if value.dtype == torch.float32:
            assert torch.equal(value, known[weight]), weight
    assert new_head(loaded.model) == [{"span": "qa_outputs", "classification": "score"}[head]]
    outputs = {"span": 2, "classification": len(LABELS)}[head]
    assert loaded.model.get_submodule(*new_head(loaded.model)).weight.shape[0] == outputs


@pytest.mark.parametrize("head", ["span", "classification"])
def test_a_bert_pretrained_on_words_and_sentences_gives_its_weights_to_a_head(head, tmp_path):
    torch.manual_seed(0)
    pretrained = BertForPreTraining(small_config("bert", BERT))
    pretrained.save_pretrained(tmp_path / "model")
    BERT.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "base", tmp_path / "model", head=head)
    whole, known = tensors(loaded.model), tensors(pretrained)
    pooler = {"pooler.dense.weight", "pooler.dense.bias"}
    assert set(known) - set(whole) == (pooler if head == "span" else set())
    assert all(torch.equal(value, known[weight]) for weight, value in whole.items())
    assert new_head(loaded.model) == [{"span": "qa_outputs", "classification": "classifier"}[head]]


def test_a_span_head_has_two_outputs_whatever_labels_the_base_was_made_for(tmp_path):
    folder = write_model(tmp_path / "model", "bert", BERT, "classification", num_labels=5)
    assert load(tmp_path / "base", folder, head="span").model.qa_outputs.weight.shape == (2, 36)


def test_a_layout_that_transformers_has_no_span_head_for_gets_the_usual_one():
    phi = layout(PHI_2, "span")
    assert type(phi).__name__ == "PhiForQuestionAnswering"
    # The published decoder without its output layer, and 2 x 2,560 weights with their biases.
    assert sum(value.numel() for value in phi.parameters()) == 2_779_683_840 - (2_560 * 51_200 + 51_200) + 5_122
    assert totals(count_parameters(LLAMA_3_2_1B, head="span"))["tuned_total"] == 1_235_818_498


def test_a_layout_that_transformers_serves_well_keeps_its_class():
    for name in ("gpt_neox", "gpt2", "mistral", "bert"):
        config = AutoConfig.for_model(name)
        made = head_class(config, "span")._model_mapping[type(config)]
        assert made.__module__.startswith("transformers."), made


# A pooler that the weights lack


@pytest.fixture
def masked(tmp_path):
    """A BERT that learned masked words alone: its weights have no pooler."""
    BertForMaskedLM(small_config("bert", BERT)).save_pretrained(tmp_path / "model")
    BERT.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "keys"), [("head", {}), ("lora", {"target_modules": "all-linear"}), ("qlora", {}), ("full", {})]
)
def test_a_missing_pooler_is_trained_saved_and_counted_with_the_head(method, keys, masked, tmp_path):
    quantization = "nf4" if method == "qlora" else "none"
    loaded = load(tmp_path / "base", masked, head="classification", quantization=quantization)
    assert new_head(loaded.model) == ["classifier", "bert.pooler"]
    adapt = adapt_section(method, **keys)
    adapted = adapt_model(loaded.model, adapt, 0)
    trained = {name: value for name, value in adapted.named_parameters() if value.requires_grad}
    assert sum("pooler" in name for name in trained) == 2
    assert all("lora" not in name for name in trained if "pooler" in name)
    rows = count_parameters(
        AutoConfig.from_pretrained(tmp_path / "base").to_dict(),
        head="classification",
        labels=len(LABELS),
        quantization=quantization,
        method=method,
        r=adapt.r,
        target_modules=adapt.target_modules,
    )
    assert totals(rows)["trainable"] == sum(value.numel() for value in trained.values())
    pooler = [row for row in rows if "pooler" in row.module]
    assert {row.part for row in pooler} == {"head"}
    assert sum(row.base for row in pooler) == 0
    with torch.no_grad():
        for value in trained.values():
            value.add_(0.1)
    save_tuned(adapted, adapt, tmp_path / "tuned")
    inputs = pad_rows([Row(row, [0] * len(row)) for row in ROWS], 0)
    expected = label_scores(adapted.eval(), inputs)
    fresh = load(tmp_path / "base", masked, head="classification", quantization=quantization)
    torch.testing.assert_close(label_scores(load_tuned(fresh, tmp_path / "tuned").model, inputs), expected)


def test_a_missing_pooler_is_not_counted_where_no_head_reads_it(masked, tmp_path):
    load(tmp_path / "base", masked, head="span")
    rows = count_parameters(AutoConfig.from_pretrained(tmp_path / "base").to_dict(), head="span")
    assert not [row for row in rows if "pooler" in row.module]


def test_a_pooler_that_is_there_stays_frozen(tmp_path):
    folder = write_model(tmp_path / "model", "bert", BERT, "none")
    loaded = load(tmp_path / "base", folder, head="classification")
    adapted = adapt_model(loaded.model, adapt_section("head"), 0)
    trained = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert trained == ["classifier.weight", "classifier.bias"]


# Which token a classifier of a decoder reads


@torch.no_grad()
def alone(model, row):
    """What the head says of a row by itself, at its last token: by hand, with no padding and no mask."""
    return model.score(model.base_model(torch.tensor([row])).last_hidden_state[0, -1])


@pytest.mark.parametrize("pad", [0, 2], ids=["pad", "pad is eos"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_batch_says_what_each_row_says_alone(name, pad):
    model = small_model(name, BPE, "classification", num_labels=3, pad_token_id=pad)
    # The padding's id stands at the end of one row, within one, and is all of another but its first token.
    rows = [*ROWS, [1, 40, 41, pad], [1, pad, 40, 41, 45], [1, pad, pad]]
    with torch.no_grad():
        found = label_scores(model, pad_rows([Row(row, None) for row in rows], pad))
    expected = torch.stack([alone(model, row) for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found[0] - found[3]).abs().max() > 1e-3


def test_transformers_itself_would_read_the_token_before_one_that_looks_like_padding():
    model = small_model("llama", BPE, "classification", num_labels=3, pad_token_id=0)
    with torch.no_grad():
        theirs = model(torch.tensor([[1, 40, 41, 0]])).logits[0]
    torch.testing.assert_close(theirs, alone(model, [1, 40, 41]), rtol=1e-4, atol=1e-4)


def test_a_batch_for_an_encoder_says_what_each_row_says_alone():
    model = small_model("bert", BERT, "classification", num_labels=3)
    rows = [[2, 40, 41, 3], [2, 40, 3], [2, 0, 41, 42, 43, 3]]
    with torch.no_grad():
        found = label_scores(model, pad_rows([Row(row, [0] * len(row)) for row in rows], 0))
        expected = torch.cat([model(torch.tensor([row])).logits for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "phi", "gpt_neox", "qwen2"])
def test_an_adapter_is_read_where_the_head_reads(name, tmp_path):
    folder = write_model(tmp_path / "model", name, BPE)
    loaded = load(tmp_path / "base", folder, head="classification")
    assert loaded.model.config.pad_token_id == loaded.pad == 0
    inputs = pad_rows([Row(row, None) for row in ROWS], loaded.pad)
    with torch.no_grad():
        before = label_scores(loaded.model, inputs)
        torch.testing.assert_close(before, loaded.model(**inputs).logits, rtol=1e-4, atol=1e-4)
        adapted = adapt_model(loaded.model, adapt_section("lora"), 0).eval()
        torch.testing.assert_close(label_scores(adapted, inputs), before)
        for weight, value in adapted.named_parameters():
            if value.requires_grad:
                value.add_(0.1 if "lora" in weight else 0.0)
        found = label_scores(adapted, inputs)
        torch.testing.assert_close(found, adapted(**inputs).logits, rtol=1e-4, atol=1e-4)
    assert (found - before).abs().max() > 1e-3


def test_classifiers_of_decoders_have_their_head_under_one_name():
    """`label_scores` knows a decoder's head by it; a new version of transformers may change that."""
    for name in DECODERS:
        assert hasattr(small_model(name, BPE, "classification"), "score")


# The mean of the tokens


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert", "electra"])
def test_a_head_may_read_the_mean_of_the_tokens_and_of_no_padding(name, tmp_path):
    widths = {"dim": 32, "hidden_dim": 48, "n_layers": 1, "n_heads": 2} if name == "distilbert" else {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 70,
    }  # fmt: skip
    config = AutoConfig.for_model(name, vocab_size=len(BERT), pad_token_id=0, **widths)
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path / "model")
    BERT.save_pretrained(tmp_path / "model")
    own, mean = (load(tmp_path / "base", tmp_path / "model", head="classification", pooling=p) for p in ("own", "mean"))
    rows = [Row(row, None) for row in ([2, 40, 41, 42, 3], [2, 40, 3], [2, 60, 61, 3])]
    with torch.no_grad():
        found = label_scores(mean.model, pad_rows(rows, 0))
        states = [own.model.base_model(torch.tensor([row.tokens])).last_hidden_state[0].mean(0) for row in rows]
        # The model's own head on a base that says the mean and nothing else.
        own.model.base_model.register_forward_hook(
            lambda *_: BaseModelOutputWithPooling(
                last_hidden_state=torch.stack(states)[:, None], pooler_output=torch.stack(states)
            )
        )
        expected = own.model(**pad_rows(rows, 0)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_decoder_has_no_mean_to_read(tmp_path):
    folder = write_model(tmp_path / "model", "llama", BPE)
    with pytest.raises(TunediffError, match=r"model\.pooling: found mean, but the head of a llama"):
        load(tmp_path / "base", folder, head="classification", pooling="mean")
