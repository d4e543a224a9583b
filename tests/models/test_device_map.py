"""A model that is spread over several places gives the answers of one place.

There are no GPUs here. Layers that accelerate reads from disk go through the same hooks as layers on other GPUs: their
weights are there only while they compute, so code that reads a weight past its layer fails.
"""

from types import SimpleNamespace

import pytest
import torch
from accelerate import disk_offload

from tests.tiny import LABELS, adapt_section, model_section, pin, write_model
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generate import generate
from tunediff.models.adapt import adapt_model
from tunediff.models.load import check_memory, load_base
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError

PROMPTS = [[1, 5, 6, 7, 8, 9, 10, 11, 12, 13 + i, *range(20, 20 + i)] for i in range(5)]
CHOICES = [[[40, 41], [42], [43, 44, 45]]] * len(PROMPTS)
CPU = torch.device("cpu")


@pytest.fixture(params=["llama", "gpt2"])
def base(request, tmp_path, tokenizer):
    """A pinned base: a layout with a tree of choices and a shared prefix, and one without."""
    section = model_section(write_model(tmp_path / "model", request.param, tokenizer))
    return pin(tmp_path / "base", tmp_path / "model", section), section


def answers(loaded):
    written = generate(loaded.model, loaded.tokenizer, PROMPTS, 200, 5, "test")
    return score_choices(loaded.model, PROMPTS, CHOICES, 200, "test"), written


def layers_of(network):
    decoder = network.get_base_model().get_decoder() if hasattr(network, "peft_config") else network.get_decoder()
    return decoder.h if hasattr(decoder, "h") else decoder.layers


def offloaded(loaded, folder):
    """The same model, its layers read from disk while they compute."""
    disk_offload(layers_of(loaded.model), folder, execution_device=CPU)
    assert {value.device.type for value in layers_of(loaded.model).parameters()} == {"meta"}
    return loaded


def test_a_spread_base_answers_as_a_whole_one(base, tmp_path):
    scores, written = answers(load_base(*base, LABELS))
    for spread in (
        load_base(*base, LABELS, device_map="auto"),
        offloaded(load_base(*base, LABELS, device_map="auto"), tmp_path / "disk"),
    ):
        found, again = answers(spread)
        assert torch.equal(found, scores)
        assert again == written


def test_a_spread_model_with_an_adapter_answers_as_a_whole_one(base, tmp_path):
    adapt, folder = adapt_section("lora", target_modules="all-linear"), tmp_path / "tuned"
    folder.mkdir()
    network = adapt_model(load_base(*base, LABELS).model, adapt, seed=0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name:
                value.normal_(generator=torch.Generator().manual_seed(1))
    save_tuned(network, adapt, folder)
    scores, written = answers(load_tuned(load_base(*base, LABELS), folder))
    assert not torch.equal(scores, answers(load_base(*base, LABELS))[0])
    spread = load_tuned(load_base(*base, LABELS, device_map="auto"), folder)
    assert spread.device_map == "auto"
    found, again = answers(offloaded(spread, tmp_path / "disk"))
    assert torch.equal(found, scores)
    assert again == written


def test_a_model_without_room_on_the_gpus_is_refused(base):
    parts = [name for name, _ in load_base(*base, LABELS).model.named_children()]
    places = dict.fromkeys(parts, "cpu") | {"lm_head": "disk"}
    with pytest.raises(
        TunediffError, match=r"engine\.device_map: found no room on the GPUs for 1 of \d+ parts.*lm_head"
    ):
        load_base(*base, LABELS, device_map=places)


def test_the_free_memory_of_all_gpus_counts_for_a_spread_model(monkeypatch):
    from tests.models.layouts import PHI_2

    section = model_section("phi-2", dtype="float16")  # 5.2 GiB, and a fifth on top
    free = [4 * 2**30, 3 * 2**30]
    fake = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, mem_get_info=lambda gpu: (free[gpu or 0], 2**40)
    )
    monkeypatch.setattr(torch, "cuda", fake)
    check_memory(PHI_2, section, 3, "auto")
    with pytest.raises(TunediffError, match=r"found 4\.0 GiB free on cuda, expected at least 6\.2 GiB"):
        check_memory(PHI_2, section, 3)
    free[1] = 2**30
    with pytest.raises(TunediffError, match=r"found 5\.0 GiB free on 2 GPUs"):
        check_memory(PHI_2, section, 3, "auto")
