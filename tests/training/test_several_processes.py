"""Training in two processes: what one learns that has the batches of both, and the same model in each of them."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import DistributedType, PartialState
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
from tunediff.runtime.processes import part
from tunediff.training import finetune as module
from tunediff.training.finetune import finetune, training_rows
from tunediff.training.loop import ROWS, BatchTrainer

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


def test_a_loss_that_is_no_number_in_one_process_is_told_by_all_with_the_rows_of_that_one(learn, tmp_path):
    def said():
        patch, own, rows = pytest.MonkeyPatch(), module.HEADS["lm"], []
        real = BatchTrainer.training_step

        def step(self, model, inputs, *rest):
            rows.append(inputs[ROWS].tolist())
            return real(self, model, inputs, *rest)

        def loss(model, batch, **keys):
            found = own[1](model, batch, **keys)
            bad = part()[0] == 1 and len(rows) == 2
            return found._replace(answers=found.answers * math.nan) if bad else found

        patch.setattr(BatchTrainer, "training_step", step)
        patch.setitem(module.HEADS, "lm", (own[0], loss))
        with pytest.raises(TunediffError) as caught:
            learn("lm", 9, tmp_path / "two", 2)
        return str(caught.value), rows[1]

    learn("lm", 9, tmp_path / "one", 4)  # writes the base
    (line, others), (same, rows) = in_processes(2, tmp_path / "both", said)
    assert line == same
    assert "found a loss that is no finite number at step 2" in line
    assert line.endswith(f"look at rows {rows[0]}, {rows[1]}")
    assert not set(rows) & set(others)


def test_weights_that_are_shared_out_learn_what_copies_learn_and_go_on_after_a_stop(learn, tmp_path):
    kind = "lm"
    log, weights = learn(kind, 9, tmp_path / "one", 4)
    fsdp = {"transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}
    keys = {"fsdp": fsdp, "num_processes": 2, "choose_epoch": "best"}

    def on_cpu():
        # accelerate shares weights out on accelerators alone; the rest of the way is the same on a CPU with gloo.
        real = PartialState.__init__

        def init(self, *arguments, **keywords):
            real(self, *arguments, **keywords)
            if self.distributed_type == DistributedType.MULTI_CPU:
                self.distributed_type = DistributedType.MULTI_GPU

        pytest.MonkeyPatch().setattr(PartialState, "__init__", init)
        pytest.MonkeyPatch().setattr(module, "_refuse_sharing_on_cpu", lambda train: None)

    def stopped():
        on_cpu()
        stop_after_save(pytest.MonkeyPatch(), 2 * log[0]["step"])
        learn(kind, 9, tmp_path / "two", 2, **keys)

    def gone_on():
        on_cpu()
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
