"""A fine-tuning run: what it reports, what it leaves in the model, and that it can be stopped and gone on with."""

import math
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from tests.questions import CASES as QUESTIONS
from tests.questions import LABELS as QUESTION_LABELS
from tests.questions import QUESTIONS as QUESTION_TASK
from tests.tiny import (
    CASES,
    CHOICES,
    LABELS,
    PROMPT,
    TASK,
    adapt_section,
    encoded_prompts,
    load,
    train_section,
    write_model,
)
from tests.training.stopping import Stop, stop_after_save
from tunediff.config.prompt import Prompt
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.labels import classify
from tunediff.engines.local.spans import find_spans
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.tokens import encode_text
from tunediff.inputs.windows import read_documents
from tunediff.models.adapt import adapt_model
from tunediff.models.tuned import kept_epochs, load_tuned, save_tuned
from tunediff.runtime.errors import TunediffError
from tunediff.training.finetune import finetune, save_epochs
from tunediff.training.loop import Loop, chosen_epoch
from tunediff.training.loss import answer_loss, pad_answers
from tunediff.training.targets import TARGETS, label_figures, label_loss, row_case_ids, training_rows

CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="to the bit on the CPU alone; this machine has a GPU")


@pytest.fixture(scope="module")
def published(tmp_path_factory, tokenizer, bert_tokenizer):
    root = tmp_path_factory.mktemp("published")
    write_model(root / "llama", "llama", tokenizer)
    write_model(root / "bert", "bert", bert_tokenizer, "none")
    return root


@pytest.fixture
def start(published, tmp_path):
    """How a run starts: a fresh model with a fresh adapter, and its rows of training and validation."""

    def start(name="llama", method="lora", seed=0, validation=CASES[:3], dtype="auto", quantization="none", **keys):
        head = "lm" if name == "llama" else "classification"
        prompt = PROMPT if head == "lm" else Prompt()
        base = tmp_path / f"base-{name}-{quantization}-{dtype}"
        loaded = load(base, published / name, head=head, dtype=dtype, quantization=quantization)
        loaded = replace(loaded, model=adapt_model(loaded.model, adapt_section(method, **keys), seed))
        rows = [training_rows(loaded, cases, TASK.labels, prompt, head) for cases in (CASES, validation)]
        return loaded, *rows, head

    return start


def run(started, train, scratch):
    loaded, rows, validation, head = started
    log = finetune(loaded, rows, validation, train, scratch, head)
    return log, weights_of(loaded.model)


def weights_of(model):
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What a run reports


def test_a_run_reports_each_epoch_and_learns(start, tmp_path):
    log, _ = run(start(), train_section(num_train_epochs=4), tmp_path / "scratch")
    assert [row["epoch"] for row in log] == [1, 2, 3, 4]
    assert [row["step"] for row in log] == [2, 4, 6, 8]
    assert all(set(row) == {"epoch", "step", "train_loss", "validation_loss"} for row in log)
    losses = [row["train_loss"] for row in log]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@torch.no_grad()
def mean_loss(started, rows):
    loaded, _, _, head = started
    if head == "lm":
        parts = [answer_loss(loaded.model.eval(), pad_answers([row], 0)) for row in rows]
    else:
        batches = [pad_rows([one], 0) | {"labels": torch.tensor([label])} for one, label in rows]
        parts = [label_loss(loaded.model.eval(), batch) for batch in batches]
    return (sum(loss.answers for loss in parts) / sum(loss.targets for loss in parts)).item()


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_losses_of_an_epoch_are_means_over_its_targets(name, accumulation, start, tmp_path):
    # Steps too small to change a digit, so the model before the epoch gives its losses; answers of many lengths, and
    # batches that are not full.
    keys = {} if name == "llama" else {"target_modules": ["query"]}
    started = start(name, **keys)
    expected = [mean_loss(started, rows) for rows in started[1:3]]
    for layer in started[0].model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    train = train_section(
        learning_rate=1e-12,
        num_train_epochs=1,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=accumulation,
    )
    [row] = run(started, train, tmp_path / "scratch")[0]
    found = [row["train_loss"], row["validation_loss"]]
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)


