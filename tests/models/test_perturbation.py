"""Null adapters have the trained one's norm in each layer; strengths go from the base to the trained model and on."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.shaken import answers, shake
from tests.tiny import adapt_section, load, write_model
from tunediff.models.adapt import adapt_model
from tunediff.models.perturbation import write_null, write_scaled
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, write_json


class Trial:
    """A base and what training made of it."""

    def __init__(self, folder, published, method):
        self.folder, self.published = folder, published
        self.tuned, adapt = folder / "tuned", adapt_section(method)
        save_tuned(shake(adapt_model(self.base().model, adapt, seed=0)), adapt, self.tuned)

    def base(self):
        return load(self.folder / "base", self.published)

    def network(self):
        return self.base().model

    def answers(self, folder):
        return answers(load_tuned(self.base(), folder).model)

    def changes(self, folder):
        """What each layer is changed by."""
        if (folder / "trained.safetensors").exists():
            base = dict(self.network().named_parameters())
            return {name: value - base[name] for name, value in load_file(folder / "trained.safetensors").items()}
        weights = load_file(folder / "adapter_model.safetensors")
        downs = [name for name in weights if "lora_A" in name]
        return {name: weights[name.replace("lora_A", "lora_B")] @ weights[name] for name in downs}


@pytest.fixture(scope="module", params=["lora", "full"])
def trial(request, tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp(request.param)
    write_model(folder / "llama", "llama", tokenizer)
    return Trial(folder, folder / "llama", request.param)


@pytest.mark.slow
def test_a_null_adapter_has_the_norm_of_the_trained_one_in_each_layer_and_another_direction(trial, tmp_path):
    trained = trial.changes(trial.tuned)
    for seed in (1, 2):
        write_null(trial.tuned, tmp_path / str(seed), trial.network, seed)
    drawn = [trial.changes(tmp_path / str(seed)) for seed in (1, 2)]
    for name, change in trained.items():
        for null in drawn:
            assert null[name].norm().item() == pytest.approx(change.norm().item(), rel=1e-4)
            assert torch.cosine_similarity(null[name].flatten(), change.flatten(), dim=0).abs() < 0.9
        assert not torch.allclose(drawn[0][name], drawn[1][name])
    assert not torch.allclose(trial.answers(tmp_path / "1"), trial.answers(trial.tuned), atol=1e-3)
    write_null(trial.tuned, tmp_path / "again", trial.network, 1)
    assert torch.equal(trial.answers(tmp_path / "again"), trial.answers(tmp_path / "1"))


@pytest.mark.slow
def test_strength_0_answers_as_the_base_and_strength_1_as_the_tuned_model(trial, tmp_path):
    for strength in (0.0, 0.5, 1.0, 1.25):
        write_scaled(trial.tuned, tmp_path / str(strength), trial.network, strength)
    assert torch.equal(trial.answers(tmp_path / "0.0"), answers(trial.base().model))
    assert torch.allclose(trial.answers(tmp_path / "1.0"), trial.answers(trial.tuned), atol=1e-5)
    trained = trial.changes(trial.tuned)
    for strength in (0.5, 1.25):
        for name, change in trial.changes(tmp_path / str(strength)).items():
            assert torch.allclose(change, strength * trained[name], atol=1e-6)


def test_a_model_that_cannot_be_varied_is_refused_in_one_line(tmp_path):
    write_json(tmp_path / "whole" / "manifest.json", {"source": "folder", "form": "whole"})
    with pytest.raises(TunediffError, match="found a whole model, expected an adapter or weights"):
        write_null(tmp_path / "whole", tmp_path / "out", dict, 1)
    write_json(tmp_path / "other" / "manifest.json", {"source": "folder", "form": "adapter"})
    write_json(tmp_path / "other" / "adapter_config.json", {"peft_type": "IA3"})
    with pytest.raises(TunediffError, match="found IA3, expected LoRA"):
        write_null(tmp_path / "other", tmp_path / "out2", dict, 1)
    assert read_json(tmp_path / "other" / "adapter_config.json") == {"peft_type": "IA3"}


def test_an_adapter_with_a_tensor_that_was_trained_whole_is_refused(tmp_path):
    write_json(tmp_path / "manifest.json", {"source": "train", "method": "lora", "form": "adapter"})
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA"})
    names = ("layer.lora_A.weight", "layer.lora_B.weight", "score.weight")
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(TunediffError, match=r"found score\.weight, which was fully trained"):
        write_null(tmp_path, tmp_path / "null", dict, 1)
