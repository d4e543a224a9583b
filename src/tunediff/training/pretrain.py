"""A causal language model from scratch: its tokenizer, its weights, trained on plain text.

    tokenizer = train_tokenizer(texts, vocab_size=800, context=128)
    model, loss = pretrain(texts, tokenizer, {"model_type": "llama", "hidden_size": 192, ...}, pretrain_section)

The text holds no answer to the task; what the model knows of the world it is measured on, it read there.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tunediff.errors import TunediffError
from tunediff.models.count import layout
from tunediff.models.load import one_line, reads_both_ways
from tunediff.sections import Pretrain
from tunediff.training.batches import BatchTrainer
from tunediff.training.progress import show_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, list[int]]

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def train_tokenizer(texts: Sequence[str], vocab_size: int, context: int) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer of at most `vocab_size` tokens; any text whatever can be written in it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, model_max_length=context
    )


def document_rows(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> list[Row]:
    """Documents as training rows: BOS, the text, EOS; a document longer than `max_tokens` is cut into several rows."""
    documents = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids
    whole = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in documents]
    pieces = [tokens[at : at + max_tokens] for tokens in whole for at in range(0, len(tokens), max_tokens)]
    return [{"input_ids": piece} for piece in pieces if len(piece) > 1]  # nothing follows a single token


def pad_documents(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """A batch padded on the right, where no token attends to padding; padding is no target."""
    width = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row["input_ids"] + [filler] * (width - len(row["input_ids"])) for row in rows])
        for name, filler in (("input_ids", pad), ("labels", -100))
    }


def pretrain(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", config: dict[str, Any], section: Pretrain
) -> tuple["PreTrainedModel", float]:
    """Train a causal language model of the given layout on `texts`.

    Args:
        texts: the documents.
        tokenizer: as `train_tokenizer` made it.
        config: the model's layout as in config.json; vocabulary and special tokens come from the tokenizer.
        section: the section pretrain.

    Returns:
        The model, float32 on the CPU, and its mean loss over the run in nats a token.

    Raises:
        TunediffError: the layout is unknown, no causal one or shorter than a training sequence; or the loss is no
            longer a finite number.
    """
    from transformers import TrainingArguments

    model = _new_model(tokenizer, config, section)
    with tempfile.TemporaryDirectory() as scratch:
        rows = document_rows(texts, tokenizer, section.max_tokens)
        trainer = BatchTrainer(
            lengths=[len(row["input_ids"]) for row in rows],
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
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
                logging_nan_inf_filter=False,  # it would put the last finite loss in place of a NaN
                save_strategy="no",
                report_to=[],
                bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=rows,
            data_collator=partial(pad_documents, pad=model.config.pad_token_id),
        )
        show_progress(trainer, "pretrain")
        loss = float(trainer.train().training_loss)
    if not torch.isfinite(torch.tensor(loss)):
        raise TunediffError(f"pretrain: the loss is {loss}, expected a finite number; lower pretrain.learning_rate")
    return model.cpu(), loss


def _new_model(tokenizer: "PreTrainedTokenizerBase", config: dict[str, Any], section: Pretrain) -> "PreTrainedModel":
    """A causal language model with random weights, once its layout has been found to make one."""
    from transformers import AutoModelForCausalLM

    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    checked = layout(config | special | {"vocab_size": len(tokenizer)}).config
    if reads_both_ways(checked):
        raise TunediffError(
            f"params.yaml: model.config.model_type: found {checked.model_type}, which reads in both directions; "
            "expected a causal layout such as llama"
        )
    positions = getattr(checked, "max_position_embeddings", section.max_tokens)
    if positions < section.max_tokens:
        raise TunediffError(
            f"params.yaml: pretrain.max_tokens: found {section.max_tokens}, expected at most {positions}, "
            "model.config.max_position_embeddings"
        )
    torch.manual_seed(section.seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(checked, dtype=torch.float32)  # type: ignore[no-untyped-call]
    try:
        # Sizes that contradict each other often show in the first pass alone, each layout with an error of its own.
        model(torch.tensor([[tokenizer.bos_token_id]]))
    except Exception as error:
        raise TunediffError(f"params.yaml: model.config: found {one_line(error)}; expected sizes that agree") from None
    return model
