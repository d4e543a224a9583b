"""Tiny models of many layouts that generate."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny import small_tokenizer

TOKENIZER = small_tokenizer()
SPECIAL = {"vocab_size": len(TOKENIZER), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BART = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
LIMIT = 32
LONGROPE = {
    **{"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": LIMIT},
    **{"long_factor": [4.0, 9.0, 3.0, 7.0], "short_factor": [1.0] * 4},
}


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LAYOUTS = {
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    "bart": BART,
    "blenderbot": BART,
    "bigbird_pegasus": BART,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "phi3": SIZES
    | {"num_key_value_heads": 2, "max_position_embeddings": 128, "rope_parameters": LONGROPE}
    | {"original_max_position_embeddings": LIMIT},
    "llama": SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 128, "rope_parameters": LONGROPE},
}


def made(name):
    """A model of this layout with weights so wide that a token more or less in sight shows."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**({"model_type": name} | LAYOUTS[name] | SPECIAL))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    return model
