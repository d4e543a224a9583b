"""Which weights are trained, and that what was saved answers as what was trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.layouts import PHI_2
from tests.shaken import answers, shake
from tests.tiny import SMALL, adapt_section, load, small_model, write_model
from tunediff.models.adapt import adapt_model, load_trained, save_trained
from tunediff.models.counts import count_parameters
from tunediff.models.layouts import layout
from tunediff.models.parameters import totals
from tunediff.models.tuned import load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError


@pytest.fixture(scope="module")
def published(tmp_path_factory, tokenizer, bert_tokenizer):
    root = tmp_path_factory.mktemp("published")
    write_model(root / "llama", "llama", tokenizer)
    write_model(root / "phi", "phi", tokenizer)
    write_model(root / "bert", "bert", bert_tokenizer, "none")
    return root


# Which weights are trained


WAYS = [
    ("llama", "lm", "none", "lora", {}),
    ("llama", "lm", "none", "full", {}),
    ("llama", "lm", "nf4", "qlora", {}),
    ("llama", "lm", "nf4", "qlora", {"target_modules": ["q_proj", "lm_head"]}),
    ("llama", "classification", "nf4", "qlora", {"target_modules": ["v_proj", "down_proj"]}),
    ("phi", "lm", "none", "lora", {"target_modules": ["q_proj", "fc1"], "r": 3}),
    ("bert", "classification", "none", "lora", {"target_modules": ["query", "key", "value"]}),
    ("bert", "classification", "none", "head", {}),
    ("bert", "classification", "nf4", "head", {}),
    ("bert", "classification", "none", "full", {}),
    ("bert", "classification", "nf4", "qlora", {}),
]
IDS = ["-".join([*way[:4], *(f"{value}" for value in way[4].values())]) for way in WAYS]


@pytest.mark.parametrize(("name", "head", "quantization", "method", "keys"), WAYS, ids=IDS)
def test_as_many_weights_are_trained_as_were_counted(name, head, quantization, method, keys, published, tmp_path):
    loaded = load(tmp_path / "base", published / name, head=head, quantization=quantization)
    adapt = adapt_section(method, **keys)
    model = adapt_model(loaded.model, adapt, seed=0)
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    config = json.loads((published / name / "config.json").read_text())
    rows = count_parameters(
        config,
        head=head,
        labels=3,
        quantization=quantization,
        method=method,
        r=adapt.r,
        target_modules=adapt.target_modules,
    )
    assert sum(value.numel() for value in trained.values()) == totals(rows)["trainable"]
    assert {value.dtype for value in trained.values()} == {torch.float32}
    if head == "classification":
        assert any("classifier" in key or "score" in key for key in trained), "a new head is always trained"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_trained_is_float32_beside_a_half_precision_base(dtype, published, tmp_path):
    loaded = load(tmp_path / "base", published / "bert", head="classification", dtype=dtype)
    model = adapt_model(loaded.model, adapt_section("lora"), seed=0)
    kinds = {value.requires_grad: value.dtype for value in model.parameters()}
    assert kinds == {True: torch.float32, False: getattr(torch, dtype)}


def test_targets_that_do_not_exist_stop_with_the_names_that_do():
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    with pytest.raises(TunediffError) as caught:
        adapt_model(layout(PHI_2), adapt_section("qlora", target_modules=targets), seed=0)
    [line] = caught.value.args
    assert "found o_proj, gate_proj, up_proj, down_proj, not linear layers of this phi model" in line
    assert "q_proj, k_proj, v_proj, dense, fc1, fc2, lm_head" in line


def test_a_fresh_adapter_changes_no_answer_and_its_seed_decides_its_weights(published, tmp_path):
    before = answers(load(tmp_path / "base", published / "llama").model)
    weights = []
    for seed in (1, 1, 2):
        model = adapt_model(load(tmp_path / "base", published / "llama").model, adapt_section("lora"), seed).eval()
        assert torch.equal(answers(model), before)
        weights.append(torch.cat([value.flatten() for key, value in model.named_parameters() if "lora_A" in key]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Saving and loading


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head", "quantization", "method", "keys"), WAYS, ids=IDS)
def test_what_was_saved_answers_as_what_was_trained(name, head, quantization, method, keys, published, tmp_path):
    def base():
        return load(tmp_path / "base", published / name, head=head, quantization=quantization)

    adapt = adapt_section(method, **keys)
    before = answers(base().model)
    trained = shake(adapt_model(base().model, adapt, seed=0))
    save_tuned(trained, adapt, tmp_path / "tuned")
    tuned = load_tuned(base(), tmp_path / "tuned").model
    assert torch.equal(answers(tuned), answers(trained))
    assert (answers(tuned) - before).abs().max() > 1e-3
    assert not tuned.training
    assert not any(value.requires_grad for value in tuned.parameters())
    files = ["adapter_config.json", "adapter_model.safetensors"] if "lora" in method else ["trained.safetensors"]
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == sorted([*files, "manifest.json"])


def test_an_adapter_on_the_output_layer_does_not_carry_the_base_along(published, tmp_path):
    adapt = adapt_section("lora", target_modules=["lm_head"])
    model = adapt_model(load(tmp_path / "base", published / "phi").model, adapt, seed=0)
    save_tuned(model, adapt, tmp_path / "tuned")
    saved = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    assert sorted(name.rpartition("lm_head.")[2] for name in saved) == ["lora_A.weight", "lora_B.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["head", "full", "lora"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_models_answer_after_loading(dtype, method, published, tmp_path):
    def base():
        return load(tmp_path / "base", published / "bert", head="classification", dtype=dtype)

    adapt = adapt_section(method)
    save_tuned(shake(adapt_model(base().model, adapt, seed=0)), adapt, tmp_path / "tuned")
    tuned = load_tuned(base(), tmp_path / "tuned").model
    found = answers(tuned).float()
    assert (found - answers(base().model).float()).abs().max() > 1e-3
    # Both evaluations compute in the same dtype, or their difference would be that of the dtypes too.
    plain = [value.dtype for key, value in tuned.named_parameters() if "lora" not in key]
    assert set(plain) == {getattr(torch, dtype)}


SAVE = """
import sys
from pathlib import Path
from tests.tiny import adapt_section, load
from tunediff.models.adapt import adapt_model
from tunediff.models.tuned import save_tuned

