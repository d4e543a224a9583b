"""`tunediff count-params`: every count of the published systems from their recipes alone."""

import json
import socket

import pytest
import yaml

from tests.imports import ROOT
from tunediff.commands import main

RECIPES = ROOT / "recipes"
# As published, or by the arithmetic that the published counts follow.
COUNTS = {
    "phi2-snli-a": {
        **{"base_total": 2_779_683_840, "packed_base_total": 1_521_392_640, "adapter_added": 20_971_520},
        **{"trainable": 20_971_520, "tuned_total": 2_800_655_360, "packed_total": 1_542_364_160},
        **{"published_total": 1_542_364_160, "published_difference": 20_971_520 - 1_258_291_200},
    },
    "phi2-snli-b": {
        **{"base_total": 2_779_683_840, "trainable": 15_728_640 + 1_720_320, "packed_total": 1_538_841_600},
        **{"published_total": 1_538_841_600},
    },
    "phi2-snli-c": {
        **{"trainable": 18_350_080, "tuned_total": 2_798_033_920, "packed_total": 2_798_033_920},
        **{"published_total": 2_798_033_920, "published_difference": 18_350_080},
    },
    "llama-sst2": {
        **{"base_total": 1_235_814_400, "removed": 0, "head_added": 4_096, "base_with_head_total": 1_235_818_496},
        **{"tuned_total": 1_235_818_496, "trainable": 4_096, "published_difference": 0},
    },
    "llama-squad": {
        **{"base_total": 1_235_814_400, "removed": 0, "head_added": 4_098, "base_with_head_total": 1_235_818_498},
        **{"tuned_total": 1_235_818_498, "trainable": 4_098, "published_difference": 0},
    },
    "bert-sst2": {
        **{"base_total": 109_482_240, "removed": 0, "head_added": 1_538, "tuned_total": 109_483_778},
        **{"published_total": 108_432_384, "published_difference": -1_049_856},
    },
    "bert-squad": {
        **{"base_total": 109_482_240, "removed": 590_592, "head_added": 1_538, "tuned_total": 108_893_186},
        **{"published_total": 108_432_384, "published_difference": -1_049_856},
    },
}
PERCENT = {
    "phi2-snli-a": {"trainable_percent": 0.749, "packed_trainable_percent": 1.36},
    "phi2-snli-b": {"packed_trainable_percent": 1.13},
    "phi2-snli-c": {"trainable_percent": 0.6558},
}