def test_a_weight_on_the_prompt_changes_what_is_learned_and_not_what_is_reported(start, tmp_path):
    train = train_section(learning_rate=1e-12, num_train_epochs=1)
    logs = [run(start(), train.model_copy(update={"prompt_loss_weight": w}), tmp_path / str(w))[0] for w in (0.0, 1.0)]
    for key, value in logs[0][0].items():
        assert logs[1][0][key] == pytest.approx(value)
    train = train_section()
    weights = [
        run(start(), train.model_copy(update={"prompt_loss_weight": w}), tmp_path / f"{w} b")[1] for w in (0.0, 1.0)
    ]
    assert not same(*weights)


DROPOUTS = {
    "llama": ["attention_dropout"],
    "phi": ["attention_dropout", "resid_pdrop", "embd_pdrop"],
    "bert": ["attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"],
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_without_dropout_a_model_learns_what_a_layout_that_has_none_learns(name, tmp_path, tokenizer, bert_tokenizer):
    encoder = name == "bert"
    head, prompt = ("classification", Prompt()) if encoder else ("lm", PROMPT)

    def learned(kind, dropout, lora_dropout=0.0, **keys):
        folder = tmp_path / kind
        layout = dict.fromkeys(DROPOUTS[name], dropout)
        write_model(folder, name, *((bert_tokenizer, "none") if encoder else (tokenizer,)), **layout)
        loaded = load(tmp_path / f"base-{kind}", folder, head=head)
        adapted = adapt_model(loaded.model, adapt_section("lora", lora_dropout=lora_dropout), 0)
        loaded = replace(loaded, model=adapted)
        rows = training_rows(loaded, CASES, TASK.labels, prompt, head)
        return run((loaded, rows, rows[:3], head), train_section(**keys), tmp_path / f"{kind} scratch")[1]

    plain = learned("plain", 0.0)
    assert not same(learned("left", 0.5), plain)
    assert same(learned("disabled", 0.5, disable_dropout=True), plain)
    # That of an adapter is another parameter.
    assert not same(learned("adapter", 0.5, lora_dropout=0.5, disable_dropout=True), plain)


def test_the_loss_of_a_head_is_that_of_transformers(start):
    loaded, rows, _, _ = start("bert", "head")
    batch = pad_rows([one for one, _ in rows], 0) | {"labels": torch.tensor([label for _, label in rows])}
    model = loaded.model.eval()
    loss = label_loss(model, batch)
    assert loss.targets == len(CASES)
    torch.testing.assert_close(loss.minimized / loss.targets, model(**batch).loss)
    assert [label for _, label in rows] == [LABELS.index(case.label) for case in CASES]


def test_a_head_of_labels_says_after_each_epoch_how_much_of_the_validation_split_is_right(start, tmp_path):
    loaded, rows, validation, head = start("bert", "head", validation=CASES)
    log = finetune(loaded, rows, validation, train_section(num_train_epochs=2), tmp_path / "scratch", head)
    assert len(log) == 2
    assert all(set(row) - {"epoch", "step", "train_loss", "validation_loss"} == {"validation_accuracy"} for row in log)
    batch = pad_rows([one for one, _ in validation], 0)
    given = loaded.model.eval()(**batch).logits.argmax(-1).tolist()
    right = sum(one == label for one, (_, label) in zip(given, validation, strict=True))
    assert log[-1]["validation_accuracy"] == right / len(CASES)


def test_of_two_labels_precision_recall_and_f1_are_those_of_the_last_one():
    # sklearn.metrics.precision_recall_fscore_support of gold 1 1 1 0 0 0 0, given 1 1 0 1 0 0 0
    found = label_figures({"targets": 7, "right": 5, "hits": 2, "predicted": 3, "gold": 3, "answers": 1.0})
    assert found == pytest.approx(
        {
            **{"validation_accuracy": 5 / 7, "validation_precision": 2 / 3},
            **{"validation_recall": 2 / 3, "validation_f1": 2 / 3},
        }
    )
    nothing = {"targets": 7, "right": 4, "hits": 0, "predicted": 0, "gold": 3, "answers": 1.0}
    assert label_figures(nothing)["validation_precision"] == label_figures(nothing)["validation_f1"] == 0


def test_rows_carry_the_gold_answer(start):
    loaded, rows, _, _ = start()
    for case, (tokens, targets), one in zip(
        CASES, rows, encoded_prompts(loaded.tokenizer, CASES, PROMPT, 64), strict=True
    ):
        answer = encode_text(loaded.tokenizer, CHOICES[case.label])
        assert tokens == [*one.tokens, *answer, loaded.tokenizer.eos_token_id]
        assert targets == len(answer) + 1


# Questions


@pytest.mark.slow
def test_a_span_head_learns_its_windows(tmp_path, published):
    loaded = load(tmp_path / "base", published / "bert", QUESTION_LABELS, head="span")
    for adapt in (adapt_section("full"), adapt_section("lora", target_modules=["query", "value"])):
        started = load(tmp_path / "base", published / "bert", QUESTION_LABELS, head="span")
        started = replace(started, model=adapt_model(started.model, adapt, 0))
        rows = training_rows(started, QUESTIONS, QUESTION_TASK.labels, Prompt(max_tokens=48, doc_stride=8), "span")
        assert len(rows) > len(QUESTIONS)
        train = train_section(num_train_epochs=12, train_sampling_strategy="group_by_length")
        log = finetune(started, rows, rows[:4], train, tmp_path / adapt.method, "span")
        assert log[-1]["train_loss"] < log[0]["train_loss"]
        save_tuned(started.model, adapt, tmp_path / f"tuned-{adapt.method}")
        base = load(tmp_path / "base", published / "bert", QUESTION_LABELS, head="span")
        model = load_tuned(base, tmp_path / f"tuned-{adapt.method}").model
        documents = read_documents(loaded.tokenizer, QUESTIONS, Prompt(max_tokens=48, doc_stride=8), 64)
        found, expected = (find_spans(one, documents, 0, 1000, 6, "test") for one in (model, started.model.eval()))
        assert [one.spans[0][:2] for one in found] == [one.spans[0][:2] for one in expected]


def test_a_language_model_learns_to_write_the_first_gold_answer_or_that_there_is_none(tmp_path, published):
    loaded = replace(load(tmp_path / "base", published / "llama", QUESTION_LABELS), context=500)
    for template, before in (("{context}\n{question}\nAnswer:", " "), ("{context}\n{question}\n", "")):
        prompt = Prompt(template=template)
        rows = training_rows(loaded, QUESTIONS, QUESTION_TASK.labels, prompt, "lm")
        for case, (tokens, targets) in zip(QUESTIONS, rows, strict=True):
            answer = case.answers[0].text if case.answers else "unanswerable"
            assert tokens[0] == loaded.tokenizer.bos_token_id
            assert loaded.tokenizer.decode(tokens[-targets:]) == f"{before}{answer}</s>"
            asked = template.format(**case.inputs)
            assert loaded.tokenizer.decode(tokens) == f"<s>{asked}{before}{answer}</s>"


# The same run twice


@CPU_ONLY
def test_two_runs_are_the_same_to_the_bit_and_another_seed_is_not(start, tmp_path):
    results = [
        run(start(lora_dropout=0.2), train_section(num_train_epochs=2, seed=seed), tmp_path / name)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])
    assert not same(results[0][1], results[2][1])