def save(folder, out):
    adapt = adapt_section("qlora", target_modules="all-linear")
    model = load(out / "base", folder, head="classification", quantization="nf4").model
    save_tuned(adapt_model(model, adapt, seed=0), adapt, out / "tuned")
"""


@pytest.mark.pipeline
def test_the_saved_adapter_is_the_same_in_every_process_and_names_no_place(tmp_path, tokenizer):
    # From 20 targets on, peft writes them shorter, from sets: their order hangs on the seed of the process's hashes.
    folder = write_model(tmp_path / "model", "llama", tokenizer, num_hidden_layers=3)
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", SAVE + "save(*map(Path, sys.argv[1:]))", str(folder), str(tmp_path / "other")],
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        check=True,
    )
    names: dict = {}
    exec(SAVE, names)
    names["save"](folder, tmp_path / "here")
    here, other = (sorted((tmp_path / name / "tuned").iterdir()) for name in ("here", "other"))
    assert [(path.name, path.read_bytes()) for path in here] == [(path.name, path.read_bytes()) for path in other]
    config = json.loads((tmp_path / "here" / "tuned" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/base"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in here)


@pytest.fixture
def tuned(published, tmp_path):
    """A saved adapter to damage, and how to load it."""
    adapt = adapt_section("lora")
    save_tuned(adapt_model(load(tmp_path / "base", published / "llama").model, adapt, 0), adapt, tmp_path / "tuned")
    return tmp_path / "tuned", lambda: load_tuned(load(tmp_path / "base", published / "llama"), tmp_path / "tuned")


def error_of(action, *words):
    with pytest.raises(TunediffError) as caught:
        action()
    [line] = caught.value.args
    assert "\n" not in line
    assert all(str(word) in line for word in words), line


def test_an_adapter_that_is_damaged_missing_or_another_ones_is_one_line(tuned, published, tmp_path):
    folder, load_it = tuned
    file = folder / "adapter_model.safetensors"
    whole, weights = file.read_bytes(), load_file(file)

    weights.pop(next(iter(weights)))
    save_file(weights, file)
    error_of(load_it, file, "another model, or of one adapted differently")
    file.write_bytes(whole[: len(whole) // 2])
    error_of(load_it, file, "cannot be read")
    file.unlink()
    (folder / "adapter_model.bin").write_bytes(b"not even a pickle")
    error_of(load_it, file, "cannot be read")
    file.write_bytes(whole)
    (folder / "adapter_config.json").write_text("{")
    error_of(load_it, folder)


@pytest.mark.parametrize(
    "change",
    [
        {
            "peft_type": "PROMPT_TUNING",
            "tokenizer_name_or_path": "evil",
            "tokenizer_kwargs": {"trust_remote_code": True},
        },
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
    ],
)
def test_an_adapter_whose_settings_name_code_is_refused(change, tuned):
    folder, load_it = tuned
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    error_of(load_it, path, "peft_type: found" if "peft_type" in change else "megatron_config: found")
    path.write_text("[]")
    error_of(load_it, path)


def test_an_adapter_of_another_model_is_one_line(tuned, published, tmp_path, tokenizer):
    folder, _ = tuned
    wider = write_model(tmp_path / "wider", "llama", tokenizer, hidden_size=64, head_dim=16)
    for other in (wider, published / "phi"):
        loaded = load(tmp_path / f"base-{other.name}", other)
        error_of(lambda loaded=loaded: load_tuned(loaded, folder), folder)


def test_trained_weights_of_another_model_are_one_line(tmp_path, bert_tokenizer):
    model = adapt_model(small_model("bert", bert_tokenizer, "classification"), adapt_section("head"), 0)
    save_trained(model, tmp_path)
    three = adapt_model(small_model("bert", bert_tokenizer, "classification", num_labels=3), adapt_section("head"), 0)
    error_of(lambda: load_trained(three, tmp_path), tmp_path / "trained.safetensors", "another model")
    full = adapt_model(small_model("bert", bert_tokenizer, "classification"), adapt_section("full"), 0)
    error_of(lambda: load_trained(full, tmp_path), "another model")
    error_of(lambda: load_trained(full, tmp_path / "nothing"), "cannot be read")


def test_only_what_was_trained_is_saved(tmp_path, bert_tokenizer):
    model = adapt_model(small_model("bert", bert_tokenizer, "classification"), adapt_section("head"), 0)
    save_trained(model, tmp_path)
    assert set(load_file(tmp_path / "trained.safetensors")) == {"classifier.weight", "classifier.bias"}
    assert SMALL["bert"]["num_hidden_layers"] == 2
