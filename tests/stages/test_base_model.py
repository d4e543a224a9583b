"""The stage base_model: both its files are there for any base, and a changed head is no change to it."""

import json
import shutil

import pytest
import yaml

from tests.imports import ROOT
from tests.models.layouts import SMALL_BERT
from tests.prepare_params import PARAMS, files_section
from tests.program import script
from tests.settings import settle
from tests.tiny import SENTENCES, small_tokenizer, write_model

HEADER = "epoch,step,train_loss,validation_loss,perplexity,mlm_accuracy,nsp_accuracy"
LAYOUT = SMALL_BERT | {"max_position_embeddings": 32, "num_hidden_layers": 1}
PRETRAIN = {"path": "text.txt", "text": "plain", "vocab_size": 300, "max_tokens": 32, "held_out": 0.25}
PRETRAIN |= {"num_train_epochs": 2, "per_device_train_batch_size": 4}


@pytest.fixture
def base_model(tmp_path):
    """Run the stage with sections changed; what it printed."""

    def base_model(**changes):
        params = PARAMS | {"data": files_section()} | changes
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        settle(tmp_path)
        paths = [
            "--settings",
            "data/settings/base_model.json",
            "--text",
            "text.txt",
            "--base",
            "base",
            "--log",
            "log.csv",
            "--metrics",
            "m.json",
            "--cost",
            "cost.json",
        ]
        done = script(tmp_path, ROOT / "stages/base_model.py", *paths)
        assert done.returncode == 0, done.stderr
        return done.stdout

    documents = (f"{SENTENCES[n % 3]} {SENTENCES[n % 4]}\n{SENTENCES[n % 2]}" for n in range(12))
    (tmp_path / "text.txt").write_text("\n\n".join(f"Number {n}. {one}" for n, one in enumerate(documents)))
    return base_model


def test_a_base_that_others_trained_has_a_log_of_a_header_and_its_vocabulary(base_model, tmp_path):
    write_model(tmp_path / "model", "llama", small_tokenizer())
    base_model()
    assert (tmp_path / "log.csv").read_text() == f"{HEADER}\n"
    assert json.loads((tmp_path / "m.json").read_text()) == {"vocab_size": len(small_tokenizer())}


def test_a_bert_from_scratch_has_a_row_an_epoch_and_its_last_figures(base_model, tmp_path):
    model = {"source": "scratch", "config": LAYOUT, "head": "classification", "quantization": "none"}
    sections = {"model": model, "pretrain": PRETRAIN}
    head = {"prompt": {}, "evaluate": {"scoring_method": "head"}}
    printed = base_model(**sections, **head)
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert header == HEADER
    assert [row.split(",")[0] for row in rows] == ["1.0", "2.0"]
    metrics = json.loads((tmp_path / "m.json").read_text())
    last = dict(zip(HEADER.split(","), map(float, rows[-1].split(",")), strict=True))
    assert {key: metrics[key] for key in HEADER.split(",")[2:]} == {key: last[key] for key in HEADER.split(",")[2:]}
    assert (metrics["epochs"], metrics["steps"]) == (last["epoch"], last["step"])
    assert (metrics["documents"], metrics["validation_documents"]) == (9, 3)
    assert f"vocabulary {metrics['vocab_size']}" in printed
    assert f"epoch 2: loss {last['train_loss']:.3f}, perplexity {last['perplexity']:.1f}, MLM accuracy" in printed
    assert "ALARM" not in printed
    [scratch] = (tmp_path / ".scratch/base_model").iterdir()
    assert {"done", "cost", f"checkpoint-{metrics['steps']}"} == {path.name for path in scratch.iterdir()}
    files = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    assert {"config.json", "manifest.json", "model.safetensors", "tokenizer.json"} <= set(files)
    # Another seed of the head and another dtype: the same base, to the byte.
    shutil.rmtree(scratch)  # as the report does
    base_model(**sections | {"model": model | {"head_seed": 5, "dtype": "bfloat16"}}, **head)
    assert list(scratch.parent.iterdir()) == [scratch]
    assert {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()} == files


def test_a_perplexity_above_the_vocabulary_is_an_alarm(base_model):
    model = {"source": "scratch", "config": LAYOUT, "head": "classification", "quantization": "none"}
    printed = base_model(
        model=model,
        pretrain=PRETRAIN | {"learning_rate": 0.5, "warmup_steps": 0},
        prompt={},
        evaluate={"scoring_method": "head"},
    )
    assert "ALARM: a perplexity above 129 is worse than uniform guessing over all tokens" in printed
