"""A source of base models that is registered from outside: found, pinned and loaded as the others are."""

import shutil

import pytest

from tests.chats import KINDS as CHATS
from tests.tiny import LABELS, model_section, pin, write_model
from tunediff.models.load import load_base
from tunediff.models.sources import MANIFEST, SOURCES, find_weights, weights_of, write_manifest
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json


def test_a_source_from_outside_is_found_pinned_and_loaded(tmp_path, tokenizer, monkeypatch):
    write_model(tmp_path / "shelf/third", "llama", tokenizer)
    monkeypatch.setitem(SOURCES, "shelf", lambda model: tmp_path / "shelf" / model.id)
    section = model_section("third", source="shelf")
    base = tmp_path / "base"
    base.mkdir()
    write_manifest(base, section, find_weights(section))
    assert read_json(base / MANIFEST)["source"] == "shelf"
    assert load_base(base, section, LABELS).model.config.model_type == "llama"
    shutil.copy(tmp_path / "shelf/third/config.json", tmp_path / "shelf/third/more.json")
    with pytest.raises(TunediffError, match="the model's files are not the ones"):
        load_base(base, section, LABELS)


def test_a_source_that_nobody_registered_is_refused_with_those_there_are():
    with pytest.raises(TunediffError, match=r"found shelf, expected one of scratch, hub, folder, package, server$"):
        find_weights(model_section("third", source="shelf"))


def test_another_chat_template_is_another_model(tmp_path):
    folder = write_model(tmp_path / "model", "llama", CHATS["smollm2"]())
    section = model_section(folder)
    base = pin(tmp_path / "base", folder, section)
    assert weights_of(base, section) == folder
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(TunediffError, match="files are not the ones that"):
        weights_of(base, section)
