"""What a tuned model from elsewhere adds to its base is counted from its own file."""

import peft
import pytest
from safetensors.torch import load_file

from tests.tiny import LABELS, adapt_section, model_section, small_config, small_model, write_model
from tunediff.config.tuned import Tuned
from tunediff.models.counts import count_recipe
from tunediff.models.parameters import by_module, summary, totals
from tunediff.models.tuned_counts import count_tuned

TRAINED = ("trainable", "trainable_percent", "packed_trainable_percent")


def of_folder(folder):
    return Tuned(source="folder", id=str(folder))


def test_what_is_trained_here_is_counted_as_ever(tokenizer):
    config, section, adapt = small_config("llama", tokenizer).to_dict(), model_section("x"), adapt_section("lora")
    assert count_tuned(config, LABELS, section, adapt, Tuned()) == count_recipe(config, LABELS, section, adapt)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_an_adapter_from_elsewhere_counts_as_one_that_is_trained_here(quantization, tmp_path, tokenizer):
    adapted = peft.get_peft_model(small_model("llama", tokenizer), peft.LoraConfig(r=2, target_modules="all-linear"))
    adapted.save_pretrained(tmp_path / "theirs")
    config = small_config("llama", tokenizer).to_dict()
    section = model_section("x", quantization=quantization)
    ours = count_recipe(config, LABELS, section, adapt_section("lora" if quantization == "none" else "qlora"))
    theirs = count_tuned(config, LABELS, section, None, of_folder(tmp_path / "theirs"))
    assert totals(theirs) == totals(ours)
    assert sorted(row for row in theirs if row.part == "adapter") == sorted(
        row for row in ours if row.part == "adapter"
    )


@pytest.mark.parametrize("tied", [True, False])
def test_a_tensor_that_takes_the_place_of_the_bases_is_trained_and_adds_nothing_unless_it_was_tied(
    tied, tmp_path, tokenizer
):
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], use_dora=True)
    model = small_model("llama", tokenizer, tie_word_embeddings=tied)
    n = model.num_parameters()
    peft.get_peft_model(model, lora).save_pretrained(tmp_path / "theirs")
    held = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    config = small_config("llama", tokenizer, tie_word_embeddings=tied).to_dict()
    found = totals(count_tuned(config, LABELS, model_section("x"), None, of_folder(tmp_path / "theirs")))
    assert found["trainable"] == sum(value.numel() for value in held.values())
    added = [value.numel() for name, value in held.items() if tied or "lora" in name]
    assert (found["base_total"], found["adapter_added"]) == (n, sum(added))
    assert found["tuned_total"] == n + sum(added)


def test_of_a_whole_model_it_is_not_known_what_was_trained(tmp_path, tokenizer):
    folder = write_model(tmp_path / "theirs", "llama", tokenizer, vocab_size=len(tokenizer) + 8)
    config = small_config("llama", tokenizer).to_dict()
    rows = count_tuned(config, LABELS, model_section("x"), None, of_folder(folder))
    found = totals(rows)
    assert not set(TRAINED) & set(found)
    assert found["base_total"] == small_model("llama", tokenizer).num_parameters()
    assert found["tuned_total"] == small_model("llama", tokenizer, vocab_size=len(tokenizer) + 8).num_parameters()
    assert {row.trainable for row in by_module(rows)} == {None}
    assert any("trained" in line and "not known" in line for line in summary(rows))
