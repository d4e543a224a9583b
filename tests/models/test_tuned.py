"""A tuned model is what its manifest says, wherever it comes from."""

import json
import shutil

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.chats import KINDS as CHATS
from tests.chats import chat_prompt
from tests.refusals import line_of
from tests.tiny import (
    CASES,
    LABELS,
    adapt_section,
    engine_of,
    load,
    model_section,
    small_config,
    small_model,
    write_model,
)
from tunediff.config.tuned import Tuned
from tunediff.models.adapt import adapt_model
from tunediff.models.sources import MANIFEST
from tunediff.models.tuned import TUNED_SOURCES, check_tuned, load_tuned, pin_tuned, read_tuned, save_tuned
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import write_json

TOKENS = torch.tensor([[3, 9, 40, 7, 12]])
REVISION = "6c1f" + "0" * 36
HEAD = {"modules_to_save": ["score"], "target_modules": ["q_proj"]}
# What people publish, beside plain LoRA.
PUBLISHED = {
    "lora": peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    "dora": peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], use_dora=True),
    "rslora": peft.LoraConfig(r=4, target_modules="all-linear", use_rslora=True, rank_pattern={"q_proj": 2}),
    "modules_to_save": peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "embeddings": peft.LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]),
    "pissa": peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa"),
    "ia3": peft.IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[]),
    "loha": peft.LoHaConfig(r=2, target_modules=["q_proj"]),
    "lokr": peft.LoKrConfig(r=2, target_modules=["q_proj"]),
    "adalora": peft.AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["q_proj"]),
    "vera": peft.VeraConfig(r=2, target_modules=["q_proj"]),
    "oft": peft.OFTConfig(r=2, oft_block_size=0, target_modules=["q_proj"]),
    "hra": peft.HRAConfig(r=2, target_modules=["q_proj"]),
    "norms": peft.LNTuningConfig(target_modules=["input_layernorm"]),
}


def publish_adapter(folder, model, config):
    """Put an adapter on a model as somebody else would, with weights that are not zero, and save it; the model."""
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(1)
    for value in adapted.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn_like(value)
    adapted.save_pretrained(folder)
    return adapted.eval()


