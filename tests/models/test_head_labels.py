"""A checkpoint's outputs are the labels that it names, whatever their order in params.yaml."""

import json

import pytest
import torch

from tests.tiny import CASES, LABELS, load, small_bert_tokenizer, small_config, small_tokenizer, write_model
from tunediff.config.prompt import Prompt
from tunediff.engines.local.labels import classify
from tunediff.inputs.prompts import encode_cases
from tunediff.models.merge import save_whole
from tunediff.runtime.errors import TunediffError

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
OTHER_ORDER = ["contradiction", "neutral", "entailment"]


def checkpoint(folder, names, layout="bert", **changes):
    """A fine-tuned classifier, whose config.json names its outputs so."""
    tokenizer = BERT if layout == "bert" else BPE
    return write_model(folder, layout, tokenizer, "classification", id2label=dict(enumerate(names)), **changes)


def answers(loaded):
    """The likeliest label of each case, by name."""
    prompt = Prompt(template=None if loaded.tokenizer.sep_token else "{premise}\n{hypothesis}")
    encoded = encode_cases(loaded.tokenizer, CASES, prompt, loaded.context)
    names = loaded.model.config.id2label
    return [names[i] for i in classify(loaded.model, encoded, loaded.pad, 4096, "test").argmax(-1).tolist()]


def error_of(folder, tmp_path, **keys):
    with pytest.raises(TunediffError) as caught:
        load(tmp_path / "base", folder, head="classification", **keys)
    [line] = caught.value.args
    assert "\n" not in line
    return line


@pytest.mark.parametrize("layout", ["bert", "llama"])
def test_labels_in_another_order_than_the_checkpoints_change_no_answer(layout, tmp_path):
    folder = checkpoint(tmp_path / "model", OTHER_ORDER, layout)
    own = load(tmp_path / "own", folder, OTHER_ORDER, head="classification")
    ours = load(tmp_path / "ours", folder, LABELS, head="classification")
    assert answers(own) == answers(ours)
    assert len(set(answers(own))) > 1
    assert ours.model.config.id2label == dict(enumerate(LABELS))
    assert ours.found["head"] == "checkpoint"


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["ENTAILMENT", "Neutral", "contradiction "], LABELS),
        (["NEG", "pos"], ["positive", "negative"]),
        (["not_entailment", "entailment"], ["entailment", "not entailment"]),
        (["World News", "sci-tech"], ["sci_tech", "world_news"]),
    ],
)
def test_case_blanks_and_short_forms_do_not_matter(names, labels, tmp_path):
    folder = checkpoint(tmp_path / "model", names)
    loaded = load(tmp_path / "base", folder, labels, head="classification")
    assert list(loaded.model.config.id2label.values()) == labels
    assert loaded.found["head"] == "checkpoint"


def test_other_names_are_refused_with_both_lists(tmp_path):
    line = error_of(checkpoint(tmp_path / "model", ["joy", "anger", "fear"]), tmp_path)
    assert "id2label: found joy, anger, fear, expected those of task.labels: entailment, neutral, contradiction" in line


@pytest.mark.slow
def test_numbers_in_place_of_names_are_refused_unless_params_give_the_order(tmp_path):
    folder = checkpoint(tmp_path / "model", ["LABEL_0", "LABEL_1", "LABEL_2"])
    assert "found LABEL_0, LABEL_1, LABEL_2, which are not labels" in error_of(folder, tmp_path)
    same = checkpoint(tmp_path / "same", OTHER_ORDER)
    given = load(tmp_path / "given", folder, head="classification", head_labels=OTHER_ORDER)
    named = load(tmp_path / "named", same, head="classification")
    assert torch.equal(given.model.classifier.weight, named.model.classifier.weight)
    line = error_of(folder, tmp_path, head_labels=["joy", "anger", "fear"])
    assert line.startswith("params.yaml: model.head_labels: found joy, anger, fear, expected those of task.labels: ")


@pytest.mark.parametrize("head", ["none", "classification"])
def test_a_head_that_is_new_is_said_to_be_new(head, tmp_path, capsys):
    folder = write_model(tmp_path / "model", "bert", BERT, head, num_labels=2)
    loaded = load(tmp_path / "base", folder, LABELS, head="classification", head_seed=5)
    assert loaded.found["head"] == "new"
    assert "a new head for entailment, neutral, contradiction, drawn by head_seed 5" in capsys.readouterr().out
    assert loaded.model.config.id2label == dict(enumerate(LABELS))


def test_what_is_saved_names_its_labels_and_is_loaded_again_by_them(tmp_path):
    loaded = load(tmp_path / "base", checkpoint(tmp_path / "model", OTHER_ORDER), LABELS, head="classification")
    save_whole(loaded.model, tmp_path / "saved")
    loaded.tokenizer.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
    again = load(tmp_path / "again", tmp_path / "saved", OTHER_ORDER, head="classification")
    assert answers(again) == answers(loaded)


def test_a_head_of_several_layers_is_put_in_order_at_its_last(tmp_path):
    from transformers import RobertaConfig, RobertaForSequenceClassification

    keys = small_config("bert", BERT).to_dict()
    keys = {key: keys[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
    names = {"num_attention_heads": 4, "max_position_embeddings": 66, "id2label": dict(enumerate(OTHER_ORDER))}
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(**(keys | names)))
    model.save_pretrained(tmp_path / "model")
    BERT.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "base", tmp_path / "model", LABELS, head="classification")
    assert torch.equal(loaded.model.classifier.out_proj.weight, model.classifier.out_proj.weight[[2, 1, 0]])
    assert torch.equal(loaded.model.classifier.out_proj.bias, model.classifier.out_proj.bias[[2, 1, 0]])
    assert torch.equal(loaded.model.classifier.dense.weight, model.classifier.dense.weight)
