"""What a frozen base says of a row is the same in every epoch: computed once, then read by the head as often as needed.

    with frozen_base(loaded, rows, head):            # rows of the training and the validation split
        ...                                          # the head is trained; the base itself is not run again

A frozen base runs without dropout, whether its outputs are kept or, where they are too large for that, are not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tunediff.models.load import Loaded, Network
from tunediff.predict.batching import run_batches
from tunediff.predict.heads import pad_rows
from tunediff.predict.prompts import Row

# More than this is not kept: the base runs in every epoch then.
KEPT_BYTES = 4 * 2**30
BATCH_TOKENS = 8192
# Encoders whose classifier reads the pooler or the first token and no other one.
READ_FIRST = {"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}


class _Output(NamedTuple):
    """Of one row: the hidden states that are kept, of shape (n_kept, hidden), and the pooler's where it has one."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None


@contextmanager
def frozen_base(loaded: Loaded, rows: Sequence[Row], head: str) -> Iterator[None]:
    """While this is open, a model whose base is frozen reads `rows` from what the base said of them once.

    Nothing changes for a model whose base is trained, in part or with an adapter.

    Args:
        loaded: the model, adapted.
        rows: every row that will be read.
        head: the model's head.
    """
    model = loaded.model
    prefix = model.base_model_prefix
    base = getattr(model, prefix, None)
    adapted = hasattr(model, "peft_config")
    if adapted or head == "lm" or base is None or any(value.requires_grad for value in base.parameters()):
        yield
        return
    setattr(model, prefix, _FrozenBase(base, _kept_places(model, head), rows, loaded.pad))
    try:
        yield
    finally:
        setattr(model, prefix, base)


def _kept_places(model: Network, head: str) -> Callable[[int], slice]:
    """Which hidden states of a row of so many tokens the head reads."""
    if head == "classification" and hasattr(model, "score"):  # a decoder: see models.heads.label_scores
        return lambda length: slice(length - 1, length)
    if head == "classification" and model.config.model_type in READ_FIRST:
        return lambda _: slice(0, 1)
    return lambda length: slice(0, length)


class _FrozenBase(torch.nn.Module):
    """Stands in for a base: its outputs for known rows, from memory where they fit."""

    def __init__(self, base: Network, places: Callable[[int], slice], rows: Sequence[Row], pad: int) -> None:
        super().__init__()
        self.base, self.places = base.eval(), places
        # By token ids: token types follow from them.
        self.outputs: dict[tuple[int, ...], _Output] = {}
        unlike = list({tuple(row.tokens): row for row in rows}.values())
        lengths = [len(range(len(row.tokens))[places(len(row.tokens))]) for row in unlike]
        n_bytes = (sum(lengths) + len(unlike)) * base.config.hidden_size * base.dtype.itemsize
        if n_bytes > KEPT_BYTES:
            print(
                f"train: what the frozen base says of {len(unlike):,} rows takes {n_bytes / 2**30:.1f} GiB, of which "
                f"{KEPT_BYTES / 2**30:.0f} are kept at most: it runs in every epoch"
            )
            return

        @torch.inference_mode()
        def read(batch: list[int]) -> list[_Output]:
            inputs = pad_rows([unlike[i] for i in batch], pad)
            output = base(**{name: values.to(base.device) for name, values in inputs.items()})
            pooled = getattr(output, "pooler_output", None)
            kept = [places(len(unlike[i].tokens)) for i in batch]
            return [
                _Output(states[place].cpu().clone(), None if pooled is None else pooled[i].cpu().clone())
                for i, (states, place) in enumerate(zip(output.last_hidden_state, kept, strict=True))
            ]

        outputs = run_batches([row.tokens for row in unlike], BATCH_TOKENS, read, "train, features of the frozen base")
        self.outputs = {tuple(row.tokens): one for row, one in zip(unlike, outputs, strict=True)}

    def train(self, mode: bool = True) -> "_FrozenBase":  # noqa: ARG002
        """Never with dropout: a frozen base has nothing to learn from it."""
        return super().train(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> Any:
        if not self.outputs:
            with torch.no_grad():
                return self.base(input_ids=input_ids, attention_mask=attention_mask, **others)
        lengths = attention_mask.sum(1).tolist()
        known = [
            self.outputs[tuple(tokens[:length])] for tokens, length in zip(input_ids.tolist(), lengths, strict=True)
        ]
        hidden = torch.zeros(*input_ids.shape, known[0].hidden.shape[1], dtype=known[0].hidden.dtype)
        for i, (one, length) in enumerate(zip(known, lengths, strict=True)):
            hidden[i, self.places(length)] = one.hidden
        pooled = (
            None if known[0].pooled is None else torch.stack([one.pooled for one in known if one.pooled is not None])
        )
        device = input_ids.device
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden.to(device), pooler_output=None if pooled is None else pooled.to(device)
        )
