"""Any causal layout of transformers a few units wide: its own configuration with every size made small."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# By its name in config.json; there are a few more than there are classes.
LAYOUTS = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
# More are not tiny: some size has stayed that of the published model.
MOST_PARAMETERS = 3_000_000
VOCABULARY = 384


def _sizes(value: Any, *names: str) -> dict[str, Any]:
    return dict.fromkeys(names, value)


# What a size is called differs from layout to layout; a name means the same in all of them but those of OWN.
SIZES: dict[str, Any] = (
    _sizes(VOCABULARY, "vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size")
    | _sizes(32, "hidden_size", "d_model", "n_embd", "word_embed_proj_dim", "embedding_dim", "emb_dim", "lru_width")
    | _sizes(32, "embedding_size", "input_embedding_size", "output_embedding_size", "attention_hidden_size")
    | _sizes(32, "hidden_dim", "embed_dim")
    | _sizes(48, "intermediate_size", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_dim", "d_ff", "dff", "dim_ff")
    | _sizes(48, "ffn_hidden_size", "d_inner", "n_inner", "feed_forward_size", "intermediate_size_mlp")
    | _sizes(48, "dense_intermediate_size")
    | _sizes(16, "moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size")
    | _sizes(16, "shared_intermediate_size", "shared_experts_intermediate_size", "moe_shared_expert_intermediate_size")
    | _sizes(4, "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "attention_heads")
    | _sizes(4, "encoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads")
    | _sizes(2, "num_key_value_heads", "num_kv_heads")
    | _sizes(8, "head_dim", "d_head", "dim_head", "attention_head_size", "kv_channels", "attention_head_dim")
    | _sizes(2, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers", "depth")
    | _sizes(2, "num_encoder_layers", "num_decoder_layers", "num_blocks")
    | _sizes(64, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions")
    | _sizes(64, "context_length", "max_source_positions")
    | _sizes(8, "sliding_window", "sliding_window_size", "window_size", "local_attention", "attention_window_size")
    | _sizes(8, "attention_chunk_size", "local_attention_window_len")
    | _sizes(4, "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    | _sizes(2, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
    | _sizes(1, "n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts")
    | _sizes(16, "q_lora_rank", "kv_lora_rank", "o_lora_rank", "mamba_dt_rank", "time_step_rank", "router_hidden_size")
    | _sizes(8, "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim", "index_head_dim", "swa_head_dim")
    | _sizes(16, "qk_head_dim")
    | _sizes(2, "index_n_heads")
    | _sizes(8, "state_size", "ssm_state_size", "mamba_d_state", "chunk_size", "mamba_chunk_size", "block_size")
    | _sizes(8, "linear_head_dim", "linear_key_head_dim", "linear_value_head_dim", "mamba_d_head", "mamba_head_dim")
    | _sizes(4, "linear_num_heads", "linear_num_key_heads", "linear_num_value_heads", "swa_num_attention_heads")
    | _sizes(2, "swa_num_key_value_heads")
    | _sizes(0.3, "initializer_range", "init_std")
    | _sizes(0.0, "attention_dropout", "hidden_dropout", "embd_pdrop", "resid_pdrop")
    | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    | {"image_size": 16, "patch_size": 8, "num_mel_bins": 8, "index_topk": 64}
    | {"keep_window_size": 64}
)
# By layout, where the sizes above do not make a model: keys as in config.json.
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
_INDEXED = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 64}
_INDEXED |= {"indexer_compress_ratio": 4, "layer_types": ["linear_attention", "indexed_attention"]}
_QWEN4 = _INDEXED | {"num_hidden_layers": 2, "ple_embed_dim": 32, "hc_lowrank": 16, "ngram_vocab_size_base": 200}
_SHARED_KV = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_GEMMA3N = _SHARED_KV | {"intermediate_size": [48] * 4, "activation_sparsity_pattern": [0.95, 0.0] * 2}
_GEMMA3N |= {"hidden_size_per_layer_input": 8, "laurel_rank": 8}
_DOTS3 = {"layer_types": ["indexed_attention", "sliding_attention"], "mlp_layer_types": ["dense", "sparse"]}
_DOTS3 |= {"num_hidden_layers": 2, "head_dim": 16, "v_head_dim": 16, "per_layer_config": {}}
_ASSISTANT = {"num_hidden_layers": 2, "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
_ASSISTANT |= {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
_BYTES = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
_BYTES |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8}
OWN: dict[str, dict[str, Any]] = {
    "bamba": _MAMBA | {"num_hidden_layers": 2, "attn_layer_indices": [1]},
    "blt": {
        **dict.fromkeys(("patcher_config", "encoder_config", "decoder_config"), _BYTES),
        "global_config": _BYTES | {"hidden_size": 64},
        "encoder_hash_byte_group_vocab": 50,
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note": {"text_config": _DOTS3, "audio_config": {"adapter_in_dim": 32}},
    "dots3_note_text": _DOTS3,
    "gemma3n": {"text_config": _GEMMA3N},
    "gemma3n_text": _GEMMA3N,
    "gemma4_assistant": {
        "text_config": {"model_type": "gemma4_text"} | _BYTES | _ASSISTANT,
        "backbone_hidden_size": 32,
    },
    "gemma4_unified_assistant": {"text_config": _ASSISTANT, "backbone_hidden_size": 32},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"is_decoder": True, "axial_pos_shape": [8, 8], "axial_pos_embds_dim": [16, 16]},
    "roc_bert": {"pronunciation_vocab_size": VOCABULARY, "pronunciation_embed_dim": 8}
    | {"shape_vocab_size": VOCABULARY, "shape_embed_dim": 8},
    # Rescaled from every layer on, so that two layers show it.
    "rwkv": {"rescale_every": 1},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"]}
    | {"num_hidden_layers": 4, "attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"]}
    | {"num_hidden_layers": 4, "attention_hidden_size": 64, "attention_head_dim": 16, "n_mamba_heads": 8}
    | {"mamba_headdim": 8, "hybrid_layer_ids": [1, 3]},
    "zaya": {"num_experts_per_tok": 1},
}
# Where a token of another kind than text is put: behind those of the text.
PLACEHOLDERS = ("_token_id", "_token_index")


def small_values(layout: str) -> dict[str, Any]:
    """What config.json of this layout holds beside `model_type`, every size small.

    Raises:
        Exception: the layout has no configuration of its own, each says so in its own way.
    """
    try:
        published = CONFIG_MAPPING[layout]().to_dict()
    except ValueError:  # its own default values are none that it takes
        published = {}
    return _over(_small(published), OWN.get(layout, {}))


def small_layout(layout: str, **changes: Any) -> torch.nn.Module:
    """A model of this layout with random weights, wide enough that every part of it shows in the logits.

    Raises:
        ValueError: it stays large; or whatever the layout raises where it cannot be built so.
    """
    config = AutoConfig.for_model(layout, **(small_values(layout) | changes))
    with torch.device("meta"):
        size = sum(value.numel() for value in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters although every size is small")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1 or not value.isfinite().all():
                value.normal_(0, 0.2)
    return model


def _small(published: dict[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for key, value in published.items():
        if isinstance(value, dict) and key.endswith("config") and key != "per_layer_config":
            small[key] = _small(value) | ({"model_type": value["model_type"]} if "model_type" in value else {})
        elif key in SIZES and value is not None and not isinstance(value, list | dict):
            small[key] = SIZES[key]
        elif key.endswith(PLACEHOLDERS) and isinstance(value, int) and value >= VOCABULARY:
            small[key] = VOCABULARY - 1 - len([one for one in small if one.endswith(PLACEHOLDERS)])
        elif key == "eos_token_id":
            small[key] = 2
    heads, groups = published.get("num_attention_heads"), published.get("num_key_value_heads")
    if heads is not None and heads == groups:
        small["num_key_value_heads"] = SIZES["num_attention_heads"]
    return small | _layers(published)


def _over(values: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The values with those of a layout's own over them, section by section."""
    sections = {key: _over(values[key], own[key]) for key in own if isinstance(values.get(key), dict)}
    return values | own | sections


def _layers(published: dict[str, Any]) -> dict[str, Any]:
    """Lists with a value per layer, and as many layers as show every kind once."""
    counts = [published[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if published.get(key)]
    lists = {key: value for key, value in published.items() if isinstance(value, list) and [len(value)] == counts[:1]}
    if not lists:
        return {}
    rows = list(zip(*lists.values(), strict=True))
    chosen = list({json: at for at, json in reversed(list(enumerate(map(repr, rows))))}.values())[::-1]
    chosen = sorted(chosen)[:6] if len(chosen) > 1 else [0, 1]
    key = next(key for key in ("num_hidden_layers", "n_layer", "num_layers") if published.get(key))
    return {name: [value[at] for at in chosen] for name, value in lists.items()} | {key: len(chosen)}
