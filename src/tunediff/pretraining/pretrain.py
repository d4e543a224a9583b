"""A base model from scratch: its weights, trained on plain text, and how well it does on text that it has not read.

    config = {"model_type": "bert", "hidden_size": 128, ...}
    tokenizer = find_tokenizer(texts.train, config, section)
    model, log = pretrain(texts, tokenizer, config, section, scratch)
    log[-1]["perplexity"]        # 412.7

A decoder learns to continue a text (causal language model), an encoder to fill masks, and one that has BERT's head for
it also to tell the sentence that follows from a random one. The text holds no answer to the task.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad

from tunediff.config.pretrain import Pretrain
from tunediff.config.train import Train
from tunediff.models.layouts import layout, reads_both_ways
from tunediff.models.load import Network, choose_threads
from tunediff.models.precision import device
from tunediff.pretraining.masking import NO_TARGET, encoder_rows, marks_of, mask_row, pad_masked
from tunediff.pretraining.texts import Texts
from tunediff.pretraining.tokenizer import given_tokenizer, train_bpe, train_wordpiece
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.training.loop import Loop, Objective
from tunediff.training.loss import Loss

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, list[int]]
Batch = dict[str, torch.Tensor]


class Rows(NamedTuple):
    """What a layout learns from text: rows to learn from and to validate on, and what is learned from them."""

    train: list[Any]
    validation: list[Any]  # with masks that are drawn once
    objective: Objective
    collate_validation: Callable[[list[Any]], Batch]


def find_tokenizer(texts: Sequence[str], config: dict[str, Any], section: Pretrain) -> "PreTrainedTokenizerBase":
    """The tokenizer that the section names; else one trained on the text, of the kind that the layout needs.

    Raises:
        TunediffError: as `given_tokenizer`, or the layout is unknown.
    """
    if section.tokenizer is not None:
        return given_tokenizer(section.tokenizer, section.max_tokens)
    train = train_wordpiece if reads_both_ways(layout(config, "none").config) else train_bpe
    return train(texts, section.vocab_size, section.max_tokens)


def document_rows(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> list[Row]:
    """Documents as a decoder's rows: BOS, the text, EOS; one longer than `max_tokens` is cut into several rows."""
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise TunediffError("params.yaml: pretrain.tokenizer: has no token for the beginning or the end of a text")
    documents = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids
    whole = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in documents]
    pieces = [tokens[at : at + max_tokens] for tokens in whole for at in range(0, len(tokens), max_tokens)]
    return [{"input_ids": piece} for piece in pieces if len(piece) > 1]  # nothing follows a single token


def pad_documents(rows: Sequence[Row], pad: int) -> Batch:
    """A batch padded on the right, where no token attends to padding; neither it nor a first token is a target."""
    width = max(len(row["input_ids"]) for row in rows)
    ids, labels = (
        torch.tensor([row["input_ids"] + [filler] * (width - len(row["input_ids"])) for row in rows])
        for filler in (pad, NO_TARGET)
    )
    labels[:, 0] = NO_TARGET
    return {"input_ids": ids, "labels": labels}


def continue_text(model: Network, batch: Batch) -> Loss:
    """What it costs a decoder to continue each token of a batch."""
    gold = pad(batch["labels"][:, 1:], (0, 1), value=NO_TARGET)
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits.float()
    nats = cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=NO_TARGET, reduction="sum")
    return Loss(nats, (gold != NO_TARGET).sum(), nats)


def fill_masks(model: Network, batch: Batch) -> Loss:
    """What it costs an encoder to fill the masks of a batch, and to tell what follows where it has pairs.

    What is minimised is the mean over the tokens to predict plus, of pairs, the mean over the pairs (Devlin et al.
    2019, appendix A.2). Logits over the vocabulary are computed where a token is to be predicted only.
    """
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "next_sentence_label")}
    places = batch["labels"] != NO_TARGET
    gold, follows = batch["labels"][places], batch.get("next_sentence_label")
    if follows is None:
        logits = model(**inputs).logits[places].float()
    else:
        read = model.base_model(**inputs)
        logits = model.cls.predictions(read.last_hidden_state[places]).float()
        scores = model.cls.seq_relationship(read.pooler_output).float()
    nats, targets = cross_entropy(logits, gold, reduction="sum"), places.sum()
    counts = {"right": (logits.argmax(-1) == gold).sum()}
    if follows is None:
        return Loss(nats, targets, nats, counts)
    counts |= {"pairs": torch.tensor(len(follows)), "pairs_right": (scores.argmax(-1) == follows).sum()}
    # A batch of few tokens may have none that was chosen.
    return Loss(nats, targets, nats + cross_entropy(scores, follows) * targets.clamp(min=1), counts)


