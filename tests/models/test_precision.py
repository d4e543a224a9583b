"""Other precisions of a model: what is packed, what a checkpoint stores, and what cannot be computed with here."""

import json

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tests.refusals import line_of
from tests.tiny import CASE_SET, CASES, engine_of, load, model_section, small_model, small_tokenizer, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.tuned import Tuned
from tunediff.engines.asking import ask_cases
from tunediff.models.counts import untrained_rows
from tunediff.models.tuned import check_tuned, load_tuned, pin_tuned
from tunediff.models.tuned_counts import count_tuned

TOKENIZER = small_tokenizer()
TOKENS = torch.tensor([[3, 9, 40, 7, 12]])
PACKED = ["nf4", "fp4", "int8"]


@pytest.fixture
def weights(tmp_path):
    return write_model(tmp_path / "weights", "llama", TOKENIZER)


@torch.no_grad()
def logits(model):
    return model(TOKENS).logits


def layout_of(folder):
    return json.loads((folder / "config.json").read_text())


def tuned_of(loaded, folder, tmp_path, **keys):
    section = Tuned(source="folder", id=str(folder), **keys)
    check_tuned(section, layout_of(loaded.weights), loaded.section, [])
    pin_tuned(section, tmp_path / "tuned")
    return load_tuned(loaded, tmp_path / "tuned")


@pytest.mark.parametrize("quantization", PACKED)
def test_a_base_against_its_own_quantisation_holds_both_as_they_are_said(quantization, weights, tmp_path):
    loaded = load(tmp_path / "base", weights)
    tuned = tuned_of(loaded, weights, tmp_path, quantization=quantization)
    assert loaded.found["quantized_layers"] == {}
    assert tuned.found["quantized_layers"] == {quantization: 14}
    assert "cautions" not in tuned.found
    alone = load(tmp_path / "alone", weights, quantization=quantization)
    assert torch.equal(logits(tuned.model), logits(alone.model))
    assert not torch.equal(logits(tuned.model), logits(loaded.model))


@pytest.mark.parametrize("quantization", PACKED)
def test_an_answer_in_few_bits_does_not_depend_on_what_is_asked_beside_it(quantization, weights, tmp_path):
    loaded, evaluate = load(tmp_path / "base", weights, quantization=quantization), Evaluate(scoring_method="choices")
    together = ask_cases(engine_of(loaded), CASES, CASE_SET, evaluate, "test")["log_probs"]
    for case, found in zip(CASES[:3], together, strict=False):
        [alone] = ask_cases(engine_of(loaded), [case], CASE_SET, evaluate, "test")["log_probs"]
        assert found == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("quantization", PACKED)
def test_the_bytes_that_are_counted_are_those_that_are_held(quantization, weights, tmp_path):
    loaded = load(tmp_path / "base", weights, quantization=quantization)
    rows = untrained_rows(layout_of(weights), [], loaded.section)
    assert sum(row.dtype == quantization for row in rows) == 14
    beside = ("bitsandbytes", "weight_format")
    values = {
        value.data_ptr(): value
        for name, value in loaded.model.state_dict().items()
        if not any(part in name for part in beside)
    }
    assert sum(row.bytes for row in rows) == pytest.approx(
        sum(value.numel() * value.element_size() for value in values.values()), rel=0.001
    )
    section = Tuned(source="folder", id=str(weights), quantization=quantization)
    counted = count_tuned(layout_of(weights), [], model_section(weights), None, section)
    assert sum(row.bytes for row in counted) == sum(row.bytes for row in rows)


@pytest.mark.parametrize("how", [{"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, {"load_in_8bit": True}])
def test_what_a_checkpoint_stores_is_loaded_as_it_is_stored(how, weights, tmp_path):
    options = {"quantization_config": BitsAndBytesConfig(**how), "dtype": torch.float32, "device_map": {"": "cpu"}}
    AutoModelForCausalLM.from_pretrained(weights, **options).save_pretrained(tmp_path / "stored")
    TOKENIZER.save_pretrained(tmp_path / "stored")
    tuned = tuned_of(load(tmp_path / "base", weights), tmp_path / "stored", tmp_path, quantization="stored")
    assert list(tuned.found["quantized_layers"].values()) == [14]
    assert "cautions" not in tuned.found


def test_an_adapter_is_put_on_the_base_in_the_precision_that_it_asks_for(weights, tmp_path):
    adapted = peft.get_peft_model(
        small_model("llama", TOKENIZER), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(tmp_path / "base", weights)
    tuned = tuned_of(loaded, tmp_path / "adapter", tmp_path, quantization="nf4")
    assert (tuned.found["nf4_layers"], tuned.found["adapted_layers"]) == (14, 2)
    assert loaded.found["nf4_layers"] == 0
    packed = load(tmp_path / "packed", weights, quantization="nf4")
    expected = peft.PeftModel.from_pretrained(packed.model, tmp_path / "adapter").eval()
    assert torch.equal(logits(tuned.model), logits(expected))
    plain = tuned_of(load(tmp_path / "base", weights), tmp_path / "adapter", tmp_path)
    assert (plain.found["nf4_layers"], plain.found["adapted_layers"]) == (0, 2)


def test_another_type_of_number_is_a_precision_too(weights, tmp_path):
    loaded = load(tmp_path / "base", weights)
    tuned = tuned_of(loaded, weights, tmp_path, dtype="bfloat16")
    assert set(tuned.found["dtypes"]) == {"bfloat16"}
    assert set(loaded.found["dtypes"]) == {"float32"}


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "optimum"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"quant_method": "hqq2"}, "transformers does not support the method 'hqq2'"),
    ],
)
def test_what_a_method_needs_is_named_before_any_weight_is_read(method, needs, weights, tmp_path, monkeypatch):
    if method["quant_method"] in ("gptq", "awq", "compressed-tensors"):
        for name in ("optimum", "gptqmodel", "compressed_tensors"):
            monkeypatch.setattr(f"transformers.utils.import_utils.is_{name}_available", lambda *_: False)
        module = f"transformers.quantizers.quantizer_{method['quant_method'].replace('-', '_')}"
        for name in ("optimum", "gptqmodel", "compressed_tensors"):
            monkeypatch.setattr(f"{module}.is_{name}_available", lambda *_: False, raising=False)
    config = layout_of(weights) | {"quantization_config": method}
    (weights / "config.json").write_text(json.dumps(config))
    (weights / "model.safetensors").write_bytes(b"none")
    section = Tuned(source="folder", id=str(weights), quantization="stored")
    line = line_of(lambda: check_tuned(section, config, model_section(weights), []))
    assert line.startswith("params.yaml: tuned.quantization: found stored, but weights in ")
    assert needs in line


def test_stored_says_nothing_of_weights_that_are_not_quantised(weights):
    section = Tuned(source="folder", id=str(weights), quantization="stored")
    line = line_of(lambda: check_tuned(section, layout_of(weights), model_section(weights), []))
    assert line == (
        f"params.yaml: tuned.quantization: found stored, but the weights in {weights} are not quantized; expected "
        "none, nf4, fp4, int8"
    )


def test_fp8_without_a_gpu_is_turned_into_what_can_be_computed_with_and_that_is_said(weights, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("a GPU computes in FP8")
    config = layout_of(weights) | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}}
    (weights / "config.json").write_text(json.dumps(config))
    found = load(tmp_path / "base", weights, quantization="stored").found
    [caution] = found["cautions"]
    assert "are stored quantized and were converted to float32 when loaded" in caution
    assert caution in capsys.readouterr().err
