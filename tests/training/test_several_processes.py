"""Training in two processes: what one learns that has the batches of both, and the same model in each of them."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.tensor import DTensor

from tests.questions import CASES as QUESTIONS
from tests.questions import LABELS as QUESTION_LABELS
from tests.questions import QUESTIONS as QUESTION_TASK
from tests.several import in_processes
from tests.tiny import CASES, PROMPT, TASK, adapt_section, load, train_section, write_model
from tests.training.stopping import stop_after_save
from tunediff.config.prompt import Prompt
from tunediff.models.adapt import adapt_model
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.processes import rank_and_size
from tunediff.training import finetune as module
from tunediff.training.finetune import finetune
from tunediff.training.loop import Loop
from tunediff.training.targets import TARGETS, training_rows

# The model, what is trained of it, and keys of train; an adapter on a decoder, whole encoders.
TRAININGS = {
    "lm": ("llama", "lora", {}),
    "lm, two batches of like length a step": (
        "llama",
        "lora",
        {"train_sampling_strategy": "group_by_length", "gradient_accumulation_steps": 2, "prompt_loss_weight": 0.1},
    ),
    "span, two batches a step": ("bert", "full", {"gradient_accumulation_steps": 2}),
    "classification on a frozen base": ("bert", "head", {}),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory, tokenizer, bert_tokenizer):
    root = tmp_path_factory.mktemp("published")
    write_model(root / "llama", "llama", tokenizer)
    write_model(root / "bert", "bert", bert_tokenizer, "none")
    return root


@pytest.fixture
def learn(published, tmp_path):
    """Train a fresh model on some of the cases: the log, and its trained weights."""

    def learn(kind, n, scratch, size, **more):
        name, method, keys = TRAININGS[kind]
        head = kind.partition(",")[0].partition(" ")[0]
        task, cases, labels, prompt = TASK, CASES, TASK.labels, PROMPT if head == "lm" else Prompt()
        if head == "span":
            task, cases, labels = QUESTION_TASK, QUESTIONS, QUESTION_LABELS
            prompt = Prompt(max_tokens=24, doc_stride=4)
        base = tmp_path / f"base {kind}"
        loaded = load(base, published / name, labels, head=head)
        loaded = replace(loaded, model=adapt_model(loaded.model, adapt_section(method), 0))
        for layer in loaded.model.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0  # each process would drop other units
        rows, validation = (
            training_rows(loaded, some, task.labels, prompt, head)
            for some in ((cases * 2)[:n], cases[: max(3, n // 2)])
        )
        train = train_section(per_device_train_batch_size=size, learning_rate=3e-3, **keys, **more)
        log = finetune(loaded, rows, validation, train, scratch, head)
        return log, {name: value.detach() for name, value in loaded.model.named_parameters() if value.requires_grad}

    return learn


# Of 9 rows in batches of 4, the second process has none in the last batch; of 7 it has one less than the first.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n"), [*((kind, 9) for kind in TRAININGS), ("lm", 7)])
def test_two_processes_learn_what_one_learns_from_the_batches_of_both(kind, n, learn, tmp_path):
    log, weights = learn(kind, n, tmp_path / "one", 4)
    both = in_processes(2, tmp_path / "both", lambda: learn(kind, n, tmp_path / "two", 2))
    assert both[0][0] == both[1][0]
    assert len(log) == 3
    for one, two in zip(log, both[0][0], strict=True):
        assert two == pytest.approx(one, abs=1e-4, rel=0)
    assert log[0]["train_loss"] - log[-1]["train_loss"] > 1e-3  # it did learn something
    for name, value in weights.items():
        assert torch.equal(both[0][1][name], both[1][1][name]), name
        # Not where a layer ends in a bias that changes no answer: AdamW blows its gradient, which is rounding, up.
        if kind.startswith("lm"):
            torch.testing.assert_close(both[0][1][name], value, atol=1e-4, rtol=0)


def test_a_weight_that_one_process_did_not_come_to_gets_the_gradient_of_the_other(tmp_path):
    def summed():
        model = torch.nn.ModuleList(torch.nn.Linear(1, 1, bias=False) for _ in range(3))
        for layer in model[: 1 + rank_and_size()[0]]:
            layer.weight.grad = torch.ones(1, 1)
        Loop._sum_gradients(SimpleNamespace(model=model))
        return [None if layer.weight.grad is None else layer.weight.grad.item() for layer in model]

    assert in_processes(2, tmp_path / "both", summed) == [[2.0, 1.0, None]] * 2


def test_a_loss_that_is_no_number_in_one_process_is_told_by_all_with_the_rows_of_that_one(learn, tmp_path):
    def diverged():
        patch, target, rows = pytest.MonkeyPatch(), TARGETS["lm"], []
        real = Loop._step

        def step(self, parts):
            rows.extend(one.numbers for one in parts)
            return real(self, parts)

        def loss(model, batch, **keys):
            found = target.loss(model, batch, **keys)
            bad = rank_and_size()[0] == 1 and len(rows) == 2
            return found._replace(answers=found.answers * math.nan) if bad else found

        patch.setattr(Loop, "_step", step)
        patch.setitem(TARGETS, "lm", target._replace(loss=loss))
        with pytest.raises(TunediffError) as caught:
            learn("lm", 9, tmp_path / "two", 2)
        return str(caught.value), rows[1]

    learn("lm", 9, tmp_path / "one", 4)  # writes the base
    (line, others), (same, rows) = in_processes(2, tmp_path / "both", diverged)
    assert line == same
    assert "found a loss that is not finite at step 2" in line
    assert line.endswith(f"look at rows {rows[0]}, {rows[1]}")
    assert not set(rows) & set(others)


@pytest.mark.slow
def test_weights_that_are_shared_out_learn_what_copies_learn_and_go_on_after_a_stop(learn, tmp_path):
    kind = "lm"
    log, weights = learn(kind, 9, tmp_path / "one", 4)
    fsdp = {"transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}
    keys = {"fsdp": fsdp, "num_processes": 2, "choose_epoch": "best"}

    def stopped():
        stop_after_save(pytest.MonkeyPatch(), 2 * log[0]["step"])
        learn(kind, 9, tmp_path / "two", 2, **keys)

    def gone_on():
        real, shared_out = module.gather_trained, []

        def gather(model):
            shared_out.extend(isinstance(value, DTensor) for value in model.parameters())
            real(model)

        pytest.MonkeyPatch().setattr(module, "gather_trained", gather)
        return *learn(kind, 9, tmp_path / "two", 2, **keys), shared_out

    with pytest.raises(AssertionError, match="Stop"):
        in_processes(2, tmp_path / "stopped", stopped)
    assert [path.parent.name for path in (tmp_path / "two").glob("*/whole")] != []
    both = in_processes(2, tmp_path / "both", gone_on)
    for one, two in zip(log, both[0][0], strict=True):
        assert two == pytest.approx(one, abs=1e-4, rel=0)
    assert all(both[0][2])
    assert {name: value.shape for name, value in both[0][1].items()} == {k: v.shape for k, v in weights.items()}
    assert not any(isinstance(value, DTensor) for value in both[0][1].values())


@pytest.mark.parametrize(
    ("fsdp", "found"),
    [
        ({}, r"transformer_layer_cls_to_wrap: found nothing, expected some of LlamaDecoderLayer"),
        ({"transformer_layer_cls_to_wrap": "LlamaLayer"}, r"found LlamaLayer, expected some of LlamaDecoderLayer"),
        ({"transformer_layer_cls_to_wrap": "LlamaDecoderLayer", "version": 2}, r"train\.fsdp: found version, expected"),
    ],
)
def test_layers_that_the_model_does_not_have_and_unknown_keys_of_fsdp_are_one_line(fsdp, found, learn, tmp_path):
    with pytest.raises(TunediffError, match=found):
        learn("lm", 9, tmp_path / "one", 4, fsdp=fsdp, num_processes=2)
