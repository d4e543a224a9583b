"""Weights that are dequantized once give what bitsandbytes gives, which dequantizes them in every pass."""

from types import SimpleNamespace

import psutil
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from tests.tiny import LABELS, adapt_section, model_section, pin, write_model
from tunediff.models import dequantized
from tunediff.models.adapt import adapt_model
from tunediff.models.dequantized import keep_dequantized
from tunediff.models.load import load_base

TOKENS = torch.tensor([[1, 9, 40, 7, 20, 21], [1, 30, 31, 32, 33, 34]])


@pytest.fixture
def base(tmp_path, tokenizer):
    """Load the same small model again, in 4 bits."""
    # Phi has biases.
    folder = write_model(tmp_path / "model", "phi", tokenizer)
    pin(tmp_path / "base", folder, model_section(folder))
    return lambda **keys: load_base(tmp_path / "base", model_section(folder, **keys), LABELS).model


@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_logits_and_gradients_are_those_of_bitsandbytes_to_the_last_bit(base, quantization, dtype):
    plain, kept = (base(quantization=quantization, dtype=dtype) for _ in range(2))
    assert keep_dequantized(kept) == sum(
        one.in_features * one.out_features * one.compute_dtype.itemsize
        for one in plain.modules()
        if isinstance(one, Linear4bit)
    )
    for width in (1, 6):
        with torch.inference_mode():
            assert torch.equal(plain(TOKENS[:, :width]).logits, kept(TOKENS[:, :width]).logits)
    plain, kept = (adapt_model(network, adapt_section("qlora"), seed=0).train() for network in (plain, kept))
    for network in (plain, kept):
        torch.manual_seed(3)  # of the base's dropout
        network(TOKENS, labels=TOKENS).loss.backward()
    pairs = zip(plain.named_parameters(), kept.named_parameters(), strict=True)
    trained = [(value, other) for (_, value), (_, other) in pairs if value.requires_grad]
    assert trained
    assert all(torch.equal(value.grad, other.grad) for value, other in trained)


def test_a_weight_is_rounded_once_where_it_was_stored_in_another_dtype():
    plain, kept = (Linear4bit(64, 32, compute_dtype=torch.bfloat16, quant_type="nf4") for _ in range(2))
    kept.load_state_dict(plain.state_dict())
    for module in (plain, kept):
        module.to("cpu").eval().requires_grad_(False)
        module.support_avx512bf16_for_cpu = False
    assert plain.weight.quant_state.dtype == torch.float32
    keep_dequantized(kept)
    inputs = torch.randn(5, 64)
    assert torch.equal(plain(inputs), kept(inputs))


def test_nothing_is_kept_where_memory_is_short(base, monkeypatch):
    network = base(quantization="nf4")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert keep_dequantized(network) == 0
    assert not any("forward" in vars(module) for module in network.modules())


def test_what_is_kept_is_no_parameter_and_is_not_made_twice(base, monkeypatch):
    network = base(quantization="nf4")
    before = network.state_dict().keys()
    first = keep_dequantized(network)
    monkeypatch.setattr(dequantized, "_forward", None)
    assert keep_dequantized(network) == first > 0
    assert network.state_dict().keys() == before


def test_other_weights_are_left_alone(base):
    assert keep_dequantized(base(quantization="none")) == 0
