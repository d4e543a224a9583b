"""Cached hidden states of a frozen base, which are the same in every epoch and in every experiment.

    features = compute_features(loaded, rows, head)  # the stage features; rows of the training and validation splits
    write_features(path, features)
    with frozen_base(loaded, rows, head, read_features(path)):           # the stage train
        ...                                          # the head is trained; the base does not run

They are computed in a separate stage, so that a sweep over `train.*` takes them from DVC's cache. A frozen base always
runs without dropout, also if its hidden states are too large to be cached.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tunediff.engines.local.batching import run_batches
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import Row
from tunediff.models.load import Loaded, Network
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import replacing
from tunediff.training.targets import TARGETS

# Above this limit nothing is cached, and the base runs in every epoch.
CACHED_BYTES = 4 * 2**30
BATCH_TOKENS = 8192


class Output(NamedTuple):
    """The cached hidden states of a row, of shape (n_kept, hidden), and the pooler's output if there is one."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None


# By the token ids of a row, which determine its token types.
Features = Mapping[tuple[int, ...], Output]


def is_frozen(model: Network, head: str) -> bool:
    """Whether only the head is trained, neither weights of the base nor an adapter.

    Args:
        model: the model, from `adapt_model`.
        head: its head.
    """
    base = getattr(model, model.base_model_prefix, None)
    if hasattr(model, "peft_config") or TARGETS[head].places is None or base is None:
        return False
    return not any(value.requires_grad for value in base.parameters())


def compute_features(loaded: Loaded, rows: Sequence[Row], head: str) -> Features:
    """Compute the hidden states of each distinct row; empty if they take too much memory.

    Args:
        loaded: the model, with a frozen base (`is_frozen`).
        rows: all rows of training and validation.
        head: the model's head.
    """
    places_of = TARGETS[head].places
    assert places_of is not None, "a head on a frozen base"
    base, places = getattr(loaded.model, loaded.model.base_model_prefix).eval(), places_of(loaded.model)
    distinct = list({tuple(row.tokens): row for row in rows}.values())
    lengths = [len(range(len(row.tokens))[places(len(row.tokens))]) for row in distinct]
    n_bytes = (sum(lengths) + len(distinct)) * base.config.hidden_size * base.dtype.itemsize
    if n_bytes > CACHED_BYTES:
        print(
            f"features: not cached, because the hidden states of {len(distinct):,} rows take "
            f"{n_bytes / 2**30:.1f} GiB, more than {CACHED_BYTES / 2**30:.0f} GiB: the base model runs in every epoch"
        )
        return {}

    @torch.inference_mode()
    def read(batch: list[int]) -> list[Output]:
        inputs = pad_rows([distinct[i] for i in batch], loaded.pad)
        output = base(**{name: values.to(base.device) for name, values in inputs.items()})
        kept = [places(len(distinct[i].tokens)) for i in batch]
        states = [row[place] for row, place in zip(output.last_hidden_state, kept, strict=True)]
        # A single copy, because each copy from a GPU synchronizes.
        hidden = torch.split(torch.cat(states).cpu(), [len(row) for row in states])
        pooled = getattr(output, "pooler_output", None)
        return [
            Output(*pair) for pair in zip(hidden, [None] * len(batch) if pooled is None else pooled.cpu(), strict=True)
        ]

    outputs = run_batches([row.tokens for row in distinct], BATCH_TOKENS, read, "features")
    return {tuple(row.tokens): output for row, output in zip(distinct, outputs, strict=True)}


def write_features(path: Path, features: Features) -> None:
    """Write features as safetensors atomically; without features, a file without tensors.

    The tensors are `tokens` and `hidden`, concatenated over rows, `n_tokens` and `n_hidden`, their numbers per row, and
    `pooled`.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    if features:
        outputs = list(features.values())
        tensors = {
            "tokens": torch.tensor([token for row in features for token in row], dtype=torch.int32),
            "n_tokens": torch.tensor([len(row) for row in features], dtype=torch.int32),
            "hidden": torch.cat([output.hidden for output in outputs]),
            "n_hidden": torch.tensor([len(output.hidden) for output in outputs], dtype=torch.int32),
        }
        pooled = [output.pooled for output in outputs if output.pooled is not None]
        if pooled:
            tensors["pooled"] = torch.stack(pooled)
    with replacing(path) as part:
        save_file(tensors, part)


def read_features(path: Path) -> Features:
    """Return the features in a file of `write_features`.

    Raises:
        TunediffError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        if not tensors:
            return {}
        tokens = torch.split(tensors["tokens"], tensors["n_tokens"].tolist())
        hidden = torch.split(tensors["hidden"], tensors["n_hidden"].tolist())
        pooled = tensors["pooled"] if "pooled" in tensors else [None] * len(hidden)
        outputs = [Output(*pair) for pair in zip(hidden, pooled, strict=True)]
        return {tuple(row.tolist()): output for row, output in zip(tokens, outputs, strict=True)}
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise TunediffError(f"{path}: cannot be read as features of a frozen base: {one_line(error)}") from None


@contextmanager
def frozen_base(loaded: Loaded, rows: Sequence[Row], head: str, features: Features) -> Iterator[None]:
    """Replace a frozen base by `features` inside the block.

    Without features the base runs, without dropout. A model whose base is trained, in part or with an adapter, is not
    changed.

    Args:
        loaded: the model, from `adapt_model`.
        rows: all rows that will be read.
        head: the model's head.
        features: the hidden states of each row, or nothing.

    Raises:
        TunediffError: features of some rows are missing.
    """
    model = loaded.model
    if not is_frozen(model, head):
        yield
        return
    missing = sum(tuple(row.tokens) not in features for row in rows)
    if features and missing:
        raise TunediffError(
            f"train: found no features for {missing:,} of {len(rows):,} rows, expected features for all: run dvc repro"
        )
    prefix = model.base_model_prefix
    base = getattr(model, prefix)
    setattr(model, prefix, _FrozenBase(base, features))
    try:
        yield
    finally:
        setattr(model, prefix, base)


class _FrozenBase(torch.nn.Module):
    """Takes the place of a frozen base: returns cached hidden states, or without features runs the base."""

    def __init__(self, base: Network, features: Features) -> None:
        super().__init__()
        # With features the base is no submodule, so that its parameters are not iterated over in every step.
        self.base, self.features = None if features else base.eval(), features

    def train(self, mode: bool = True) -> "_FrozenBase":  # noqa: ARG002
        """Stay in evaluation mode: a frozen base runs without dropout."""
        return super().train(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: Any) -> Any:
        if self.base is not None:
            with torch.no_grad():
                return self.base(input_ids=input_ids, attention_mask=attention_mask, **others)
        width, lengths = input_ids.shape[1], attention_mask.sum(1).tolist()
        known = [
            self.features[tuple(tokens[:length])] for tokens, length in zip(input_ids.tolist(), lengths, strict=True)
        ]
        states, pooled = zip(*known, strict=True)
        if all(len(row) == 1 for row in states):  # the head reads one position, so its state may be at every position
            hidden = torch.stack(states).expand(-1, width, -1)
        else:
            hidden = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        device = input_ids.device
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden.to(device),
            pooler_output=None if pooled[0] is None else torch.stack(pooled).to(device),
        )
