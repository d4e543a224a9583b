"""Goldens: every count of systems A-E, and what peft and bitsandbytes really hold for small models."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.layouts import (
    BERT_BASE_UNCASED,
    LLAMA_3_2_1B,
    PHI_2,
    SMALL_BERT,
    SMALL_GPT2,
    SMALL_LLAMA,
    SMALL_PHI,
)
from tunediff.models.counts import count_parameters, nf4_bytes, weight_bytes
from tunediff.models.layouts import layout
from tunediff.models.modules import matched_targets, new_head, unpacked_modules
from tunediff.models.parameters import by_module, totals
from tunediff.runtime.errors import TunediffError

ATTENTION = ["q_proj", "k_proj", "v_proj", "dense"]
SYSTEM_B = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
BERT_QKV = ["query", "key", "value"]


# Published counts


def test_system_a_counts_logical_and_packed_apart():
    rows = count_parameters(PHI_2, quantization="nf4", dtype="float16", method="qlora", r=32, target_modules=ATTENTION)
    found = totals(rows)
    assert found["base_total"] == 2_779_683_840
    assert found["trainable"] == 20_971_520
    assert found["tuned_total"] == 2_800_655_360
    assert found["packed_total"] == 1_542_364_160
    assert found["trainable_percent"] == pytest.approx(0.749, abs=5e-4)
    assert found["packed_trainable_percent"] == pytest.approx(1.36, abs=5e-3)
    packed = [row for row in rows if row.dtype == "nf4"]
    assert sum(row.tuned for row in packed) == 2_516_582_400
    assert sum(row.stored for row in packed) == 1_258_291_200
    assert sum(row.stored for row in rows if row.part == "base") == 1_521_392_640


def test_system_a_counts_the_same_at_half_the_rank_with_the_mlp():
    rows = count_parameters(PHI_2, method="lora", r=16, target_modules=["q_proj", "k_proj", "v_proj", "fc1", "fc2"])
    assert totals(rows)["trainable"] == 20_971_520


def test_system_b_as_published_is_refused_and_names_what_exists():
    with pytest.raises(TunediffError) as refusal:
        count_parameters(PHI_2, quantization="nf4", method="qlora", r=32, target_modules=SYSTEM_B)
    assert str(refusal.value) == (
        "adapt.target_modules: found o_proj, gate_proj, up_proj, down_proj, not linear layers of this phi model; "
        "expected some of q_proj, k_proj, v_proj, dense, fc1, fc2, lm_head, or 'all-linear'"
    )


def test_system_b_restricted_to_what_exists():
    rows = count_parameters(
        PHI_2,
        quantization="nf4",
        method="qlora",
        r=32,
        target_modules=["q_proj", "k_proj", "v_proj", "lm_head"],
    )
    found = totals(rows)
    assert found["trainable"] == 17_448_960
    assert sum(row.tuned for row in rows if row.part == "adapter" and row.module == "lm_head") == 1_720_320
    assert found["packed_total"] == 1_538_841_600
    assert found["packed_trainable_percent"] == pytest.approx(1.13, abs=5e-3)


def test_system_c():
    found = totals(
        count_parameters(PHI_2, dtype="float16", method="lora", r=16, target_modules=["q_proj", "v_proj", "fc1", "fc2"])
    )
    assert found["trainable"] == 18_350_080
    assert found["tuned_total"] == found["packed_total"] == 2_798_033_920
    assert found["trainable_percent"] == pytest.approx(0.6558, abs=5e-5)


@pytest.mark.parametrize(("head", "tuned"), [("classification", 1_235_818_496), ("span", 1_235_818_498)])
def test_system_d_heads_on_a_frozen_base(head, tuned):
    found = totals(count_parameters(LLAMA_3_2_1B, head=head, method="head"))
    assert found["base_total"] == 1_235_814_400
    assert found["tuned_total"] == tuned
    assert found["trainable"] == tuned - 1_235_814_400


def test_tied_weights_count_once():
    tied = totals(count_parameters(LLAMA_3_2_1B))["base_total"]
    untied = totals(count_parameters(LLAMA_3_2_1B | {"tie_word_embeddings": False}))["base_total"]
    assert tied == 1_235_814_400
    assert untied - tied == 128_256 * 2_048


def test_system_e_bare_and_with_heads():
    bare = totals(count_parameters(BERT_BASE_UNCASED, head="none"))
    classifier = totals(count_parameters(BERT_BASE_UNCASED, head="classification"))
    assert bare["base_total"] == bare["tuned_total"] == classifier["base_total"] == 109_482_240
    assert classifier["tuned_total"] == classifier["trainable"] == 109_483_778
    assert classifier["trainable_percent"] == 100


def test_the_pooler_that_bert_loses_for_question_answering_stays_in_the_table():
    rows = count_parameters(BERT_BASE_UNCASED, head="span")
    removed = [row for row in rows if row.base and not row.tuned]
    assert [(row.module, row.parameter, row.base) for row in removed] == [
        ("bert.pooler.dense", "weight", 768 * 768),
        ("bert.pooler.dense", "bias", 768),
    ]
    found = totals(rows)
    assert found["base_total"] == 109_482_240
    assert found["tuned_total"] == found["packed_total"] == 108_893_186


def test_a_new_head_on_a_decoder_replaces_its_output_layer_unless_that_is_the_embedding():
    rows = count_parameters(PHI_2, head="classification", labels=3, method="head")
    assert [(row.module, row.parameter, row.base) for row in rows if row.dtype == "removed"] == [
        ("lm_head", "weight", 51_200 * 2_560),
        ("lm_head", "bias", 51_200),
    ]
    assert totals(rows)["base_total"] == 2_779_683_840
    for head in ("classification", "span"):
        rows = count_parameters(LLAMA_3_2_1B, head=head, method="head")
        assert [(row.module, row.base) for row in rows if row.dtype == "removed"] == [("lm_head", 0)]


def test_a_tied_output_layer_stands_in_the_table_and_counts_nothing():
    [tied] = [
        row
        for row in count_parameters(SMALL_LLAMA, method="lora", r=2, target_modules=["q_proj"])
        if row.dtype == "tied"
    ]
    assert (tied.module, tied.shape, tied.base, tied.tuned, tied.bytes) == ("lm_head", (101, 48), 0, 0, 0)


def test_what_the_published_count_of_system_e_leaves_out_is_known_in_part():
    """Any choice of tensors that makes the difference holds the pooler's weight and the position embeddings.

    What remains, 66,816 parameters of biases, norms and token types, several choices make.
    """
    sizes: dict[str, int] = {}
    for row in by_module(count_parameters(BERT_BASE_UNCASED, head="none")):
        sizes[row.tensor] = row.base
    difference = 109_482_240 - 108_432_384

    def choices(sizes, target):
        ways = {0: 1}
        for size in sizes:
            ways = {
                total: ways.get(total, 0) + ways.get(total - size, 0)
                for total in {*ways, *(one + size for one in ways)}
                if total <= target
            }
        return ways.get(target, 0)

    needed = [
        name for name in sizes if not choices([size for other, size in sizes.items() if other != name], difference)
    ]
    assert needed == ["embeddings.position_embeddings.weight", "pooler.dense.weight"]
    assert difference - sizes[needed[0]] - sizes[needed[1]] == 66_816
    assert choices(sizes.values(), difference) > 1


# The table


def test_rows_name_part_kind_and_type_of_each_tensor():
    rows = count_parameters(
        SMALL_PHI,
        head="classification",
        labels=3,
        quantization="nf4",
        dtype="bfloat16",
        method="qlora",
        r=4,
        target_modules=["fc1"],
    )
    by_name = {(row.module, row.parameter): row for row in rows}
    assert len(by_name) == len(rows)

    embedding = by_name["model.embed_tokens", "weight"]
    assert embedding[2:] == ("base", "embedding", (97, 40), "bfloat16", 3880, 3880, 3880, 7760, False)
    packed = by_name["model.layers.1.mlp.fc1", "weight"]
    assert packed[2:] == ("base", "linear", (72, 40), "nf4", 2880, 2880, 1440, nf4_bytes(2880), False)
    assert by_name["model.layers.1.mlp.fc1", "bias"][3:6] == ("linear", (72,), "bfloat16")
    assert by_name["model.final_layernorm", "weight"].kind == "norm"
    head = by_name["score", "weight"]
    assert head[2:] == ("head", "linear", (3, 40), "float32", 0, 120, 120, 480, True)
    lora_b = by_name["model.layers.1.mlp.fc1", "lora_B"]
    assert lora_b[2:] == ("adapter", "linear", (72, 4), "float32", 0, 288, 288, 1152, True)


def test_a_span_head_has_a_start_and_an_end_whatever_the_labels():
    three = SMALL_BERT | {"id2label": {0: "entailment", 1: "neutral", 2: "contradiction"}}
    assert totals(count_parameters(three, head="span", labels=3)) == totals(count_parameters(SMALL_BERT, head="span"))


# Against peft


@pytest.mark.parametrize(
    ("config", "head", "targets"),
    [
        (SMALL_LLAMA, "lm", ["q_proj", "v_proj", "down_proj"]),
        (SMALL_LLAMA, "lm", ["lm_head", "k_proj"]),
        (SMALL_LLAMA, "lm", "all-linear"),
        (SMALL_LLAMA, "classification", "all-linear"),
        (SMALL_LLAMA, "span", ["o_proj", "gate_proj"]),
        (SMALL_PHI, "lm", ["q_proj", "k_proj", "v_proj", "lm_head"]),
        (SMALL_PHI, "lm", "all-linear"),
        (SMALL_PHI, "classification", ["dense", "fc2"]),
        (SMALL_BERT, "classification", BERT_QKV),
        (SMALL_BERT, "classification", ["attention.output.dense", "intermediate.dense"]),
        (SMALL_BERT, "classification", "all-linear"),
        (SMALL_BERT, "span", ["dense"]),
        (SMALL_BERT, "none", ["encoder.layer.0.attention.self.query"]),
        (SMALL_GPT2, "lm", ["c_attn", "c_fc"]),
        (SMALL_GPT2, "lm", "all-linear"),
    ],
)
def test_counts_equal_those_of_peft(config, head, targets):
    from peft import LoraConfig, get_peft_model

    rows = count_parameters(config, head=head, labels=3, method="lora", r=5, target_modules=targets)
    torch.manual_seed(0)
    real = type(layout(config, head, 3))._from_config(layout(config, head, 3).config, dtype=torch.float32)
    task = {"lm": "CAUSAL_LM", "classification": "SEQ_CLS", "span": "QUESTION_ANS", "none": None}[head]
    expected = {name for names in matched_targets(real, targets).values() for name in names}
    wrapped = get_peft_model(
        real, LoraConfig(r=5, target_modules=targets, task_type=task, modules_to_save=new_head(real) or None)
    )
    trainable, everything = wrapped.get_nb_trainable_parameters()
    # peft keeps the head as it was beside the copy that it trains, and counts both.
    copies = sum(row.tuned for row in rows if row.part == "head")
    found = totals(rows)
    assert found["trainable"] == trainable
    assert found["tuned_total"] == everything - copies
    layers = wrapped.base_model.model.named_modules()
    assert {name for name, module in layers if hasattr(module, "lora_A")} == expected


# Targets


@pytest.mark.parametrize("config", [SMALL_LLAMA, SMALL_PHI, SMALL_GPT2])
def test_each_name_matches_the_layers_that_peft_would_match(config):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    model = layout(config)
    layers = matched_targets(model, "all-linear")["all-linear"]
    for target in {name.rpartition(".")[2] for name in layers} | {layers[0], ".".join(layers[-1].split(".")[-2:])}:
        rule = LoraConfig(target_modules=[target])
        assert matched_targets(model, [target]) == {
            target: [name for name in [*layers, "lm_head"] if check_target_module_exists(rule, name)]
        }


def test_part_of_a_name_matches_nothing():
    with pytest.raises(TunediffError, match="found proj, not linear layers of this llama model"):
        matched_targets(layout(SMALL_LLAMA), ["proj"])


def test_an_embedding_and_a_new_head_are_no_targets():
    with pytest.raises(TunediffError, match="found word_embeddings, classifier, not linear layers"):
        matched_targets(layout(SMALL_BERT, "classification"), ["query", "word_embeddings", "classifier"])


def test_targets_match_in_a_model_of_real_4_bit_layers():
    import bitsandbytes as bnb

    model = layout(SMALL_LLAMA)
    expected = matched_targets(model, ["q_proj", "lm_head"])
    for name in matched_targets(model, "all-linear")["all-linear"]:
        old = model.get_submodule(name)
        model.set_submodule(name, bnb.nn.Linear4bit(old.in_features, old.out_features, bias=False))
    assert matched_targets(model, ["q_proj", "lm_head"]) == expected
    assert len(expected["q_proj"]) == 2


# Against bitsandbytes


def held_bytes(tensor: torch.Tensor) -> int:
    size = tensor.numel() * tensor.element_size()
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        constants = (state.absmax, state.state2.absmax, state.offset, state.code, state.state2.code)
        size += sum(constant.numel() * constant.element_size() for constant in constants)
    return size


@given(st.integers(1, 300), st.integers(1, 300))
def test_nf4_bytes_are_those_of_a_real_4_bit_layer(rows, columns):
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(columns, rows, bias=False, compress_statistics=True, quant_type="nf4").to("cpu")
    assert nf4_bytes(rows * columns) == held_bytes(layer.weight)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (SMALL_LLAMA, "lm"),
        (SMALL_LLAMA, "span"),
        (SMALL_PHI, "lm"),
        (SMALL_BERT, "none"),
        (SMALL_BERT, "classification"),
        (SMALL_BERT, "span"),
        (SMALL_GPT2, "lm"),
    ],
)
def test_a_model_loaded_in_nf4_holds_what_was_counted(config, head, tmp_path: Path):
    from transformers import BitsAndBytesConfig

    meta = layout(config, head, 3)
    type(meta)._from_config(meta.config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    real = type(meta).from_pretrained(
        tmp_path,
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            llm_int8_skip_modules=unpacked_modules(meta),
        ),
    )
    given = {"head": head, "labels": 3, "quantization": "nf4", "dtype": "bfloat16"}
    assert weight_bytes(config, **given) == sum(held_bytes(p) for p in real.parameters())
    rows = count_parameters(config, **given, method="lora", r=1, target_modules="all-linear")
    counted = {
        f"{row.module}.{row.parameter}": (row.stored, row.bytes) for row in rows if row.part == "base" and row.tuned
    }
    held = {name: (p.numel(), held_bytes(p)) for name, p in real.named_parameters()}
    assert counted.items() <= held.items()
    # A new head is trained, in float32.
    added = {f"{row.module}.{row.parameter}": (row.stored, row.bytes // 2) for row in rows if row.part == "head"}
    assert counted | added == held


def test_memory_for_weights_follows_the_type():
    assert weight_bytes(PHI_2) == 4 * 2_779_683_840
    assert weight_bytes(PHI_2, dtype="float16") == 2 * 2_779_683_840
    # 4.127 bits for a packed weight (Dettmers et al. 2023), two bytes for the rest.
    packed = 2_516_582_400
    expected = packed * 4.127 / 8 + 2 * (2_779_683_840 - packed)
    assert weight_bytes(PHI_2, dtype="float16", quantization="nf4") == pytest.approx(expected, rel=5e-4)


# Refusals


@pytest.mark.parametrize(
    ("config", "head", "line"),
    [
        ({"model_type": "phii"}, "lm", r"model_type: found 'phii', .* \(did you mean 'phi'\?\)"),
        ({}, "lm", "model.config.model_type: found 'None'"),
        ({"model_type": "phi", "hiden_size": 8}, "lm", "model.config.hiden_size: .* expected 'hidden_size'"),
        ({"model_type": "mamba"}, "span", "found 'mamba', for which transformers has no span head"),
        (SMALL_BERT | {"hidden_size": 37}, "none", r"hidden size \(37\) is not a multiple"),
        (SMALL_PHI | {"hidden_size": -4}, "lm", "negative dimension"),
        (SMALL_LLAMA | {"num_attention_heads": 0, "head_dim": None}, "lm", "division"),
        (SMALL_LLAMA | {"rms_norm_eps": "1e-5"}, "lm", "'rms_norm_eps' expected float, got str"),
    ],
)
def test_a_configuration_that_makes_no_model_is_one_line(config, head, line):
    with pytest.raises(TunediffError, match=line) as refusal:
        layout(config, head)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("config", [PHI_2, LLAMA_3_2_1B, BERT_BASE_UNCASED])
def test_published_configurations_hold_no_key_that_looks_misspelt(config):
    layout(config, "none")


def test_code_that_a_configuration_points_at_is_not_run():
    hostile = SMALL_LLAMA | {"auto_map": {"AutoModelForCausalLM": "attacker/repo--modeling.Evil"}}
    assert type(layout(hostile)).__module__ == "transformers.models.llama.modeling_llama"


def test_a_layout_holds_no_weights():
    assert {tensor.device.type for tensor in layout(PHI_2).parameters()} == {"meta"}


@pytest.mark.pipeline
def test_counting_loads_neither_peft_nor_bitsandbytes():
    code = (
        "import sys; from tunediff.models.counts import *;"
        "count_parameters({'model_type': 'llama'}, method='lora', r=8, target_modules='all-linear');"
        "print(sorted({'peft', 'bitsandbytes', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
