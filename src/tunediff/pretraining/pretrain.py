"""A base model from scratch: its weights, trained on plain text, and how well it does on text that it has not read.

    tokenizer = find_tokenizer(texts.train, reads_both_ways(config), section)
    model, log = pretrain(texts, tokenizer, {"model_type": "bert", "hidden_size": 128, ...}, section, scratch)
    log[-1]["perplexity"]        # 412.7

A decoder learns to continue a text (causal language model), an encoder to fill masks, and one that has BERT's head for
it also to tell the sentence that follows from a random one. The text holds no answer to the task; what the model knows
of the world it is measured on, it read there.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad

from tunediff.config.pretrain import Pretrain
from tunediff.models.counts import layout, reads_both_ways
from tunediff.models.load import Network
from tunediff.pretraining.masking import NO_TARGET, encoder_rows, marks_of, mask_row, pad_masked
from tunediff.pretraining.texts import Texts
from tunediff.pretraining.tokenizer import given_tokenizer, train_bpe, train_wordpiece
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.training.checkpoints import MarkWhole, latest_whole
from tunediff.training.loop import BatchTrainer, Tally, in_halves
from tunediff.training.progress import show_progress

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, list[int]]
Batch = dict[str, torch.Tensor]


class Answered(NamedTuple):
    """How a model did on a batch."""

    minimised: torch.Tensor  # what a step makes smaller
    nats: torch.Tensor  # negative log-likelihood of the tokens to predict, their sum
    tokens: torch.Tensor  # how many they are
    right: torch.Tensor  # of those, how many were the most likely
    pairs: int  # of sentences
    pairs_right: torch.Tensor


class Objective(NamedTuple):
    """What a layout learns from text: rows, batches of them, and how a batch is answered."""

    train_rows: list[Any]
    validation_rows: list[Any]  # with masks that are drawn once
    collate: Callable[[list[Any]], Batch]
    collate_validation: Callable[[list[Any]], Batch]
    length: Callable[[Any], int]
    answer: Callable[[Network, Batch], Answered]


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
    """A batch padded on the right, where no token attends to padding; padding is no target."""
    width = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row["input_ids"] + [filler] * (width - len(row["input_ids"])) for row in rows])
        for name, filler in (("input_ids", pad), ("labels", NO_TARGET))
    }


def continue_text(model: Network, batch: Batch) -> Answered:
    """How a decoder continues each token of a batch."""
    gold = pad(batch["labels"][:, 1:], (0, 1), value=NO_TARGET)
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits.float()
    nats = cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=NO_TARGET, reduction="sum")
    tokens = (gold != NO_TARGET).sum()
    nothing = torch.zeros_like(tokens)
    return Answered(nats / tokens, nats.detach(), tokens, nothing, 0, nothing)


def fill_masks(model: Network, batch: Batch) -> Answered:
    """How an encoder fills the masks of a batch, and tells what follows where it has pairs.

    What is minimised is the mean over the tokens to predict plus, of pairs, the mean over the pairs (Devlin et al.
    2019, appendix A.2). Logits over the vocabulary are computed where a token is to be predicted only.
    """
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "next_sentence_label")}
    places = batch["labels"] != NO_TARGET
    gold, follows = batch["labels"][places], batch.get("next_sentence_label")
    nothing = torch.zeros((), dtype=torch.long, device=gold.device)
    if follows is None:
        logits, pairs, pairs_right, pairs_loss = model(**inputs).logits[places].float(), 0, nothing, nothing
    else:
        read = model.base_model(**inputs)
        logits = model.cls.predictions(read.last_hidden_state[places]).float()
        told = model.cls.seq_relationship(read.pooler_output).float()
        pairs, pairs_right = len(follows), (told.argmax(-1) == follows).sum()
        pairs_loss = cross_entropy(told, follows)
    nats = cross_entropy(logits, gold, reduction="sum")
    tokens = places.sum()
    # A batch of few tokens may have none that was chosen.
    minimised = nats / tokens.clamp(min=1) + pairs_loss
    return Answered(minimised, nats.detach(), tokens, (logits.argmax(-1) == gold).sum(), pairs, pairs_right)


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
        scratch: folder for a save each epoch; a whole save that lies there is gone on from.
        saved: called after each save.

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
    objective = _objective(texts, tokenizer, model, section)
    trainer = _Pretrainer(objective, model, section, scratch, saved)
    resumed = latest_whole(scratch)
    if resumed is not None:
        print(f"going on from {resumed}")
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    log = [
        {"epoch": entry["epoch"], "step": entry["step"]}
        | {key.removeprefix("eval_"): value for key, value in entry.items() if key.startswith("eval_")}
        for entry in trainer.state.log_history
        if "eval_perplexity" in entry
    ]
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
        raise TunediffError(f"params.yaml: model.config: found {one_line(error)}; expected sizes that agree") from None
    return model


def _tells_what_follows(config: "PreTrainedConfig") -> bool:
    """Whether a layout has a head for next-sentence prediction."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES

    return config.model_type in MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES


def _objective(
    texts: Texts, tokenizer: "PreTrainedTokenizerBase", model: "PreTrainedModel", section: Pretrain
) -> Objective:
    if not reads_both_ways(model.config):
        # Any token may pad: none attends to what stands behind it.
        filler = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        whole = [document_rows(documents, tokenizer, section.max_tokens) for documents in texts]
        joined = partial(pad_documents, pad=filler)
        return Objective(whole[0], whole[1], joined, joined, lambda row: len(row["input_ids"]), continue_text)
    marks, pairs = marks_of(tokenizer), _tells_what_follows(model.config)
    rows = [encoder_rows(documents, tokenizer, section.max_tokens, section.seed, pairs=pairs) for documents in texts]
    mask = partial(mask_row, marks=marks, share=section.mlm_probability, whole_words=section.whole_word_mask)
    fixed = torch.Generator().manual_seed(section.seed)
    collate = partial(pad_masked, pad=tokenizer.pad_token_id)
    return Objective(
        rows[0],
        [mask(row, generator=fixed) for row in rows[1]],
        lambda drawn: collate([mask(row) for row in drawn]),
        collate,
        lambda row: len(row.tokens),
        fill_masks,
    )


class _Pretrainer(BatchTrainer):
    """Trainer with our objective, measured after each epoch."""

    def __init__(
        self,
        objective: Objective,
        model: "PreTrainedModel",
        section: Pretrain,
        scratch: Path,
        saved: Callable[[], None],
    ) -> None:
        from transformers import TrainingArguments

        on_gpu = torch.cuda.is_available()
        arguments = TrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=section.num_train_epochs,
            per_device_train_batch_size=section.per_device_train_batch_size,
            learning_rate=section.learning_rate,
            warmup_steps=section.warmup_steps,
            weight_decay=section.weight_decay,
            lr_scheduler_type="cosine",
            seed=section.seed,
            adam_beta2=0.95,  # as Llama was trained: 0.999 remembers the first steps for too long
            remove_unused_columns=False,
            logging_steps=50,
            logging_nan_inf_filter=False,  # BatchTrainer stops instead
            eval_strategy="epoch",
            save_strategy="epoch",
            report_to=[],
            use_cpu=not on_gpu,
        )
        # With several GPUs, transformers would put each batch on all of them, in a wrapper that hides the model.
        arguments._n_gpu = min(1, arguments.n_gpu)
        super().__init__(
            title="pretrain",
            lengths=[objective.length(row) for row in objective.train_rows],
            model=model,
            args=arguments,
            train_rows=objective.train_rows,
            eval_dataset=objective.validation_rows,
            collate=objective.collate,
            callbacks=[MarkWhole(saved, keep=1)],
        )
        self.model: Network
        self.objective: Objective = objective
        self.half = on_gpu and torch.cuda.is_bf16_supported()
        show_progress(self, "pretrain")

    def _answer(self, batch: Batch) -> Answered:
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.half):
            return self.objective.answer(self.model, batch)

    def compute_loss(self, model: Any, inputs: Batch, **_: Any) -> torch.Tensor:  # type: ignore[override]  # noqa: ARG002
        answered = self._answer(inputs)
        self.tally = self.tally.add(answered.nats, answered.tokens)
        return answered.minimised * self.share

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:  # noqa: ARG002
        """Figures of the epoch that ends here, over its training text and over the validation text."""
        train_loss, self.tally = self.tally.mean(), Tally()
        size, rows = 2 * self.args.per_device_train_batch_size, self.objective.validation_rows
        self.model.eval()
        with torch.no_grad():
            # Not the trainer's loader, which would draw from the generator that training goes on with.
            batches = (self.objective.collate_validation(rows[at : at + size]) for at in range(0, len(rows), size))
            prepared = (self._prepare_inputs(batch) for batch in batches)
            answered = [one for batch in prepared for one in in_halves(self._answer, batch, "pretrain")]
        self.model.train()
        metrics = _figures(train_loss, answered, masked=self.objective.answer is fill_masks)
        self.log({f"eval_{key}": value for key, value in metrics.items()})
        return metrics


def _figures(train_loss: float, answered: Sequence[Answered], *, masked: bool) -> dict[str, float]:
    """The columns of the log that are measured, from the batches of the validation text."""
    tokens, pairs = sum(int(one.tokens) for one in answered), sum(one.pairs for one in answered)
    loss = sum(float(one.nats) for one in answered) / max(1, tokens)
    # Above 700 nats, the exponential is larger than any number.
    if not math.isfinite(train_loss) or not loss < 700:
        raise TunediffError(
            f"pretrain: found training loss {train_loss} and validation loss {loss}, expected finite numbers; "
            "lower pretrain.learning_rate"
        )
    figures = {"train_loss": train_loss, "validation_loss": loss, "perplexity": math.exp(loss)}
    if masked:
        figures["mlm_accuracy"] = sum(int(one.right) for one in answered) / max(1, tokens)
    if pairs:
        figures["nsp_accuracy"] = sum(int(one.pairs_right) for one in answered) / pairs
    return figures
