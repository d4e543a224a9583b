"""What goes to the hub is loaded by others, with plain libraries, and answers as it was measured."""

import inspect
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests import questions
from tests.chats import CHAT_CHOICES, chat_prompt
from tests.chats import KINDS as CHATS
from tests.hub_server import files_of, serve
from tests.tiny import CASE_SET, CASES, LABELS, adapt_section, asked_for, engine_of, model_section, pin, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.config.tuned import Tuned as Pinned
from tunediff.config.tuned import loaded_as
from tunediff.engines.asking import ask_cases
from tunediff.models.adapt import adapt_model
from tunediff.models.load import load_base
from tunediff.models.publish import load_published
from tunediff.models.publish import write_model as write_published
from tunediff.models.tuned import load_tuned, pin_tuned, read_tuned, save_tuned
from tunediff.report.model_card import NAME, loading_code

# Rows of two sentences, which a model with token types reads as such.
TOKENS, TYPES = [[1, 9, 40, 7, 33, 12]], [[0, 0, 0, 1, 1, 1]]


def scores_of(model):
    """What a model says of TOKENS, whichever head it has."""
    types = {"token_type_ids": torch.tensor(TYPES)} if hasattr(model.config, "type_vocab_size") else {}
    with torch.inference_mode():
        found = model(input_ids=torch.tensor(TOKENS), **types)
    heads = ("start_logits", "end_logits") if "start_logits" in found else ("logits",)
    return torch.cat([found[name] for name in heads]).flatten().tolist()


KINDS = {
    "lora, lm": ("llama", "lora", "lm", {}),
    "qlora, lm": ("llama", "qlora", "lm", {"quantization": "nf4"}),
    "full, lm": ("llama", "full", "lm", {}),
    "lora, classification": ("bert", "lora", "classification", {}),
    "head, classification": ("bert", "head", "classification", {}),
    "head, classification of a decoder": ("llama", "head", "classification", {}),
    "head, classification on nf4": ("llama", "head", "classification", {"quantization": "nf4"}),
    "full, classification": ("bert", "full", "classification", {}),
    "lora, span": ("bert", "lora", "span", {}),
    "head, span": ("bert", "head", "span", {}),
    "full, span of a decoder": ("llama", "full", "span", {}),
}
# By head: cases, and how they are asked.
ASKED = {
    "lm": (CASES, CASE_SET),
    "classification": (CASES, asked_for("labels", prompt=Prompt(template="{premise} {hypothesis}"))),
    "span": (questions.CASES, questions.CASE_SET),
}
LORA = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
EVALUATE = Evaluate(scoring_method="choices", max_answer_tokens=6)


class Tuned:
    """A base with something trained on it, measured: what the pipeline leaves in models/ and data/predictions/."""

    def __init__(self, folder, tokenizer, layout, method, head, **model):
        weights = write_model(folder / "weights", layout, tokenizer, "none" if layout == "bert" else "lm")
        section = model_section(weights, head=head, **model)
        adapt = adapt_section(method)
        self.cases, self.case_set = ASKED[head]
        self.model, self.adapt, self.labels = section, adapt, self.case_set.labels
        self.base, self.tuned, self.folder = pin(folder / "base", weights, section), folder / "tuned", folder / "out"
        loaded = load_base(self.base, section, self.labels)
        adapted = adapt_model(loaded.model, adapt, seed=0)
        torch.manual_seed(5)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn_like(parameter)
        save_tuned(adapted, adapt, self.tuned)
        loaded = load_base(self.base, section, self.labels)
        before = self.answers(loaded)
        self.evaluated = self.answers(load_tuned(loaded, self.tuned))
        assert not before["log_probs"].equals(self.evaluated["log_probs"])
        self.folder.mkdir()
        write_published(self.folder, self.base, self.tuned, section, self.labels, NAME)

    def answers(self, loaded):
        return ask_cases(engine_of(loaded, 256), self.cases, self.case_set, EVALUATE, "test")

    def off(self, folder):
        """Nats that each case's log-probabilities are off by from those that were measured."""
        found = self.answers(load_published(folder, self.base, self.model, self.labels))
        assert found["prompt_hash"].tolist() == self.evaluated["prompt_hash"].tolist()
        pairs = zip(found["log_probs"], self.evaluated["log_probs"], strict=True)
        return [float(np.abs(np.subtract(*pair)).max()) for pair in pairs]


