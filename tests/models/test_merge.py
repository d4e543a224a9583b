"""An adapter in the base's own weights answers as it did beside them, and transformers loads it alone."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.chats import KINDS as CHATS
from tests.chats import chat_prompt, turn_ends
from tests.tiny import (
    CASES,
    LABELS,
    PROMPT,
    adapt_section,
    encoded_prompts,
    load,
    model_section,
    small_bert_tokenizer,
    small_model,
    small_tokenizer,
    write_model,
)
from tunediff.inputs.prompts import encode_cases
from tunediff.models.adapt import adapt_model
from tunediff.models.load import load_model
from tunediff.models.merge import load_whole, merge_adapter, save_merged, save_whole
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json


def adapted(tmp_path, name, head="lm", targets="all-linear", **config):
    """A model and its adapter, whose change is as large as the weights."""
    tokenizer = small_bert_tokenizer() if name == "bert" else small_tokenizer()
    folder = write_model(tmp_path / "model", name, tokenizer, **config)
    loaded = load(tmp_path / "base", folder, head=head)
    model = adapt_model(loaded.model, adapt_section("lora", target_modules=targets), seed=1)
    torch.manual_seed(2)
    for key, value in model.named_parameters():
        if "lora_B" in key or "modules_to_save" in key:
            torch.nn.init.normal_(value, std=0.3)
    return replace(loaded, model=model.eval())


def logits(loaded):
    prompt = PROMPT if loaded.tokenizer.bos_token else PROMPT.model_copy(update={"template": None, "choices": None})
    read = encode_cases if prompt.choices is None else encoded_prompts
    rows = [torch.tensor([one.tokens]) for one in read(loaded.tokenizer, CASES, prompt, loaded.context)]
    with torch.no_grad():
        return [loaded.model(row).logits for row in rows]


@pytest.mark.parametrize(
    ("name", "head", "targets", "config"),
    [
        ("llama", "lm", "all-linear", {}),
        ("phi", "lm", ["q_proj", "fc1", "lm_head"], {}),
        ("llama", "lm", ["q_proj", "lm_head"], {"tie_word_embeddings": True}),
        ("gpt2", "lm", ["c_attn"], {}),
        ("bert", "classification", ["query", "value"], {}),
        ("llama", "classification", "all-linear", {}),
    ],
)
def test_the_merged_model_loaded_from_its_folder_computes_what_the_adapter_did(tmp_path, name, head, targets, config):
    loaded = adapted(tmp_path, name, head, targets, **config)
    before = logits(loaded)
    with torch.no_grad(), loaded.model.disable_adapter():
        base = logits(loaded)
    section = model_section(tmp_path / "merged", head=head)
    save_merged(replace(loaded, model=merge_adapter(loaded.model)), tmp_path / "merged")
    merged = load_model(tmp_path / "merged", read_json(tmp_path / "merged/config.json"), section, LABELS)
    for one, other, untrained in zip(logits(merged), before, base, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(other, untrained, atol=0.1)


def test_an_adapted_output_layer_leaves_the_embedding_that_it_shared_alone(tmp_path):
    loaded = adapted(tmp_path, "llama", targets=["lm_head"], tie_word_embeddings=True)
    embedding = loaded.model.get_input_embeddings().weight.clone()
    merged = merge_adapter(loaded.model)
    assert torch.equal(merged.get_input_embeddings().weight, embedding)
    assert not torch.allclose(merged.get_output_embeddings().weight, embedding)
    assert merged.config.tie_word_embeddings is False


def test_transformers_loads_it_by_itself_and_no_file_names_a_path_of_this_machine(tmp_path):
    loaded = adapted(tmp_path, "llama")
    before, folder = logits(loaded), tmp_path / "merged"
    save_merged(replace(loaded, model=merge_adapter(loaded.model)), folder)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    assert not any(str(tmp_path) in path.read_text() for path in folder.glob("*.json"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("A man.").input_ids == loaded.tokenizer("A man.").input_ids
    alone = replace(loaded, model=AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer=tokenizer)
    for one, other in zip(logits(alone), before, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    loaded = adapted(tmp_path, "llama")
    next(value for key, value in loaded.model.named_parameters() if "lora_B" in key).data.fill_(float("nan"))
    with pytest.raises(TunediffError, match="cannot be merged"):
        merge_adapter(loaded.model)


def test_a_generation_config_is_saved_as_it_was_even_one_that_transformers_would_refuse(tmp_path):
    model = small_model("llama", small_tokenizer())
    model.generation_config.repetition_penalty = 1.05
    model.generation_config.temperature = 0.5  # of no use without do_sample: refused by save_pretrained
    save_whole(model, tmp_path / "saved")
    found = read_json(tmp_path / "saved/generation_config.json")
    assert {key: found[key] for key in ("repetition_penalty", "temperature")} == {
        "repetition_penalty": 1.05,
        "temperature": 0.5,
    }
    assert model.generation_config.repetition_penalty == 1.05


def test_the_merged_model_keeps_the_chat_template(tmp_path):
    tokenizer = CHATS["gemma2"]()
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    model = adapt_model(loaded.model, adapt_section("lora"), seed=1)
    save_merged(replace(loaded, model=merge_adapter(model)), tmp_path / "merged")
    merged = load_model(tmp_path / "merged", read_json(tmp_path / "merged/config.json"), loaded.section, LABELS)
    turns = [{"role": "user", "content": "Is it true?"}]
    first, second = (
        one.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        for one in (tokenizer, merged.tokenizer)
    )
    assert first == second
    prompt = chat_prompt("gemma2")
    assert turn_ends(merged.tokenizer, prompt) == turn_ends(tokenizer, prompt) != []


def test_a_head_whose_order_params_give_is_put_in_order_once(tmp_path):
    weights = write_model(tmp_path / "model", "bert", small_bert_tokenizer(), "classification", num_labels=3)
    order = [LABELS[1], LABELS[2], LABELS[0]]  # put in order twice, it would be a third order
    loaded = load(tmp_path / "base", weights, head="classification", head_labels=order)
    save_merged(loaded, tmp_path / "merged")
    written = load_whole(tmp_path / "merged", loaded.section, LABELS)
    assert torch.equal(written.model.classifier.weight, loaded.model.classifier.weight)