def test_two_batches_accumulated_are_one_batch(start, tmp_path):
    one = run(start(), train_section(per_device_train_batch_size=6), tmp_path / "one")
    two = run(start(), train_section(per_device_train_batch_size=3, gradient_accumulation_steps=2), tmp_path / "two")
    assert [row["step"] for row in one[0]] == [row["step"] for row in two[0]] == [2, 4, 6]
    for name, expected in one[1].items():
        torch.testing.assert_close(two[1][name], expected, rtol=0, atol=1e-6)
    for first, second in zip(one[0], two[0], strict=True):
        assert second == pytest.approx(first, rel=1e-6)


# Stopped and gone on with


def test_each_save_is_told_once_it_is_whole_and_an_older_one_goes_only_after_that(start, tmp_path):
    loaded, rows, validation, head = start()
    saves = []

    def whole():
        return sorted(path.parent.name for path in (tmp_path / "scratch").glob("*/whole"))

    train = train_section(num_train_epochs=2, save_total_limit=1)
    finetune(loaded, rows, validation, train, tmp_path / "scratch", head, lambda: saves.append(whole()))
    assert saves == [["checkpoint-2"], ["checkpoint-2", "checkpoint-4"]]
    assert whole() == ["checkpoint-4"]


def run_into_stop(started, train, scratch):
    with pytest.raises(Stop):
        run(started, train, scratch)