@pytest.fixture(scope="module")
def models(tmp_path_factory, tokenizer, bert_tokenizer):
    """A published folder of each kind."""
    made = {}
    for kind, (layout, method, head, model) in KINDS.items():
        own = bert_tokenizer if layout == "bert" else tokenizer
        made[kind] = Tuned(tmp_path_factory.mktemp("tuned"), own, layout, method, head, **model)
    return made


@pytest.fixture(params=list(KINDS))
def published(request, models):
    return models[request.param]


@pytest.mark.slow
def test_the_folder_answers_as_it_was_measured(published):
    assert max(published.off(published.folder)) < 1e-5


@pytest.mark.slow
def test_the_folder_names_no_path_of_this_machine_and_holds_no_pickle(published):
    for path in published.folder.rglob("*"):
        assert path.suffix in ("", ".json", ".safetensors", ".txt", ".jinja", ".model"), path
        if path.suffix == ".json":
            assert str(published.folder.parent) not in path.read_text(encoding="utf-8"), path


def test_other_weights_answer_differently(published, tmp_path):
    other = shutil.copytree(published.folder, tmp_path / "other")
    [weights] = other.glob("*.safetensors")
    torch.manual_seed(7)
    values = {name: value + 0.5 * torch.randn_like(value) for name, value in load_file(weights).items()}
    save_file(values, weights, metadata={"format": "pt"})
    off = published.off(other)
    assert sum(one > 1e-3 for one in off) > len(off) / 2
    assert max(off) > 0.01


def test_a_classifier_names_its_labels(models):
    config = json.loads((models["full, classification"].folder / "config.json").read_text())
    assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
    assert config["label2id"] == {label: i for i, label in enumerate(LABELS)}


def test_a_tokenizer_knows_what_the_model_can_read(models, tmp_path, tokenizer):
    """One from scratch was made for shorter texts; others would be cut where they were not in the measurement."""
    weights = write_model(tmp_path / "scratch", "llama", tokenizer, max_position_embeddings=96)
    layout = {"model_type": "llama"}
    scratch = models["lora, lm"].model.model_copy(update={"source": "scratch", "id": None, "config": layout})
    (weights / "manifest.json").write_text(
        json.dumps({"source": "scratch", "id": None, "revision": None, "sha256": None})
    )
    out = tmp_path / "out"
    out.mkdir()
    write_published(out, weights, models["lora, lm"].tuned, scratch, LABELS, NAME)
    assert json.loads((out / "base/tokenizer_config.json").read_text())["model_max_length"] == 96
    assert load_published(out, weights, scratch, LABELS).context == 96
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == NAME


STRANGER = """
import json, sys, torch
torch.set_num_threads(1)
TOKENS, TYPES = ROWS
SCORES_OF
for kind, code in json.load(sys.stdin).items():
    space = {}
    exec(code, space)
    model = space["model"].eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes' bfloat16 kernel of some CPUs rounds otherwise, and fails on layers a few units wide.
            module.support_avx512bf16_for_cpu = False
    print(json.dumps([kind, scores_of(model)]))
assert "tunediff" not in sys.modules
"""


