"""A frozen base is run once: the head learns the same as if it ran in every epoch."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

from tests.questions import CASES as QUESTIONS
from tests.questions import LABELS as QUESTION_LABELS
from tests.questions import QUESTIONS as QUESTION_TASK
from tests.tiny import (
    CASES,
    LABELS,
    TASK,
    adapt_section,
    load,
    small_bert_tokenizer,
    small_tokenizer,
    train_section,
    write_model,
)
from tunediff.config.prompt import Prompt
from tunediff.models.adapt import adapt_model
from tunediff.runtime.errors import TunediffError
from tunediff.training import features
from tunediff.training.features import compute_features, frozen_base, read_features, write_features
from tunediff.training.finetune import finetune
from tunediff.training.targets import TARGETS, training_rows

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
# A few units wide; encoders whose classifiers read the first token, the pooler, or every token.
ENCODERS = {
    "bert": {},
    "roberta": {"pad_token_id": 0, "max_position_embeddings": 70},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "mpnet": {"pad_token_id": 0, "max_position_embeddings": 70},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 1, "n_heads": 2},
    "camembert": {"pad_token_id": 0, "max_position_embeddings": 70},
    "modernbert": {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
}
WIDTHS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture
def start(tmp_path):
    """A model with a new head on a frozen base, and its rows."""

    def start(name, head, method="head"):
        folder = tmp_path / f"{name}-{head}"
        if name in ENCODERS:
            torch.manual_seed(0)
            config = AutoConfig.for_model(name, **({"vocab_size": len(BERT), **WIDTHS} | ENCODERS[name]))
            AutoModel.from_config(config).save_pretrained(folder / "model")
            BERT.save_pretrained(folder / "model")
        elif not folder.exists():
            write_model(folder / "model", name, BPE)
        span = head == "span"
        labels, cases, task = (QUESTION_LABELS, QUESTIONS, QUESTION_TASK) if span else (LABELS, CASES, TASK)
        prompt = Prompt(template=None if span or name in ENCODERS else "{premise} {hypothesis}", doc_stride=8)
        loaded = load(folder / "base", folder / "model", labels, head=head)
        adapt_model(loaded.model, adapt_section(method), 0)
        return loaded, training_rows(loaded, cases, task.labels, prompt, head)

    return start


@pytest.mark.slow
@pytest.mark.parametrize("head", ["classification", "span"])
@pytest.mark.parametrize("name", [*ENCODERS, "llama", "phi", "gpt_neox", "gpt2", "qwen2"])
def test_the_loss_and_its_gradient_are_those_of_the_ordinary_way(name, head, start, tmp_path):
    loaded, rows = start(name, head)
    target = TARGETS[head]

    def losses():
        found = []
        for at in range(0, len(rows), 3):
            loaded.model.zero_grad()
            loss = target.loss(loaded.model.eval(), target.batch(rows[at : at + 3], pad=loaded.pad))
            loss.minimized.backward()
            gradients = [value.grad.clone() for value in loaded.model.parameters() if value.requires_grad]
            found.append((loss.minimized.detach(), gradients))
        return found

    expected, inputs = losses(), [one for one, _ in rows]
    write_features(tmp_path / "features", compute_features(loaded, inputs, head))
    with frozen_base(loaded, inputs, head, read_features(tmp_path / "features")):
        assert "Frozen" in type(loaded.model.base_model).__name__
        found = losses()
    assert "Frozen" not in type(loaded.model.base_model).__name__
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert len(expected[0][1]) >= 1


@pytest.mark.parametrize(("name", "head"), [("bert", "classification"), ("bert", "span"), ("llama", "classification")])
def test_a_run_is_the_same_whether_the_outputs_are_kept_or_not(name, head, start, tmp_path, monkeypatch, capsys):
    logs, weights, passes = [], [], []
    for kept in (features.CACHED_BYTES, 100):
        monkeypatch.setattr(features, "CACHED_BYTES", kept)
        loaded, rows = start(name, head)
        base, calls = loaded.model.base_model, []
        base.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        found = compute_features(loaded, [one for one, _ in rows], head)
        train, folder = train_section(num_train_epochs=4), tmp_path / str(kept)
        logs.append(finetune(loaded, rows, rows[:3], train, folder, head, features=found))
        weights.append([value.detach().clone() for value in loaded.model.parameters() if value.requires_grad])
        passes.append(len(calls))
        assert loaded.model.base_model is base
        said = capsys.readouterr().out
        assert ("the base model runs in every epoch" in said) == (kept == 100)
    for one, other in zip(*logs, strict=True):
        assert other == pytest.approx(one, abs=1e-4)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-4)
    assert passes[0] == 1
    assert passes[1] >= 4 * 2


def test_a_frozen_base_has_no_dropout_and_the_head_keeps_its_own(start):
    loaded, rows = start("bert", "classification")
    with frozen_base(loaded, [one for one, _ in rows], "classification", {}):
        loaded.model.train()
        assert loaded.model.dropout.training
        assert not any(module.training for module in loaded.model.base_model.modules())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_base_that_is_trained_is_left_alone(method, start, tmp_path):
    loaded, rows = start("bert", "classification", "head")
    if method == "full":
        loaded.model.requires_grad_(True)
    else:
        loaded = replace(loaded, model=adapt_model(loaded.model, adapt_section("lora", target_modules=["query"]), 0))
    with frozen_base(loaded, [one for one, _ in rows], "classification", {}):
        assert not [m for m in loaded.model.modules() if "Frozen" in type(m).__name__]


def test_features_of_other_rows_stop_the_run(start):
    loaded, rows = start("bert", "classification")
    inputs = [one for one, _ in rows]
    found = compute_features(loaded, inputs[1:], "classification")
    with (
        pytest.raises(TunediffError, match=f"no features for 1 of {len(rows)} rows"),
        frozen_base(loaded, inputs, "classification", found),
    ):
        pass


@pytest.mark.parametrize("text", [b"", b"not safetensors", b"\x08" + b"\0" * 7 + b"{}      "[:4]])
def test_a_damaged_file_is_named(text, tmp_path):
    (tmp_path / "features.safetensors").write_bytes(text)
    with pytest.raises(TunediffError, match=r"features\.safetensors: cannot be read"):
        read_features(tmp_path / "features.safetensors")


def test_a_file_of_other_tensors_is_named_and_one_of_none_holds_no_features(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "features.safetensors")
    with pytest.raises(TunediffError, match=r"features\.safetensors: cannot be read"):
        read_features(tmp_path / "features.safetensors")
    write_features(tmp_path / "features.safetensors", {})
    assert read_features(tmp_path / "features.safetensors") == {}
