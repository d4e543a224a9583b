"""Train a base model from scratch on plain text, and measure it on held-out text.

    config = {"model_type": "bert", "hidden_size": 128, ...}
    tokenizer = find_tokenizer(texts.train, config, section)
    model, log = pretrain(texts, tokenizer, config, section, scratch)
    log[-1]["perplexity"]        # 412.7

A decoder learns causal language modelling, an encoder masked language modelling, and an encoder with BERT's pretraining
head also next-sentence prediction. The text contains no answers of the task.
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
from tunediff.inputs.padding import padded
from tunediff.models.layouts import layout, reads_both_ways
from tunediff.models.load import Network, choose_threads
from tunediff.models.precision import device
from tunediff.pretraining.masking import encoder_rows, marks_of, mask_row, pad_masked
from tunediff.pretraining.texts import Texts
from tunediff.pretraining.tokenizer import load_tokenizer, train_bpe, train_wordpiece
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.training.loop import Loop, Objective
from tunediff.training.loss import IGNORED, Batch, Loss

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class Rows(NamedTuple):
    """Training and validation rows of a layout, and the objective."""

    train: list[Any]
    validation: list[Any]  # with fixed masks
    objective: Objective
    collate_validation: Callable[[list[Any]], Batch]


def find_tokenizer(texts: Sequence[str], config: dict[str, Any], section: Pretrain) -> "PreTrainedTokenizerBase":
    """Return the tokenizer that the section names, or train one on the text, of the kind that the layout needs.

    Raises:
        TunediffError: as `load_tokenizer`, or the layout is unknown.
    """
    if section.tokenizer is not None:
        return load_tokenizer(section.tokenizer, section.max_tokens)
    train = train_wordpiece if reads_both_ways(layout(config, "none").config) else train_bpe
    return train(texts, section.vocab_size, section.max_tokens)


def document_rows(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> list[list[int]]:
    """Make a decoder's rows of documents: BOS, the text, EOS, split into rows of at most `max_tokens` tokens."""
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise TunediffError("params.yaml: pretrain.tokenizer: found no BOS or no EOS token, expected both")
    documents = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids
    complete = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in documents]
    pieces = [tokens[at : at + max_tokens] for tokens in complete for at in range(0, len(tokens), max_tokens)]
    return [piece for piece in pieces if len(piece) > 1]  # a single token has no target


def pad_documents(rows: Sequence[list[int]], pad: int) -> Batch:
    """Pad rows on the right to a batch, in which neither padding nor first tokens are targets."""
    ids, labels = padded(rows, pad), padded(rows, IGNORED)
    labels[:, 0] = IGNORED
    return {"input_ids": ids, "labels": labels}


def continue_text(model: Network, batch: Batch) -> Loss:
    """Compute the loss of a decoder on the next token of each token of a batch."""
    gold = pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits.float()
    nats = cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=IGNORED, reduction="sum")
    return Loss(nats, (gold != IGNORED).sum(), nats)


def fill_masks(model: Network, batch: Batch) -> Loss:
    """Compute the loss of an encoder on masked tokens and, for pairs, on next-sentence prediction.

    The loss to minimize is the mean over the tokens to predict plus, for pairs, the mean over the pairs (Devlin et al.
    2019, appendix A.2). Logits over the vocabulary are computed only for tokens to predict.
    """
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "next_sentence_label")}
    places = batch["labels"] != IGNORED
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
    # A small batch may have no token to predict.
    return Loss(nats, targets, nats + cross_entropy(scores, follows) * targets.clamp(min=1), counts)