@pytest.mark.pipeline
def test_the_code_of_the_model_card_loads_each_from_the_hub_with_plain_libraries(models, tmp_path):
    # transformers has no span model of a decoder that finds its weights; the card says so.
    models = {kind: tuned for kind, tuned in models.items() if kind != "full, span of a decoder"}
    codes = {}
    with serve() as hub:
        for number, (kind, tuned) in enumerate(models.items()):
            name = f"me/model-{number}"
            hub.commit("model", name, files_of(tuned.folder))
            is_adapter = tuned.adapt.method in ("qlora", "lora")
            codes[kind] = loading_code(tuned.model, is_adapter, LABELS).replace(NAME, name)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                STRANGER.replace("ROWS", str((TOKENS, TYPES))).replace("SCORES_OF", inspect.getsource(scores_of)),
            ],
            input=json.dumps(codes),
            env=os.environ | hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert list(found) == list(models)
    for kind, tuned in models.items():
        loaded = load_published(tuned.folder, tuned.base, tuned.model, tuned.labels)
        assert found[kind] == pytest.approx(scores_of(loaded.model), abs=1e-4), kind


def test_the_generation_config_of_a_base_that_goes_along_and_its_labels_are_there(models, tmp_path):
    for kind in ("lora, lm", "full, lm"):
        own = models[kind]
        weights = next(path for path in own.base.parent.iterdir() if path.name == "weights")
        there = json.loads((weights / "generation_config.json").read_text())
        folder = own.folder / "base" if kind == "lora, lm" else own.folder
        found = json.loads((folder / "generation_config.json").read_text())
        assert found["eos_token_id"] == there["eos_token_id"]
    config = json.loads((models["lora, classification"].folder / "base" / "config.json").read_text())
    assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_chat_template_goes_with_the_model_and_asks_as_it_was_measured(method, tmp_path):
    made = CHATS["qwen3"]()
    made.chat_template = {"default": made.chat_template, "tool_use": "{{ messages }}"}
    weights = write_model(tmp_path / "weights", "llama", made, max_position_embeddings=1024)
    section, adapt = model_section(weights), adapt_section(method)
    base, tuned, folder = pin(tmp_path / "base", weights, section), tmp_path / "tuned", tmp_path / "out"
    save_tuned(adapt_model(load_base(base, section, LABELS).model, adapt, seed=0), adapt, tuned)
    folder.mkdir()
    write_published(folder, base, tuned, section, LABELS, NAME)
    kept = AutoTokenizer.from_pretrained(folder / "base" if method == "lora" else folder)
    assert kept.chat_template == made.chat_template
    case_set = CASE_SET.model_copy(
        update={"prompt": chat_prompt("qwen3"), "ask": CASE_SET.ask.model_copy(update={"choices": CHAT_CHOICES})}
    )
    measured, found = (
        ask_cases(engine_of(loaded), CASES, case_set, EVALUATE, "test")
        for loaded in (
            load_tuned(load_base(base, section, LABELS), tuned),
            load_published(folder, base, section, LABELS),
        )
    )
    assert found["prompt_hash"].tolist() == measured["prompt_hash"].tolist()
    np.testing.assert_allclose(found["log_probs"].tolist(), measured["log_probs"].tolist(), atol=1e-5)


@pytest.mark.parametrize(("form", "precision"), [("whole", "nf4"), ("whole", "int8"), ("adapter", "int8")])
def test_a_model_in_a_precision_of_its_own_is_published_in_plain_weights_and_loaded_in_it(
    form, precision, tmp_path, tokenizer
):
    weights = write_model(tmp_path / "weights", "llama", tokenizer)
    section, theirs = model_section(weights), write_model(tmp_path / "theirs", "llama", tokenizer, seed=7)
    if form == "adapter":
        theirs = tmp_path / "adapter"
        small = peft.get_peft_model(load_base(pin(tmp_path / "b", weights, section), section, LABELS).model, LORA)
        small.save_pretrained(theirs)
    base, tuned, folder = pin(tmp_path / "base", weights, section), tmp_path / "tuned", tmp_path / "out"
    given = Pinned(source="folder", id=str(theirs), quantization=precision)
    pin_tuned(given, tuned)
    folder.mkdir()
    write_published(folder, base, tuned, section, LABELS, NAME)
    for path in folder.rglob("model.safetensors"):
        assert {value.dtype for value in load_file(path).values()} == {torch.float32}
    measured, found, plain = (
        scores_of(loaded.model)
        for loaded in (
            load_tuned(load_base(base, section, LABELS), tuned),
            load_published(folder, base, loaded_as(section, read_tuned(tuned)), LABELS),
            load_tuned(load_base(base, section, LABELS), tuned, packed=False),
        )
    )
    assert found == pytest.approx(measured, abs=1e-5)
    assert plain != pytest.approx(measured, abs=1e-3)


