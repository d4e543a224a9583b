"""What a model says it computes with is what the libraries themselves say."""

from dataclasses import replace

import bitsandbytes
import peft
import torch
import transformers

from tests.tiny import adapt_section, load, write_model
from tunediff.models.adapt import adapt_model
from tunediff.models.environment import environment


def test_the_environment_names_libraries_device_attention_and_dtype(tmp_path, tokenizer):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    found = environment(loaded.model)
    for library in (torch, transformers, peft, bitsandbytes):
        assert found[library.__name__] == library.__version__
    assert (found["attention"], found["dtype"]) == ("sdpa", "float32")
    if torch.cuda.is_available():
        assert found["device"] == torch.cuda.get_device_name()
    else:
        assert found["threads"] == str(torch.get_num_threads())
        assert torch.backends.cpu.get_cpu_capability() in found["device"]


def test_an_adapter_or_four_bits_hide_nothing_of_it_and_another_dtype_shows(tmp_path, tokenizer):
    folder = write_model(tmp_path / "model", "llama", tokenizer)
    plain = environment(load(tmp_path / "base", folder).model)
    quantized = load(tmp_path / "base", folder, quantization="nf4")
    assert environment(quantized.model) == plain
    adapted = replace(quantized, model=adapt_model(quantized.model, adapt_section("qlora"), seed=1))
    assert environment(adapted.model) == plain
    half = environment(load(tmp_path / "base", folder, dtype="bfloat16").model)
    assert half == plain | {"dtype": "bfloat16"}


def test_another_attention_kernel_shows(tmp_path, tokenizer):
    model = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer)).model
    model.set_attn_implementation("eager")
    assert environment(model)["attention"] == "eager"