def watch_losses(monkeypatch):
    """The loss of every batch as it is learned: the step that is at work, and nats, all their digits."""
    curve, real = [], Loop._step

    def step(self, parts):
        losses, entry = real(self, parts)
        curve.extend((self.step - 1, float(loss)) for loss in losses)
        return losses, entry

    monkeypatch.setattr(Loop, "_step", step)
    return curve


WAYS = [
    ("llama", {"lora_dropout": 0.2}, {}),
    ("llama", {"lora_dropout": 0.2}, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}),
    ("llama", {"method": "qlora", "quantization": "nf4"}, {"lr_scheduler_type": "cosine", "warmup_steps": 0.1}),
    ("llama", {"method": "full"}, {"weight_decay": 0.1}),
    ("bert", {"method": "head"}, {"choose_epoch": "best"}),
    ("bert", {"target_modules": ["query", "value"]}, {"save_total_limit": 1, "choose_epoch": "best"}),
]


@pytest.mark.slow
@CPU_ONLY
@pytest.mark.parametrize(
    ("name", "adapt", "keys"), WAYS, ids=["dropout", "accumulation", "qlora", "full", "head", "best"]
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(name, adapt, keys, start, tmp_path, monkeypatch, capsys):
    train = train_section(**keys)
    curve = watch_losses(monkeypatch)
    whole = run(start(name, **adapt), train, tmp_path / "whole")
    assert [row["step"] for row in whole[0]] == [2, 4, 6]
    uninterrupted = list(curve)
    for step in (2, 6):  # after the first epoch, and after the last, before anything was made of it
        scratch = tmp_path / f"stopped-{step}"
        with monkeypatch.context() as patch:
            stop_after_save(patch, step)
            run_into_stop(start(name, **adapt), train, scratch)
        capsys.readouterr()
        curve.clear()
        gone_on = run(start(name, **adapt), train, scratch)
        assert capsys.readouterr().out.splitlines()[-1] == f"resuming from {scratch}/checkpoint-{step}"
        assert gone_on[0] == whole[0]
        assert same(gone_on[1], whole[1])
        # Each step after the save costs what it cost, and no step before it is taken again.
        assert curve == [one for one in uninterrupted if one[0] >= step]


@pytest.mark.slow
@CPU_ONLY
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_batches_of_like_length_pad_less_and_go_on_after_a_stop(name, start, tmp_path, monkeypatch):
    train = train_section(train_sampling_strategy="group_by_length", per_device_train_batch_size=2)
    keys = {} if name == "llama" else {"target_modules": ["query"]}

    def begin():
        loaded, rows, validation, head = start(name, **keys)
        return loaded, rows * 8, validation, head

    widths, real = {"random": [], "group_by_length": []}, Loop._step
    for strategy, seen in widths.items():
        with monkeypatch.context() as patch:
            patch.setattr(
                Loop,
                "_step",
                lambda self, parts, seen=seen: (
                    seen.extend(one.batch["input_ids"].shape[1] for one in parts) or real(self, parts)
                ),
            )
            one = train.model_copy(update={"train_sampling_strategy": strategy})
            whole = run(begin(), one, tmp_path / strategy)
    assert sum(widths["group_by_length"]) < sum(widths["random"])
    with monkeypatch.context() as patch:
        stop_after_save(patch, len(widths["group_by_length"]) // train.num_train_epochs)
        run_into_stop(begin(), train, tmp_path / "stopped")
    gone_on = run(begin(), train, tmp_path / "stopped")
    assert gone_on[0] == whole[0]
    assert same(gone_on[1], whole[1])


@CPU_ONLY
def test_a_run_stopped_within_an_epoch_goes_on_from_the_epoch_before(start, tmp_path, monkeypatch):
    whole = run(start(), train_section(), tmp_path / "whole")
    calls, real = [], answer_loss

    def loss(model, batch, **keys):
        calls.append(batch)
        if len(calls) == 5:  # two batches of training and one of validation in each epoch
            raise Stop
        return real(model, batch, **keys)

    with monkeypatch.context() as patch:
        patch.setitem(TARGETS, "lm", TARGETS["lm"]._replace(loss=loss))
        run_into_stop(start(), train_section(), tmp_path / "stopped")
    gone_on = run(start(), train_section(), tmp_path / "stopped")
    assert gone_on[0] == whole[0]
    assert same(gone_on[1], whole[1])


@CPU_ONLY
def test_a_save_that_was_not_finished_is_passed_over(start, tmp_path, monkeypatch, capsys):
    whole = run(start(), train_section(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after_save(patch, 4, marked=False)
        run_into_stop(start(), train_section(), tmp_path / "stopped")
    unfinished = tmp_path / "stopped" / "checkpoint-4"
    (unfinished / "trained.safetensors").write_bytes(b"half a fi")
    (unfinished / "state.pt").unlink()
    capsys.readouterr()
    gone_on = run(start(), train_section(), tmp_path / "stopped")
    assert "checkpoint-2\n" in capsys.readouterr().out
    assert gone_on[0] == whole[0]
    assert same(gone_on[1], whole[1])


def test_a_model_that_was_trained_whole_keeps_what_its_layout_says_of_the_cache(start, tmp_path):
    started = start(method="full")
    run(started, train_section(num_train_epochs=1), tmp_path / "scratch")
    assert started[0].model.config.use_cache is True


def test_a_save_holds_the_trained_weights_alone(start, tmp_path):
    started = start()
    run(started, train_section(num_train_epochs=1), tmp_path / "scratch")
    saved = load_file(tmp_path / "scratch" / "checkpoint-2" / "trained.safetensors")
    assert same(saved, weights_of(started[0].model))
    assert all("lora" in name for name in saved)


def test_the_log_gets_the_mean_loss_of_every_so_many_steps_and_the_row_of_each_epoch(start, tmp_path):
    curves = []
    for every in (1, 3):
        log = []
        loaded, rows, validation, head = start()
        train = train_section(logging_steps=every)
        found = finetune(loaded, rows, validation, train, tmp_path / str(every), head, log=log.append)
        assert [entry["step"] for entry in log if "validation_loss" in entry] == [row["step"] for row in found]
        curves.append([entry for entry in log if "learning_rate" in entry])
    assert [entry["step"] for entry in curves[1]] == [3, 6]
    assert [entry["learning_rate"] for entry in curves[0]] == pytest.approx([0.01 * k / 6 for k in range(6, 0, -1)])
    losses = [entry["loss"] for entry in curves[0]]
    assert [entry["loss"] for entry in curves[1]] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3])


# Which epoch is kept


@pytest.mark.parametrize("choose", ["best", "last"])
def test_the_chosen_epochs_weights_are_left_in_the_model(choose, start, tmp_path):
    # The validation answers are wrong, so every epoch of learning makes them less likely: the first is the best.
    wrong = [type(case)(case.case_id, case.inputs, LABELS[LABELS.index(case.label) - 1]) for case in CASES]
    train = train_section(choose_epoch=choose)
    log, weights = run(start("bert", "full", validation=wrong), train, tmp_path / "scratch")
    best = min(log, key=lambda row: row["validation_loss"])
    assert best is not log[-1], "the test needs a best epoch that is not the last"
    expected = best if choose == "best" else log[-1]
    assert chosen_epoch(log, train) is expected
    assert same(weights, load_file(tmp_path / "scratch" / f"checkpoint-{expected['step']}" / "trained.safetensors"))


def test_the_model_after_each_epoch_is_kept_beside_the_chosen_one(start, tmp_path):
    train, adapt = train_section(choose_epoch="best", keep="all"), adapt_section("lora")
    started = start("llama", "lora")
    log, chosen = run(started, train, tmp_path / "scratch")
    network = started[0].model
    save_tuned(network, adapt, tmp_path / "tuned")
    save_epochs(network, adapt, log, train, tmp_path / "scratch", tmp_path / "tuned")
    assert same(weights_of(network), chosen)
    kept = kept_epochs(tmp_path / "tuned")
    assert list(kept) == [row["epoch"] for row in log]
    saved = {number: (folder / "adapter_model.safetensors").read_bytes() for number, folder in kept.items()}
    assert len(set(saved.values())) == len(log)
    best = chosen_epoch(log, train)["epoch"]
    assert saved[best] == (tmp_path / "tuned" / "adapter_model.safetensors").read_bytes()


# What must not happen


def test_a_step_that_explodes_stops_in_one_line_with_its_cases_before_it_is_taken_or_saved(start, tmp_path):
    loaded, rows, validation, head = start(method="full")
    train = train_section(learning_rate=1e30)
    ids = partial(row_case_ids, loaded, CASES, TASK.labels, PROMPT, head)
    with pytest.raises(TunediffError) as caught:
        finetune(loaded, rows, validation, train, tmp_path / "scratch", head, case_ids=ids)
    [line] = caught.value.args
    assert re.search(r"^train: found a .* at step 2, expected finite numbers", line)
    assert "lower train.learning_rate" in line
    # The other half of the cases is the batch of step 2.
    found = re.findall(r"\b[0-9a-f]{16}\b", line)
    assert len(found) == 4
    assert set(found) < {case.case_id for case in CASES}
    assert not list((tmp_path / "scratch").glob("checkpoint-*/whole"))


@pytest.mark.parametrize(("value", "said"), [(math.nan, "not finite"), (1e4, "nats per target")])
def test_the_batch_that_is_at_fault_is_named_among_those_of_its_step(value, said, start, tmp_path, monkeypatch):
    loaded, rows, validation, head = start()
    train = train_section(per_device_train_batch_size=1, gradient_accumulation_steps=4, num_train_epochs=1)
    before = weights_of(loaded.model)
    seen = []

    def loss(model, batch, **keys):
        seen.append(batch["input_ids"].tolist())
        found = answer_loss(model, batch, **keys)
        return found._replace(answers=found.targets * value) if len(seen) == 2 else found

    monkeypatch.setitem(TARGETS, "lm", TARGETS["lm"]._replace(loss=loss))
    ids = partial(row_case_ids, loaded, CASES, TASK.labels, PROMPT, head)
    with pytest.raises(TunediffError) as caught:
        finetune(loaded, rows, validation, train, tmp_path / "scratch", head, case_ids=ids)
    assert said in caught.value.args[0]
    assert "at step 1," in caught.value.args[0]
    assert same(weights_of(loaded.model), before)
    named = re.findall(r"\b[0-9a-f]{16}\b", caught.value.args[0])
    if math.isnan(value):
        [name] = named
        [row] = [tokens for case, (tokens, _) in zip(CASES, rows, strict=True) if case.case_id == name]
        # Rows stand without what they all begin with, and without their last token.
        [[*read]] = seen[1]
        assert row[-1 - len(read) : -1] == read
    else:
        assert len(named) == 4


def test_windows_are_named_by_their_cases(published, tmp_path):
    loaded = load(tmp_path / "base", published / "bert", QUESTION_LABELS, head="span")
    prompt = Prompt(max_tokens=48, doc_stride=8)
    rows = training_rows(loaded, QUESTIONS, QUESTION_TASK.labels, prompt, "span")
    names = row_case_ids(loaded, QUESTIONS, QUESTION_TASK.labels, prompt, "span")
    assert len(names) == len(rows) > len(QUESTIONS)
    assert list(dict.fromkeys(names)) == [case.case_id for case in QUESTIONS]


# Memory that runs out


def too_small_for(rows, real, error="CUDA out of memory. Tried to allocate 2.00 GiB"):
    """A loss that has memory for so many rows, and fails half-way through the backward pass of more."""

    def loss(model, batch, **keys):
        found = real(model, batch, **keys)
        if len(batch["input_ids"]) > rows:
            if torch.is_grad_enabled():
                found.minimized.backward(retain_graph=True)
            raise torch.OutOfMemoryError(error)
        return found

    return loss


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("head", ["lm", "classification"])
def test_a_batch_that_memory_does_not_hold_is_learned_in_parts(
    head, accumulation, start, tmp_path, monkeypatch, capsys
):
    name, keys = {"lm": ("llama", {}), "classification": ("bert", {"target_modules": ["query"]})}[head]

    def begin():
        started = start(name, **keys)
        for layer in started[0].model.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        return started

    train = train_section(per_device_train_batch_size=3, gradient_accumulation_steps=accumulation)
    whole = run(begin(), train, tmp_path / "whole")
    target = TARGETS[head]
    monkeypatch.setitem(TARGETS, head, target._replace(loss=too_small_for(1, target.loss)))
    capsys.readouterr()
    parts = run(begin(), train, tmp_path / "parts")
    out = capsys.readouterr().out
    assert "train: out of memory at step 1: splitting batches into 2 parts\n" in out
    assert "train: out of memory at step 1: splitting batches into 4 parts\n" in out
    assert out.count("out of memory") == 2
    assert [row["step"] for row in parts[0]] == [row["step"] for row in whole[0]]
    for one, other in zip(whole[0], parts[0], strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    for key, value in whole[1].items():
        torch.testing.assert_close(parts[1][key], value, rtol=0, atol=1e-5)


@CPU_ONLY
def test_a_run_that_was_stopped_after_memory_ran_out_ends_as_if_it_had_not_been(start, tmp_path, monkeypatch):
    train = train_section(per_device_train_batch_size=3)
    monkeypatch.setitem(TARGETS, "lm", TARGETS["lm"]._replace(loss=too_small_for(2, answer_loss)))
    whole = run(start(lora_dropout=0.3), train, tmp_path / "whole")
    # To run out of memory once more would draw other dropout.
    with monkeypatch.context() as patch:
        stop_after_save(patch, whole[0][0]["step"])
        run_into_stop(start(lora_dropout=0.3), train, tmp_path / "stopped")
    gone_on = run(start(lora_dropout=0.3), train, tmp_path / "stopped")
    assert gone_on[0] == whole[0]
    assert same(gone_on[1], whole[1])


def test_a_row_that_memory_does_not_hold_ends_in_one_line(start, tmp_path, monkeypatch):
    monkeypatch.setitem(TARGETS, "lm", TARGETS["lm"]._replace(loss=too_small_for(0, answer_loss)))
    with pytest.raises(TunediffError, match=r"^train: not enough memory for one row at step 1 \(rows "):
        run(start(), train_section(), tmp_path / "scratch")


def test_an_optimizer_that_needs_a_gpu_is_refused_where_there_is_none(start, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TunediffError, match=r"train\.optim: found paged_adamw_8bit, which needs a GPU"):
        run(start(), train_section(optim="paged_adamw_8bit"), tmp_path / "scratch")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["lora", "head", "full"])
def test_half_precision_models_train_and_answer(method, dtype, start, published, tmp_path):
    keys = {"target_modules": ["query"]} if method == "lora" else {}
    started = start("bert", method, dtype=dtype, **keys)
    log, _ = run(started, train_section(num_train_epochs=2), tmp_path / "scratch")
    assert all(math.isfinite(row["validation_loss"]) for row in log)
    adapt = adapt_section(method, **keys)
    save_tuned(started[0].model, adapt, tmp_path / "tuned")
    base = load(tmp_path / f"base-bert-none-{dtype}", published / "bert", head="classification", dtype=dtype)
    model = load_tuned(base, tmp_path / "tuned").model
    found = classify(model, [one for one, _ in started[2]], 0, 1000, "test")
    loss = torch.nn.functional.nll_loss(found, torch.tensor([label for _, label in started[2]])).item()
    # As the last epoch measured it, but for rounding to half precision here and there.
    assert loss == pytest.approx(log[-1]["validation_loss"], rel=0.05)


def test_a_4_bit_model_trains_its_head_alone(start, tmp_path):
    started = start("bert", "head", quantization="nf4")
    before = weights_of(started[0].model)
    _, after = run(started, train_section(), tmp_path / "scratch")
    assert set(after) == {"classifier.weight", "classifier.bias"}
    assert not same(before, after)


def test_a_4_bit_model_trains_on_after_it_has_answered(start):
    """bitsandbytes may repack its weights at the first answer on a CPU, for a kernel that has no gradient."""

    def two_steps(answer_between):
        loaded, rows, _, _ = start(method="qlora", quantization="nf4")
        model, batch = loaded.model.train(), pad_answers(rows, 0)
        optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            loss = answer_loss(model, batch)
            (loss.minimized / loss.targets).backward()
            optimizer.step()
            if answer_between and step < 2:
                model.eval()
                score_choices(model, [tokens for tokens, _ in rows], [[[40, 41], [42]]] * len(rows), 1000, "test")
                model.train()
        return weights_of(model)

    alone, answering = two_steps(False), two_steps(True)
    assert same(alone, answering)
    fresh = weights_of(start(method="qlora", quantization="nf4")[0].model)
    assert all((alone[name] - fresh[name]).abs().max() > 0 for name in fresh)