def test_the_head_of_an_adapter_from_elsewhere_is_published_in_the_order_of_the_labels(tmp_path, tokenizer):
    weights = write_model(tmp_path / "weights", "llama", tokenizer)
    theirs = peft.get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(weights, num_labels=len(LABELS)),
        peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["score"], task_type="SEQ_CLS"),
    )
    theirs.save_pretrained(tmp_path / "theirs")
    section = model_section(weights, head="classification")
    base, tuned, folder = pin(tmp_path / "base", weights, section), tmp_path / "tuned", tmp_path / "out"
    order = [LABELS[1], LABELS[2], LABELS[0]]
    pin_tuned(Pinned(source="folder", id=str(tmp_path / "theirs"), head_labels=order), tuned)
    folder.mkdir()
    write_published(folder, base, tuned, section, LABELS, NAME)
    measured = scores_of(load_tuned(load_base(base, section, LABELS), tuned).model)
    assert len(set(measured)) == len(LABELS)
    assert scores_of(load_published(folder, base, section, LABELS).model) == pytest.approx(measured, abs=1e-5)


@pytest.mark.parametrize("named", ["by config.json", "by params.yaml"])
@pytest.mark.parametrize("source", ["folder", "hub"])
def test_an_adapter_without_a_head_is_published_with_the_bases_in_the_order_of_the_labels(
    named, source, tmp_path, monkeypatch, bert_tokenizer
):
    """The base names its outputs in another order: neither an answer nor a name may come out wrong."""
    order, revision = [LABELS[2], LABELS[0], LABELS[1]], "6c1f" + "0" * 36
    cache = tmp_path / "hub"
    weights = cache / "models--me--base" / "snapshots" / revision if source == "hub" else tmp_path / "weights"
    names = {"id2label": dict(enumerate(order))} if named == "by config.json" else {}
    write_model(weights, "bert", bert_tokenizer, "classification", num_labels=len(LABELS), **names)
    theirs = peft.get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(weights), peft.LoraConfig(r=2, target_modules=["query"])
    )
    torch.manual_seed(3)
    for name, value in theirs.named_parameters():
        if "lora_B" in name:
            value.data += 0.3 * torch.randn_like(value)
    theirs.save_pretrained(tmp_path / "theirs")
    from_hub = {"source": "hub", "id": "me/base", "revision": revision} if source == "hub" else {}
    head_labels = None if names else order
    section = model_section(weights, head="classification", head_labels=head_labels, **from_hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base, tuned, folder = pin(tmp_path / "base", weights, section), tmp_path / "tuned", tmp_path / "out"
    pin_tuned(Pinned(source="folder", id=str(tmp_path / "theirs")), tuned)
    folder.mkdir()
    write_published(folder, base, tuned, section, LABELS, NAME)
    measured = scores_of(load_tuned(load_base(base, section, LABELS), tuned).model)
    # Theirs, by the names of its outputs.
    assert dict(zip(order, scores_of(theirs.eval()), strict=True)) == pytest.approx(
        dict(zip(LABELS, measured, strict=True)), abs=1e-5
    )
    assert scores_of(load_published(folder, base, section, LABELS).model) == pytest.approx(measured, abs=1e-5)
    code = loading_code(section, True, LABELS).replace(f'snapshot_download("{NAME}")', repr(str(folder)))
    code = code.replace(f'"{NAME}"', repr(str(folder))).replace('"me/base"', repr(str(weights)))
    space = {}
    exec(code, space)
    assert space["model"].config.id2label == dict(enumerate(LABELS))
    assert scores_of(space["model"].eval()) == pytest.approx(measured, abs=1e-5)