def pretrain(
    texts: Texts,
    tokenizer: "PreTrainedTokenizerBase",
    config: dict[str, Any],
    section: Pretrain,
    scratch: Path,
    saved: Callable[[], None] = lambda: None,
) -> tuple["PreTrainedModel", list[dict[str, float]]]:
    """Train a model of the given layout on `texts.train`; after each epoch, measure it on `texts.validation`.

    Args:
        texts: documents to learn from and to validate on.
        tokenizer: as `find_tokenizer` gives it.
        config: the model's layout as in config.json; vocabulary and special tokens come from the tokenizer.
        section: the section pretrain.
        scratch: folder for a checkpoint each epoch; the last whole one there is resumed from.
        saved: called after each checkpoint.

    Returns:
        The model, float32 on the CPU, and a row an epoch: epoch, step, train_loss (the epoch's mean) and
        validation_loss in nats a token to predict, perplexity (the exponential of the latter), and of an encoder
        mlm_accuracy and, where it has pairs, nsp_accuracy, in 0..1. Masks and pairs of validation are the same after
        every epoch and in every run of the same seed.

    Raises:
        TunediffError: the layout is unknown, has no head for language or is shorter than a training sequence; the
            tokenizer lacks a special token; or the loss is no longer a finite number.
    """
    model = _new_model(tokenizer, config, section)
    choose_threads(model.config)
    rows = _rows(texts, tokenizer, model, section)
    train = Train(
        learning_rate=section.learning_rate,
        num_train_epochs=math.ceil(section.num_train_epochs),
        per_device_train_batch_size=section.per_device_train_batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=section.warmup_steps,
        weight_decay=section.weight_decay,
        adam_beta2=0.95,  # as Llama was trained: 0.999 remembers the first steps for too long
        optim="adamw_torch_fused",
        logging_steps=50,
        save_total_limit=1,
        train_sampling_strategy="group_by_length",
        seed=section.seed,
    )
    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    size = 2 * section.per_device_train_batch_size
    # Made beforehand: nothing is drawn from the generator that training goes on with.
    parts = [rows.validation[at : at + size] for at in range(0, len(rows.validation), size)]
    validation = [rows.collate_validation(one) for one in parts]
    network: Network = model
    network.to(device())
    loop = Loop(network, rows.objective, rows.train, train, section.num_train_epochs, scratch, "pretrain", dtype)
    log = loop.run(validation, _figures, saved)
    return model.cpu(), log


def _new_model(tokenizer: "PreTrainedTokenizerBase", config: dict[str, Any], section: Pretrain) -> "PreTrainedModel":
    """A model with random weights and heads to learn language by, once its layout has been found to make one."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining

    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = config | special | {"vocab_size": len(tokenizer)}
    checked = layout(config, "none").config
    positions = getattr(checked, "max_position_embeddings", section.max_tokens)
    if positions < section.max_tokens:
        raise TunediffError(
            f"params.yaml: pretrain.max_tokens: found {section.max_tokens}, expected at most {positions}, "
            "model.config.max_position_embeddings"
        )
    if reads_both_ways(checked):
        kind: Any = AutoModelForPreTraining if _tells_what_follows(checked) else AutoModelForMaskedLM
    else:
        kind = AutoModelForCausalLM
        layout(config, "lm")  # says it better than transformers where there is none
    torch.manual_seed(section.seed)
    try:
        model: PreTrainedModel = kind.from_config(checked, dtype=torch.float32)
        # Sizes that contradict each other often show in the first pass alone, each layout with an error of its own.
        with torch.no_grad():
            model(torch.full((1, section.max_tokens), len(tokenizer) - 1))
    except Exception as error:
        raise TunediffError(f"params.yaml: model.config: found {one_line(error)}; expected consistent sizes") from None
    return model


def _tells_what_follows(config: "PreTrainedConfig") -> bool:
    """Whether a layout has a head for next-sentence prediction."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES

    return config.model_type in MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES


def _rows(texts: Texts, tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", section: Pretrain) -> Rows:
    if not reads_both_ways(model.config):
        # Any token may pad: none attends to what stands behind it.
        filler = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        whole = [document_rows(documents, tokenizer, section.max_tokens) for documents in texts]
        joined = partial(pad_documents, pad=filler)
        objective = Objective(joined, continue_text, lambda row: len(row["input_ids"]))
        return Rows(whole[0], whole[1], objective, joined)
    marks, pairs = marks_of(tokenizer), _tells_what_follows(model.config)
    rows = [encoder_rows(documents, tokenizer, section.max_tokens, section.seed, pairs=pairs) for documents in texts]
    mask = partial(mask_row, marks=marks, share=section.mlm_probability, whole_words=section.whole_word_mask)
    fixed = torch.Generator().manual_seed(section.seed)
    collate = partial(pad_masked, pad=tokenizer.pad_token_id)
    objective = Objective(lambda drawn: collate([mask(row) for row in drawn]), fill_masks, lambda row: len(row.tokens))
    return Rows(rows[0], [mask(row, generator=fixed) for row in rows[1]], objective, collate)


def _figures(totals: Mapping[str, float]) -> dict[str, float]:
    """The columns of the log that are computed from the sums over the validation text."""
    tokens = max(1.0, totals["targets"])
    figures = {"perplexity": math.exp(totals["answers"] / tokens)}
    if "right" in totals:
        figures["mlm_accuracy"] = totals["right"] / tokens
    if "pairs" in totals:
        figures["nsp_accuracy"] = totals["pairs_right"] / totals["pairs"]
    return figures