def pretrain(
    texts: Texts,
    tokenizer: "PreTrainedTokenizerBase",
    config: dict[str, Any],
    section: Pretrain,
    scratch: Path,
    saved: Callable[[], None] = lambda: None,
) -> tuple["PreTrainedModel", list[dict[str, float]]]:
    """Train a model of the given layout on `texts.train`, and measure it on `texts.validation` after each epoch.

    Args:
        texts: documents to learn from and to validate on.
        tokenizer: from `find_tokenizer`.
        config: the model's layout as in config.json; vocabulary size and special tokens come from the tokenizer.
        section: the section pretrain.
        scratch: folder for a checkpoint per epoch; training resumes from the latest complete one.
        saved: called after each checkpoint.

    Returns:
        The model, float32 on the CPU, and a row per epoch: epoch, step, train_loss (mean over the epoch) and
        validation_loss in nats per token to predict, perplexity (the exponential of the latter), for an encoder
        mlm_accuracy and, with pairs, nsp_accuracy, in 0..1. Masks and pairs of the validation text are the same after
        every epoch and in every run with the same seed.

    Raises:
        TunediffError: the layout is unknown, has no language-model head or fewer positions than a training sequence;
            the tokenizer lacks a special token; or the loss is not finite.
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
        adam_beta2=0.95,  # as for Llama: with 0.999 the first steps have too long an influence
        optim="adamw_torch_fused",
        logging_steps=50,
        save_total_limit=1,
        train_sampling_strategy="group_by_length",
        seed=section.seed,
    )
    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    size = 2 * section.per_device_train_batch_size
    # Collated once, before training, so that it does not draw from the generator of the training.
    parts = [rows.validation[at : at + size] for at in range(0, len(rows.validation), size)]
    validation = [rows.collate_validation(part) for part in parts]
    network: Network = model
    network.to(device())
    loop = Loop(network, rows.objective, rows.train, train, section.num_train_epochs, scratch, "pretrain", dtype)
    log = loop.run(validation, _figures, saved)
    return model.cpu(), log


def _new_model(tokenizer: "PreTrainedTokenizerBase", config: dict[str, Any], section: Pretrain) -> "PreTrainedModel":
    """A model with random weights and a head for pretraining, checked with a forward pass."""
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
        kind: Any = AutoModelForPreTraining if _predicts_next_sentence(checked) else AutoModelForMaskedLM
    else:
        kind = AutoModelForCausalLM
        layout(config, "lm")  # for its error if the layout has no such head
    torch.manual_seed(section.seed)
    try:
        model: PreTrainedModel = kind.from_config(checked, dtype=torch.float32)
        # Inconsistent sizes often cause errors only in a forward pass, of many types.
        with torch.no_grad():
            model(torch.full((1, section.max_tokens), len(tokenizer) - 1))
    except Exception as error:
        raise TunediffError(f"params.yaml: model.config: found {one_line(error)}; expected consistent sizes") from None
    return model


def _predicts_next_sentence(config: "PreTrainedConfig") -> bool:
    """Whether a layout has a head for next-sentence prediction."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES

    return config.model_type in MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES


def _rows(texts: Texts, tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", section: Pretrain) -> Rows:
    if not reads_both_ways(model.config):
        # Any token may pad, because attention is causal.
        filler = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        train, validation = (document_rows(documents, tokenizer, section.max_tokens) for documents in texts)
        collate_documents = partial(pad_documents, pad=filler)
        return Rows(train, validation, Objective(collate_documents, continue_text, len), collate_documents)
    marks, pairs = marks_of(tokenizer), _predicts_next_sentence(model.config)
    rows = [encoder_rows(documents, tokenizer, section.max_tokens, section.seed, pairs=pairs) for documents in texts]
    mask = partial(mask_row, marks=marks, share=section.mlm_probability, whole_words=section.whole_word_mask)
    fixed = torch.Generator().manual_seed(section.seed)
    collate = partial(pad_masked, pad=tokenizer.pad_token_id)
    objective = Objective(lambda drawn: collate([mask(row) for row in drawn]), fill_masks, lambda row: len(row.tokens))
    return Rows(rows[0], [mask(row, generator=fixed) for row in rows[1]], objective, collate)


def _figures(totals: Mapping[str, float]) -> dict[str, float]:
    """Columns of the log that are computed from the sums of the counts over the validation text."""
    tokens = max(1.0, totals["targets"])
    figures = {"perplexity": math.exp(totals["answers"] / tokens)}
    if "right" in totals:
        figures["mlm_accuracy"] = totals["right"] / tokens
    if "pairs" in totals:
        figures["nsp_accuracy"] = totals["pairs_right"] / totals["pairs"]
    return figures
