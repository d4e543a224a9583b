"""What the sweep over all layouts (tests/test_every_layout.py) has found, each with the layout that showed it."""

import json

import pytest
import torch

from tests.tiny import adapt_section, load, small_tokenizer
from tests.tiny_layouts import small_layout
from tunediff.models.adapt import adapt_model
from tunediff.models.merge import merge_adapter
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError

TOKENIZER = small_tokenizer()
TOKENS = torch.tensor([[1, 40, 200, 30, 7, 9]])


def written(folder, layout, **changes):
    """The folder that a model of this layout is published in."""
    small_layout(layout, **changes).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


@torch.no_grad()
def answers(model):
    return model(input_ids=TOKENS).logits


def moved(model):
    """A model whose adapter says something."""
    torch.manual_seed(2)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model.eval()


def test_the_weights_of_rwkv_are_the_same_in_training_and_evaluation(tmp_path):
    folder = written(tmp_path / "model", "rwkv")
    model = moved(adapt_model(load(tmp_path / "base", folder).model, adapt_section("lora"), seed=0))
    before = answers(model)
    weight = model.get_base_model().rwkv.blocks[1].attention.output.weight.clone()
    model.train()
    torch.testing.assert_close(answers(model), before)
    assert torch.equal(model.get_base_model().rwkv.blocks[1].attention.output.weight, weight)
    torch.testing.assert_close(answers(merge_adapter(model.eval())), before, atol=1e-4, rtol=1e-4)


def test_rwkv_in_4_bits_stays_nf4(tmp_path):
    loaded = load(tmp_path / "base", written(tmp_path / "model", "rwkv"), quantization="nf4")
    answers(loaded.model)
    kinds = {value.quant_state.quant_type for value in loaded.model.parameters() if hasattr(value, "quant_state")}
    assert kinds == {"nf4"}


def test_doge_reads_no_more_than_the_window_behind_which_it_sees_the_future(tmp_path):
    folder = written(tmp_path / "model", "doge", keep_window_size=8)
    assert load(tmp_path / "base", folder).context == 8


def test_an_adapter_beside_a_layer_that_is_no_plain_linear_one_is_refused_where_it_does_not_fit(tmp_path):
    loaded = load(tmp_path / "v4", written(tmp_path / "deepseek", "deepseek_v4"))
    with pytest.raises(
        TunediffError, match=r"found model.layers.0.self_attn.o_a_proj, a DeepseekV4GroupedLinear, which"
    ):
        adapt_model(loaded.model, adapt_section("lora"), seed=0)
    # Falcon's are of a class of its own too, and are the sum of what they and the adapter say.
    loaded = load(tmp_path / "falcon", written(tmp_path / "other", "falcon"))
    before = answers(loaded.model)
    assert torch.equal(answers(adapt_model(loaded.model, adapt_section("lora"), seed=0)), before)


def test_an_adapter_is_read_whole_also_where_layers_have_other_names_than_published_weights(tmp_path):
    folder, adapt = written(tmp_path / "model", "inkling2_text"), adapt_section("lora")
    model = moved(adapt_model(load(tmp_path / "base", folder).model, adapt, seed=0))
    save_tuned(model, adapt, tmp_path / "tuned")
    tuned = load_tuned(load(tmp_path / "base", folder), tmp_path / "tuned").model
    held, found = model.state_dict(), tuned.state_dict()
    assert held.keys() == found.keys()
    assert [name for name in held if not torch.equal(held[name], found[name])] == []
    torch.testing.assert_close(answers(tuned), answers(model))


def test_gemma_3n_does_not_learn_in_4_bits_and_does_without(tmp_path):
    folder = written(tmp_path / "model", "gemma3n_text")
    loaded = load(tmp_path / "nf4", folder, quantization="nf4")
    with pytest.raises(TunediffError, match="found qlora, but a gemma3n_text model cannot be trained this way"):
        adapt_model(loaded.model, adapt_section("qlora"), seed=0)
    adapt_model(load(tmp_path / "base", folder).model, adapt_section("lora"), seed=0)


def test_a_model_whose_answers_depend_on_how_many_tokens_follow_is_refused(tmp_path):
    folder = written(tmp_path / "model", "prophetnet")
    with pytest.raises(
        TunediffError, match="the output of this prophetnet model depends on the number of tokens that follow"
    ):
        load(tmp_path / "base", folder)


def test_a_model_that_learns_from_rows_of_one_length_alone_is_one_line(tmp_path):
    loaded = load(tmp_path / "base", written(tmp_path / "model", "reformer"))
    with pytest.raises(TunediffError, match="found lora, but a reformer model cannot be trained this way: If training"):
        adapt_model(loaded.model, adapt_section("lora"), seed=0)


def test_a_layer_that_peft_does_not_adapt_is_one_line(tmp_path):
    loaded = load(tmp_path / "base", written(tmp_path / "model", "mamba"))
    with pytest.raises(TunediffError, match=r"adapt.target_modules: found all-linear: .*out_proj") as caught:
        adapt_model(loaded.model, adapt_section("lora"), seed=0)
    assert "\n" not in str(caught.value)
    adapt_model(loaded.model, adapt_section("lora", target_modules=["in_proj", "x_proj"]), seed=0)


@pytest.mark.parametrize("plain", [True, False], ids=["Infinity", "today"])
def test_a_config_with_infinity_in_it_is_read(plain, tmp_path):
    folder = written(tmp_path / "model", "bamba")
    config = json.loads((folder / "config.json").read_text())
    assert config["time_step_limit"] == [0.0, {"__float__": "Infinity"}]
    if plain:
        (folder / "config.json").write_text(json.dumps(config | {"time_step_limit": [0.0, float("inf")]}))
    assert load(tmp_path / "base", folder).model.config.time_step_limit[1] == float("inf")
