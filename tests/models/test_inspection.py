"""What is loaded is what is said, for every way in which the two have been seen to differ."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from tests.tiny import LABELS, SMALL, adapt_section, load, model_section, small_model, small_tokenizer, write_model
from tunediff.models.adapt import adapt_model
from tunediff.models.counts import count_parameters, untrained_rows
from tunediff.models.inspection import changes_greedy, with_adapter
from tunediff.models.parameters import totals
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError

TOKENIZER = small_tokenizer()
SPECIAL = {"vocab_size": len(TOKENIZER), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
EXPERTS = {"model_type": "mixtral", "intermediate_size": 96, "num_key_value_heads": 4, "num_local_experts": 4}
GEMMA3 = {"model_type": "gemma3_text", "intermediate_size": 96, "num_key_value_heads": 4, "head_dim": 16}
GEMMA3 |= {"sliding_window": 512, "max_position_embeddings": 64}


def written(folder, config, **saving):
    """The folder of a model of this layout with random weights."""
    torch.manual_seed(0)
    configuration = AutoConfig.for_model(**(SIZES | SPECIAL | config))
    model = AutoModelForCausalLM.from_config(configuration, dtype=torch.float32).eval()
    model.save_pretrained(folder, **saving)
    TOKENIZER.save_pretrained(folder)
    return folder


def stored(folder, tmp_path, **how):
    """A Llama's folder whose weights are stored quantised by bitsandbytes."""
    plain = write_model(tmp_path / "plain", "llama", TOKENIZER)
    config = BitsAndBytesConfig(**how)
    options = {"quantization_config": config, "dtype": torch.float32, "device_map": {"": "cpu"}}
    AutoModelForCausalLM.from_pretrained(plain, **options).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def error_of(folder, tmp_path, **keys):
    with pytest.raises(TunediffError) as caught:
        load(tmp_path / "base", folder, **keys)
    [line] = caught.value.args
    assert "\n" not in line
    return line


def change_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def held(loaded):
    """Bytes of the weights of a loaded model, with what quantisation keeps beside them; what is tied counts once."""
    values = {
        value.data_ptr(): value for name, value in loaded.model.state_dict().items() if "bitsandbytes" not in name
    }
    return sum(value.numel() * value.element_size() for value in values.values())


def counted(folder):
    """The rows of the base under QLoRA, as count_params counts them from config.json alone."""
    config = json.loads((folder / "config.json").read_text())
    lora = {"method": "qlora", "r": 2, "target_modules": "all-linear"}
    return [row for row in count_parameters(config, quantization="nf4", **lora) if not row.trainable]


# Quantised


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_is_found_is_what_was_asked_for(quantization, tmp_path):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", TOKENIZER), quantization=quantization)
    assert loaded.found["linear_layers"] == 14
    assert loaded.found["nf4_layers"] == (14 if quantization == "nf4" else 0)
    assert loaded.found["nf4_share"] == (1 if quantization == "nf4" else 0)
    assert set(loaded.found["dtypes"]) == {"float32"}
    assert (loaded.found["head"], "cautions" in loaded.found) == ("checkpoint", False)


@pytest.mark.parametrize(("head", "names", "whose"), [("lm", None, "checkpoint"), ("classification", LABELS, "new")])
def test_what_is_found_in_a_tuned_model_names_its_adapter_and_its_trained_head(head, names, whose, tmp_path):
    folder, adapt = write_model(tmp_path / "model", "llama", TOKENIZER), adapt_section("qlora")
    how = {"quantization": "nf4", "head": head}
    loaded = load(tmp_path / "base", folder, **how)
    assert (loaded.found["head"], loaded.found.get("labels"), loaded.found["adapted_layers"]) == (whose, names, 0)
    model = adapt_model(loaded.model, adapt, 0)
    for name, value in model.named_parameters():
        if "lora_B" in name and "layers.0.mlp" not in name:
            torch.nn.init.normal_(value)
    save_tuned(model, adapt, tmp_path / "tuned")
    tuned = load_tuned(load(tmp_path / "base", folder, **how), tmp_path / "tuned").found
    whose = "trained" if whose == "new" else whose
    assert tuned == loaded.found | {"adapted_layers": 14, "idle_layers": 3, "head": whose}
    json.dumps(tuned)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize(("name", "head"), [("llama", "lm"), ("llama", "classification"), ("gpt2", "lm")])
def test_a_loaded_model_has_the_parameters_that_its_layout_was_counted_to_have(name, head, quantization, tmp_path):
    folder = write_model(tmp_path / "model", name, TOKENIZER)
    loaded = load(tmp_path / "base", folder, quantization=quantization, head=head)
    section = model_section(folder, quantization=quantization, head=head)
    sums = totals(untrained_rows(json.loads((folder / "config.json").read_text()), LABELS, section))
    assert loaded.found["parameters"] == sums["base_with_head_total"]
    assert (sums["base_with_head_total"] == sums["base_total"]) == (head == "lm")


def test_an_adapter_that_is_switched_off_is_not_what_params_say(tmp_path):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", TOKENIZER))
    model = adapt_model(loaded.model, adapt_section("lora"), 0)
    assert with_adapter(model) == {"adapted_layers": 14, "idle_layers": 14}
    with model.disable_adapter(), pytest.raises(TunediffError, match="found 14 layers with an adapter, of which none"):
        with_adapter(model)


def test_layers_of_another_class_than_linear_are_not_4_bit_and_that_is_refused(tmp_path):
    folder = written(tmp_path / "model", {"model_type": "falcon"})
    line = error_of(folder, tmp_path, quantization="nf4")
    assert "found nf4, but of the 8 linear layers of the falcon model none became NF4" in line
    assert not any(row.dtype == "nf4" for row in counted(folder))


