"""What a frozen base says of a row is the same in every epoch and in every experiment: computed once and kept.

    features = read_rows(loaded, rows, head)         # the stage features; rows of the training and validation splits
    write_features(path, features)
    with frozen_base(loaded, rows, head, read_features(path)):           # the stage train
        ...                                          # the head is trained; the base itself is not run again

The stage has a file of its own, so that a sweep over `train.*` takes it from the cache. A frozen base runs without
dropout, whether its outputs are kept or, where they are too large for that, are not.
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

# More than this is not kept: the base runs in every epoch then.
KEPT_BYTES = 4 * 2**30
BATCH_TOKENS = 8192


class Output(NamedTuple):
    """Of one row: the hidden states that are kept, of shape (n_kept, hidden), and the pooler's where it has one."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None


# By the row's token ids: token types follow from them.
Features = Mapping[tuple[int, ...], Output]


def is_frozen(model: Network, head: str) -> bool:
    """Whether nothing below the head is trained, neither the base's own weights nor an adapter's.

    Args:
        model: the model, adapted.
        head: its head.
    """
    base = getattr(model, model.base_model_prefix, None)
    if hasattr(model, "peft_config") or TARGETS[head].places is None or base is None:
        return False
    return not any(value.requires_grad for value in base.parameters())


def read_rows(loaded: Loaded, rows: Sequence[Row], head: str) -> Features:
    """What the frozen base says of each row, once for rows that are alike; nothing where that takes too much memory.

    Args:
        loaded: the model, adapted: see `is_frozen`.
        rows: every row that will be learned from or measured.
        head: the model's head.
    """
    places_of = TARGETS[head].places
    assert places_of is not None, "a head on a frozen base"
    base, places = getattr(loaded.model, loaded.model.base_model_prefix).eval(), places_of(loaded.model)
    unlike = list({tuple(row.tokens): row for row in rows}.values())
    lengths = [len(range(len(row.tokens))[places(len(row.tokens))]) for row in unlike]
    n_bytes = (sum(lengths) + len(unlike)) * base.config.hidden_size * base.dtype.itemsize
    if n_bytes > KEPT_BYTES:
        print(
            f"features: the hidden states of {len(unlike):,} rows take {n_bytes / 2**30:.1f} GiB, of which "
            f"{KEPT_BYTES / 2**30:.0f} may be cached: the base model runs in every epoch instead"
        )
        return {}

    @torch.inference_mode()
    def read(batch: list[int]) -> list[Output]:
        inputs = pad_rows([unlike[i] for i in batch], loaded.pad)
        output = base(**{name: values.to(base.device) for name, values in inputs.items()})
        kept = [places(len(unlike[i].tokens)) for i in batch]
        states = [one[place] for one, place in zip(output.last_hidden_state, kept, strict=True)]
        # In one piece: each copy from a GPU waits for it.
        hidden = torch.split(torch.cat(states).cpu(), [len(one) for one in states])
        pooled = getattr(output, "pooler_output", None)
        return [
            Output(*pair) for pair in zip(hidden, [None] * len(batch) if pooled is None else pooled.cpu(), strict=True)
        ]

    outputs = run_batches([row.tokens for row in unlike], BATCH_TOKENS, read, "features")
    return {tuple(row.tokens): one for row, one in zip(unlike, outputs, strict=True)}


def write_features(path: Path, features: Features) -> None:
    """Write features as safetensors atomically; without any, a file without tensors.

    Tensors: tokens and hidden of all rows one after the other, how many of each are of a row, and pooled.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    if features:
        outputs = list(features.values())
        tensors = {
            "tokens": torch.tensor([token for row in features for token in row], dtype=torch.int32),
            "n_tokens": torch.tensor([len(row) for row in features], dtype=torch.int32),
            "hidden": torch.cat([one.hidden for one in outputs]),
            "n_hidden": torch.tensor([len(one.hidden) for one in outputs], dtype=torch.int32),
        }
        pooled = [one.pooled for one in outputs if one.pooled is not None]
        if pooled:
            tensors["pooled"] = torch.stack(pooled)
    with replacing(path) as part:
        save_file(tensors, part)


def read_features(path: Path) -> Features:
    """The features of a file of `write_features`; none where it holds none.

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
        return {tuple(row.tolist()): one for row, one in zip(tokens, outputs, strict=True)}
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise TunediffError(f"{path}: cannot be read as features of a frozen base: {one_line(error)}") from None


@contextmanager
def frozen_base(loaded: Loaded, rows: Sequence[Row], head: str, features: Features) -> Iterator[None]:
    """While this is open, a model whose base is frozen takes what the base says of `rows` from `features`.

    Where there are none the base runs, without dropout. Nothing changes for a model whose base is trained, in part or
    with an adapter.

    Args:
        loaded: the model, adapted.
        rows: every row that will be read.
        head: the model's head.
        features: what the base said of each row, or nothing.

    Raises:
        TunediffError: the features are of other rows.
    """
    model = loaded.model
    if not is_frozen(model, head):
        yield
        return
    missing = sum(tuple(row.tokens) not in features for row in rows)
    if features and missing:
        raise TunediffError(
            f"train: found no features of {missing:,} of {len(rows):,} rows, expected those of all: run dvc repro"
        )
    prefix = model.base_model_prefix
    base = getattr(model, prefix)
    setattr(model, prefix, _FrozenBase(base, features))
    try:
        yield
    finally:
        setattr(model, prefix, base)


class _FrozenBase(torch.nn.Module):
    """Stands in for a base: what it said of known rows, or without that, the base itself."""

    def __init__(self, base: Network, features: Features) -> None:
        super().__init__()
        # With features, its weights need not be walked through at every step.
        self.base, self.features = None if features else base.eval(), features

    def train(self, mode: bool = True) -> "_FrozenBase":  # noqa: ARG002
        """Never with dropout: a frozen base has nothing to learn from it."""
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
        if all(len(one) == 1 for one in states):  # the head reads one place alone, so it may find it at any
            hidden = torch.stack(states).expand(-1, width, -1)
        else:
            hidden = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        device = input_ids.device
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden.to(device),
            pooler_output=None if pooled[0] is None else torch.stack(pooled).to(device),
        )
