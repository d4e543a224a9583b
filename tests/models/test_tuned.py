"""A tuned model is what its manifest says, wherever it comes from."""

import pytest
import torch

from tests.tiny import adapt_section, load, small_model, write_model
from tunediff.config.tuned import Tuned
from tunediff.models.adapt import adapt_model
from tunediff.models.sources import MANIFEST
from tunediff.models.tuned import TUNED_SOURCES, load_tuned, pin_tuned, read_tuned, save_tuned
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import write_json

TOKENS = torch.tensor([[3, 9, 40, 7, 12]])


@torch.no_grad()
def logits(model):
    return model(TOKENS).logits


@pytest.fixture
def loaded(tmp_path, tokenizer):
    return load(tmp_path / "base", write_model(tmp_path / "weights", "llama", tokenizer))


@pytest.mark.parametrize(("method", "form"), [("lora", "adapter"), ("full", "weights")])
def test_training_writes_what_is_needed_to_load(method, form, loaded, tmp_path):
    adapt = adapt_section(method)
    trained = adapt_model(loaded.model, adapt, seed=0)
    save_tuned(trained, adapt, tmp_path / "tuned")
    assert read_tuned(tmp_path / "tuned") == {"source": "train", "method": method, "form": form}


def test_a_source_from_outside_pins_a_model_that_takes_the_place_of_the_base(loaded, tmp_path, tokenizer, monkeypatch):
    elsewhere = write_model(tmp_path / "elsewhere", "llama", tokenizer, seed=7)

    def twin(_, __):
        return {"source": "twin", "form": "whole", "weights": str(elsewhere)}

    monkeypatch.setitem(TUNED_SOURCES, "twin", twin)
    pin_tuned(Tuned(source="twin"), tmp_path / "tuned")
    before = logits(loaded.model)
    tuned = load_tuned(loaded, tmp_path / "tuned")
    assert torch.equal(logits(tuned.model), logits(small_model("llama", tokenizer, seed=7)))
    assert not torch.equal(logits(tuned.model), before)
    assert (tuned.context, tuned.labels) == (loaded.context, loaded.labels)


def test_a_source_that_nobody_registered_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(TunediffError, match=r"tuned\.source: found twin, expected one of train, hub, folder$"):
        pin_tuned(Tuned(source="twin"), tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("manifest", [[], {"source": "train"}, {"form": "pickle"}])
def test_a_manifest_that_does_not_say_how_to_load_it_is_a_line(manifest, loaded, tmp_path):
    (tmp_path / "tuned").mkdir()
    write_json(tmp_path / "tuned" / MANIFEST, manifest)
    with pytest.raises(TunediffError, match=r"manifest\.json: form: found .*, expected one of adapter, weights, whole"):
        load_tuned(loaded, tmp_path / "tuned")