def test_fused_experts_are_counted_as_they_are_and_cautioned_about(tmp_path, capsys):
    folder = written(tmp_path / "model", EXPERTS)
    loaded = load(tmp_path / "base", folder, quantization="nf4")
    rows = counted(folder)
    assert sum(row.dtype == "nf4" for row in rows) == loaded.found["nf4_layers"] == 8
    assert sum(row.bytes for row in rows) == pytest.approx(held(loaded), rel=0.01)
    [caution] = loaded.found["cautions"]
    assert "of the weights of the mixtral model are NF4 (8 layers); the others are unchanged: " in caution
    assert "MixtralExperts" in caution
    assert caution in capsys.readouterr().err


@pytest.mark.parametrize("double", [True, False])
def test_a_checkpoint_stored_in_nf4_is_loaded_where_params_say_so_and_counted_as_it_is(double, tmp_path):
    how = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double}
    folder = stored(tmp_path / "model", tmp_path, **how)
    line = error_of(folder, tmp_path, quantization="none")
    assert line.startswith("params.yaml: model.quantization: found none, but the weights in ")
    assert line.endswith("are stored as nf4; expected stored or nf4")
    shutil.rmtree(tmp_path / "base")
    loaded = load(tmp_path / "base", folder, quantization="nf4")
    assert loaded.found["nf4_layers"] == 14
    rows = counted(folder)
    assert totals(rows)["bytes"] == pytest.approx(held(loaded), rel=0.01)


@pytest.mark.parametrize(
    ("how", "name"),
    [({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "fp4"), ({"load_in_8bit": True}, "int8")],
)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_checkpoint_stored_in_another_way_is_refused(how, name, quantization, tmp_path):
    line = error_of(stored(tmp_path / "model", tmp_path, **how), tmp_path, quantization=quantization)
    assert f"found {quantization}, but the weights in " in line
    assert line.endswith(f"are stored as {name}; expected stored or {name}")


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "hqq2"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_every_other_quantisation_is_refused_by_its_name(method, quantization, tmp_path):
    folder = write_model(tmp_path / "model", "llama", TOKENIZER)
    change_json(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})
    assert error_of(folder, tmp_path, quantization=quantization).endswith(f"are stored as {method}; expected stored")


# Adapters, code, embedding


@pytest.mark.parametrize("files", [["adapter_config.json"], ["adapter_config.json", "adapter_model.safetensors"]])
def test_an_adapter_beside_whole_weights_is_refused(files, tmp_path):
    from peft import LoraConfig, get_peft_model

    folder = write_model(tmp_path / "model", "llama", TOKENIZER)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(small_model("llama", TOKENIZER), config).save_pretrained(tmp_path / "adapter")
    for name in files:
        shutil.copyfile(tmp_path / "adapter" / name, folder / name)
    line = error_of(folder, tmp_path)
    assert line.startswith(f"{folder / 'adapter_config.json'}: found an adapter next to the weights of a whole model")


def test_code_that_a_known_layout_names_is_not_run_and_that_is_said(tmp_path, capsys):
    folder = write_model(tmp_path / "model", "llama", TOKENIZER)
    change_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.XModel"})
    load(tmp_path / "base", folder)
    line = (
        "config.json refers to custom code (auto_map), which is not run; the layout llama of transformers is "
        "loaded instead"
    )
    assert line in capsys.readouterr().err


def test_an_embedding_shorter_than_the_tokenizer_is_refused_with_both_sizes_and_a_longer_one_is_not(tmp_path):
    for change in (-20, 64):
        model = small_model("llama", TOKENIZER)
        model.resize_token_embeddings(len(TOKENIZER) + change)
        model.save_pretrained(tmp_path / f"model{change}")
        TOKENIZER.save_pretrained(tmp_path / f"model{change}")
    line = error_of(tmp_path / "model-20", tmp_path)
    n = len(TOKENIZER)
    assert f"found an embedding of {n - 20} rows and a tokenizer of {n} tokens; expected a row for each token" in line
    assert load(tmp_path / "other", tmp_path / "model64").model.config.vocab_size == n + 64


# The future


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "xlnet", "d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 96},
        {"model_type": "bert-generation", "intermediate_size": 96},
        GEMMA3 | {"use_bidirectional_attention": True},
    ],
    ids=lambda config: config["model_type"],
)
def test_a_model_that_sees_the_future_is_refused_as_a_language_model(config, tmp_path):
    folder = written(tmp_path / "model", config)
    line = error_of(folder, tmp_path)
    assert (
        f"found lm, but this {config['model_type']} model attends to the tokens after the one that it predicts" in line
    )


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"bert"}))
def test_a_model_that_reads_from_left_to_right_is_not(name, tmp_path):
    assert "cautions" not in load(tmp_path / "base", write_model(tmp_path / "model", name, TOKENIZER)).found


def test_the_same_layout_reading_from_left_to_right_is_not_refused(tmp_path):
    load(tmp_path / "base", written(tmp_path / "model", GEMMA3))


# Greedy


def test_what_would_change_greedy_generation_is_said_and_what_would_not_is_not(tmp_path, capsys):
    folder = write_model(tmp_path / "model", "llama", TOKENIZER)
    change_json(folder / "generation_config.json", repetition_penalty=1.05, do_sample=True, temperature=0.7, top_p=0.8)
    loaded = load(tmp_path / "base", folder)
    assert changes_greedy(loaded.model) == {"repetition_penalty": 1.05}
    sentence = "generation_config.json sets repetition_penalty 1.05, which is ignored in greedy generation"
    assert loaded.found["cautions"] == [sentence]
    assert capsys.readouterr().err.count(sentence) == 1