@pytest.fixture
def count(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder, without a network; what it printed, and its exit code."""

    def refuse(*_, **__):
        raise AssertionError("counting asked for the network")

    def count(*arguments):
        monkeypatch.setattr("sys.argv", ["tunediff", "count-params", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        try:
            main.main()
            code = 0
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return count


@pytest.fixture
def changed(tmp_path):
    """A recipe with other values in some of its sections, as a file."""

    def changed(name, **sections):
        values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
        for section, keys in sections.items():
            values[section] |= keys
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return changed


@pytest.mark.parametrize("name", COUNTS)
def test_the_counts_of_a_published_system_follow_from_its_recipe_alone(name, count):
    code, out, error = count(RECIPES / f"{name}.yaml", "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert {key: found.get(key) for key in COUNTS[name]} == COUNTS[name]
    for key, value in PERCENT.get(name, {}).items():
        decimals = len(str(value).split(".")[1])
        assert round(found[key], decimals) == value


def test_the_table_shows_each_tensor_with_its_shape_and_the_totals_with_their_arithmetic(count):
    code, out, error = count(RECIPES / "phi2-snli-b.yaml")
    assert (code, error) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(
        line.startswith("model.layers.*.mlp.fc1.weight base nf4 no 10240 x 2560 32 838,860,800 838,860,800 838,860,800")
        for line in lines
    )
    assert any(line.startswith("lm_head.lora_B adapter float32 yes 51200 x 32 1 0 0 1,638,400") for line in lines)
    assert "= tuned 2,797,132,800" in lines
    assert "+ adapter 17,448,960 on 97 layers" in lines
    assert (
        "published 1,538,841,600 1,240,842,240 fewer than the base: + 17,448,960 the adapter, - 1,258,291,200 two "
        "4-bit parameters counted as one"
    ) in lines


def test_a_head_that_replaces_the_output_layer_is_seen_to(changed, count):
    """Phi-2's lm_head is its own; Llama's is its embedding, and stays."""
    classifier = {"head": "classification", "quantization": "none", "published_parameters": None}
    recipe = changed(
        "phi2-snli-c",
        model=classifier,
        prompt={"template": None, "choices": None},
        evaluate={"scoring_method": "head", "settings": [], "few_shot": 0},
    )
    found = json.loads(count(recipe, "--json")[1])
    assert found["removed"] == 51_200 * 2_560 + 51_200
    assert found["head_added"] == 3 * 2_560
    assert " lm_head\n" in count(recipe)[1]
    assert " 0 lm_head (tied to the embedding, which stays)\n" in count(RECIPES / "llama-sst2.yaml")[1]


def test_a_published_count_that_nothing_explains_is_said_to_be_unexplained(count):
    said = "108,432,384 1,049,856 fewer than the base; the layout does not explain why"
    assert said in count(RECIPES / "bert-sst2.yaml")[1]


def test_a_recipe_without_a_layout_is_counted_once_its_base_is_there(changed, count, tmp_path):
    recipe = changed("llama-sst2", model={"config": None})
    code, out, error = count(recipe)
    assert (code, out) == (1, "")
    assert error == (
        f"tunediff: {recipe}: model.config: missing, and models/base does not hold meta-llama/Llama-3.2-1B; expected "
        "the layout in the recipe, or its base model built (cp the recipe to params.yaml, dvc repro base_model)\n"
    )
    values = yaml.safe_load((RECIPES / "llama-sst2.yaml").read_text(encoding="utf-8"))["model"]
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(values["config"]), encoding="utf-8")
    manifest = {"source": "hub", "id": values["id"], "revision": values["revision"], "sha256": None}
    (base / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert json.loads(count(recipe, "--json")[1])["base_total"] == 1_235_814_400
    (base / "manifest.json").write_text(json.dumps(manifest | {"revision": "0" * 40}), encoding="utf-8")
    assert "does not hold" in count(recipe)[2]


def test_a_model_from_scratch_is_counted_with_the_vocabulary_that_is_asked_for(changed, count):
    _, out, _ = count(ROOT / "params.yaml")
    assert "vocabulary: the 500 tokens requested; the tokenizer may have fewer" in out
    fewer = json.loads(count(changed("small-phi2-snli-a", pretrain={"vocab_size": 400}), "--json")[1])
    more = json.loads(count(changed("small-phi2-snli-a", pretrain={"vocab_size": 401}), "--json")[1])
    assert more["base_total"] - fewer["base_total"] == 64 + 64 + 1  # a row of each embedding, and a bias


def test_the_vocabulary_of_a_tokenizer_from_elsewhere_stands_in_the_recipe(changed, count):
    config = yaml.safe_load((RECIPES / "bert-sst2.yaml").read_text(encoding="utf-8"))["model"]["config"]
    del config["vocab_size"]
    code, _, error = count(changed("bert-sst2", model={"config": config}))
    assert code == 1
    assert "model.config.vocab_size: missing, and pretrain.tokenizer names google-bert/bert-base-uncased" in error


def test_targets_that_the_layout_has_not_are_named_in_one_line(changed, count):
    """Four of the eight targets that system B published."""
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    code, out, error = count(changed("phi2-snli-b", adapt={"target_modules": names}))
    assert (code, out) == (1, "")
    assert error == (
        "tunediff: adapt.target_modules: found o_proj, gate_proj, up_proj, down_proj, not linear layers of this phi "
        "model; expected some of q_proj, k_proj, v_proj, dense, fc1, fc2, lm_head, or 'all-linear'\n"
    )