def pinned(loaded, tmp_path, source, **keys):
    """The tuned model, pinned as the stage train does it and loaded from what that wrote."""
    folder = tmp_path / "tuned"
    pin_tuned(Tuned(source=source, **keys), folder)
    return load_tuned(loaded, folder)


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
    with pytest.raises(TunediffError, match=r"tuned\.source: found twin, expected one of train, hub, folder, server$"):
        pin_tuned(Tuned(source="twin"), tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("manifest", [[], {"source": "train"}, {"form": "pickle"}])
def test_a_manifest_that_does_not_say_how_to_load_it_is_a_line(manifest, loaded, tmp_path):
    (tmp_path / "tuned").mkdir()
    write_json(tmp_path / "tuned" / MANIFEST, manifest)
    with pytest.raises(TunediffError, match=r"manifest\.json: form: found .*, expected one of adapter, weights, whole"):
        load_tuned(loaded, tmp_path / "tuned")


# Models from elsewhere


@pytest.mark.parametrize("kind", PUBLISHED)
def test_an_adapter_from_a_folder_answers_as_it_did_where_it_was_made(kind, loaded, tmp_path, tokenizer):
    theirs = publish_adapter(tmp_path / "theirs", small_model("llama", tokenizer), PUBLISHED[kind])
    before = logits(loaded.model)
    check_tuned(Tuned(source="folder", id=str(tmp_path / "theirs")), loaded.model.config.to_dict(), loaded.section, [])
    tuned = pinned(loaded, tmp_path, "folder", id=str(tmp_path / "theirs"))
    assert torch.equal(logits(tuned.model), logits(theirs))
    assert not torch.equal(logits(tuned.model), before)


def test_an_adapter_is_that_of_the_day_it_was_pinned(loaded, tmp_path, tokenizer):
    theirs = publish_adapter(tmp_path / "theirs", small_model("llama", tokenizer), PUBLISHED["lora"])
    pin_tuned(Tuned(source="folder", id=str(tmp_path / "theirs")), tmp_path / "tuned")
    shutil.rmtree(tmp_path / "theirs")
    assert torch.equal(logits(load_tuned(loaded, tmp_path / "tuned").model), logits(theirs))


def test_a_whole_model_from_a_folder_takes_the_place_of_the_base_and_stays_the_one_that_was_pinned(
    loaded, tmp_path, tokenizer
):
    theirs = write_model(tmp_path / "theirs", "llama", tokenizer, seed=7)
    tuned = pinned(loaded, tmp_path, "folder", id=str(theirs))
    assert torch.equal(logits(tuned.model), logits(small_model("llama", tokenizer, seed=7)))
    write_model(theirs, "llama", tokenizer, seed=8)
    line = line_of(lambda: load_tuned(loaded, tmp_path / "tuned"))
    assert line.startswith(f"{theirs}: the model's files are not the ones that {tmp_path / 'tuned' / MANIFEST} pins")
    assert line.endswith("dvc repro --force train count_params")


@pytest.mark.parametrize("kind", ["adapter", "whole"])
def test_a_model_of_the_hub_is_read_at_its_commit_from_the_hubs_own_cache(
    kind, loaded, tmp_path, tokenizer, monkeypatch
):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--me--tuned"
    snapshot = repository / "snapshots" / REVISION
    if kind == "adapter":
        theirs = publish_adapter(snapshot, small_model("llama", tokenizer), PUBLISHED["dora"])
    else:
        theirs = small_model("llama", tokenizer, seed=7)
        write_model(snapshot, "llama", tokenizer, seed=7)
    tuned = pinned(loaded, tmp_path, "hub", id="me/tuned", revision=REVISION)
    assert torch.equal(logits(tuned.model), logits(theirs))
    manifest = read_tuned(tmp_path / "tuned")
    assert (manifest["id"], manifest["revision"], manifest["form"]) == ("me/tuned", REVISION, kind)
    line = line_of(lambda: pinned(loaded, tmp_path, "hub", id="me/other", revision=REVISION))
    assert line.startswith(f"hub model me/other at {REVISION}: ")


def test_an_adapter_of_another_base_is_refused_by_its_shapes_and_its_base_is_named(loaded, tmp_path, tokenizer):
    other = small_model("llama", tokenizer, hidden_size=64, head_dim=16)
    other.name_or_path = "someone/wider"
    publish_adapter(tmp_path / "wider", other, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    publish_adapter(tmp_path / "phi", small_model("phi", tokenizer), peft.LoraConfig(r=2, target_modules=["fc1"]))
    for name, words in (("wider", "found 2 x 64, expected 2 x 48"), ("phi", "fc1")):
        tuned = Tuned(source="folder", id=str(tmp_path / name))
        line = line_of(lambda: check_tuned(tuned, loaded.model.config.to_dict(), loaded.section, []))  # noqa: B023
        assert f"{tmp_path / name}: is not an adapter of {loaded.section.id}" in line
        assert words in line
    tuned = Tuned(source="folder", id=str(tmp_path / "wider"))
    assert "refers to the base 'someone/wider'" in line_of(
        lambda: check_tuned(tuned, loaded.model.config.to_dict(), loaded.section, [])
    )


def test_what_is_no_model_or_two_or_would_change_the_prompt_is_refused(tmp_path, tokenizer):
    def line(name):
        return line_of(lambda: pin_tuned(Tuned(source="folder", id=str(tmp_path / name)), tmp_path / "tuned"))

    (tmp_path / "empty").mkdir()
    publish_adapter(tmp_path / "both", small_model("llama", tokenizer), PUBLISHED["lora"])
    write_model(tmp_path / "both", "llama", tokenizer)
    publish_adapter(tmp_path / "pickle", small_model("llama", tokenizer), PUBLISHED["lora"])
    (tmp_path / "pickle" / "adapter_model.safetensors").rename(tmp_path / "pickle" / "adapter_model.bin")
    prompts = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(small_model("llama", tokenizer), prompts).save_pretrained(tmp_path / "prompts")
    assert "there is no such folder" in line("missing")
    assert "found neither adapter_config.json nor config.json" in line("empty")
    assert "found an adapter and a whole model" in line("both")
    assert "found no adapter_model.safetensors" in line("pickle")
    assert "peft_type: found 'PROMPT_TUNING', expected one of LORA" in line("prompts")


# Classifiers from elsewhere


def scores(loaded):
    """The scores of each label by its name."""
    with torch.no_grad():
        return dict(zip(LABELS, loaded.model(TOKENS).logits[0].tolist(), strict=True))


ORDER = ["contradiction", "neutral", "entailment"]


def test_the_labels_of_a_whole_classifier_are_matched_by_their_names(tmp_path, tokenizer):
    bare = load(tmp_path / "base", write_model(tmp_path / "bare", "llama", tokenizer), head="classification")
    names = {"id2label": dict(enumerate(ORDER)), "num_labels": 3}
    theirs = write_model(tmp_path / "theirs", "llama", tokenizer, "classification", seed=7, **names)
    expected = AutoModelForSequenceClassification.from_pretrained(theirs).score.weight
    tuned = pinned(bare, tmp_path, "folder", id=str(theirs))
    assert torch.equal(tuned.model.score.weight, expected[[ORDER.index(label) for label in LABELS]])
    joy = {"id2label": {0: "joy", 1: "anger", 2: "fear"}, "num_labels": 3}
    other = write_model(tmp_path / "other", "llama", tokenizer, "classification", **joy)
    assert "set tuned.head_labels in params.yaml" in line_of(lambda: pinned(bare, tmp_path, "folder", id=str(other)))
    told = pinned(bare, tmp_path, "folder", id=str(other), head_labels=ORDER)
    theirs = AutoModelForSequenceClassification.from_pretrained(other).score.weight
    assert torch.equal(told.model.score.weight, theirs[[ORDER.index(label) for label in LABELS]])


def test_a_whole_model_without_a_head_is_not_measured_with_a_random_one(tmp_path, tokenizer):
    bare = load(tmp_path / "base", write_model(tmp_path / "bare", "llama", tokenizer), head="classification")
    theirs = write_model(tmp_path / "theirs", "llama", tokenizer, seed=7)
    assert "found no classification head" in line_of(lambda: pinned(bare, tmp_path, "folder", id=str(theirs)))


def test_an_adapters_own_head_has_its_labels_from_params_alone(tmp_path, tokenizer):
    weights = write_model(tmp_path / "bare", "llama", tokenizer)
    base = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=3)
    theirs = publish_adapter(tmp_path / "theirs", base, peft.LoraConfig(r=2, task_type="SEQ_CLS", **HEAD))
    named = {"source": "folder", "id": str(tmp_path / "theirs")}

    def bare():
        return load(tmp_path / "base", weights, head="classification")

    config = small_config("llama", tokenizer).to_dict()
    section = model_section(weights, head="classification")
    for refuse in (
        lambda: pinned(bare(), tmp_path, **named),
        lambda: check_tuned(Tuned(**named), config, section, LABELS),
    ):
        assert "tuned.head_labels: missing" in line_of(refuse)
    tuned = pinned(bare(), tmp_path, **named, head_labels=ORDER)
    their_scores = theirs(TOKENS).logits[0].tolist()
    assert scores(tuned) == dict(zip(ORDER, their_scores, strict=True))


def test_an_adapter_without_a_head_on_a_base_without_one_is_refused(tmp_path, tokenizer):
    weights = write_model(tmp_path / "bare", "llama", tokenizer)
    publish_adapter(tmp_path / "theirs", small_model("llama", tokenizer), PUBLISHED["lora"])
    bare = load(tmp_path / "base", weights, head="classification")
    line = line_of(lambda: pinned(bare, tmp_path, "folder", id=str(tmp_path / "theirs")))
    assert "found no weights of score, and the base has none either" in line


def test_token_types_are_not_dropped_for_an_adapter_that_was_made_for_questions(tmp_path, tokenizer):
    publish_adapter(tmp_path / "theirs", small_model("llama", tokenizer), PUBLISHED["lora"])
    path = tmp_path / "theirs" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task_type": "QUESTION_ANS"}))
    pin_tuned(Tuned(source="folder", id=str(tmp_path / "theirs")), tmp_path / "tuned")
    assert json.loads((tmp_path / "tuned" / "adapter_config.json").read_text())["task_type"] is None


# Chat templates


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_an_adapter_that_was_trained_with_another_chat_template_is_refused(name, tmp_path):
    own = CHATS["smollm2"]()
    loaded = load(tmp_path / "base", write_model(tmp_path / "weights", "llama", own, max_position_embeddings=1024))
    folder = tmp_path / "theirs"
    publish_adapter(folder, small_model("llama", own, max_position_embeddings=1024), PUBLISHED["lora"])
    template = own.chat_template.replace("assistant", "bot")
    (folder / name).write_text(template if name.endswith("jinja") else json.dumps({"chat_template": template}))
    pin_tuned(Tuned(source="folder", id=str(folder)), tmp_path / "tuned")
    chat = engine_of(loaded).tuned(tmp_path / "tuned").chat(chat_prompt())
    assert "their chat templates write different prompts" in line_of(lambda: chat.prompts([CASES[0].inputs]))


def test_an_error_about_a_whole_tuned_model_names_it_and_not_the_base(tmp_path):
    own, other = CHATS["smollm2"](), CHATS["smollm2"]()
    other.chat_template = None
    loaded = load(tmp_path / "base", write_model(tmp_path / "weights", "llama", own, max_position_embeddings=1024))
    theirs = write_model(tmp_path / "theirs", "llama", other, max_position_embeddings=1024)
    pin_tuned(Tuned(source="folder", id=str(theirs)), tmp_path / "tuned")
    tuned = engine_of(loaded).tuned(tmp_path / "tuned")
    assert f"{theirs} has no chat template" in line_of(lambda: tuned.chat(chat_prompt()))
