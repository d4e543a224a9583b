"""Parameter counts from a configuration, on the meta device, without weights.

Phi-2 in NF4 under LoRA of rank 32 on its attention (system A) trains 20,971,520 parameters. That is 0.749 %
of 2,800,655,360 logical parameters, and 1.36 % of the 1,542,364,160 stored elements:

    rows = count_parameters(config, quantization="nf4", method="qlora", r=32,
                            target_modules=["q_proj", "k_proj", "v_proj", "dense"])
    totals(rows)["trainable_percent"]         # 0.7488...
    totals(rows)["packed_trainable_percent"]  # 1.3597...

The base is the model as published: a decoder with its language-model head, an encoder without a head. A new head
(classification, span) is added by fine-tuning, and it may replace something: a decoder's `lm_head`, unless that is tied
to the embedding, or BERT's pooler, which the question-answering model lacks. These are in the table with 0 tuned
parameters. `tunediff.models.parameters` sums up the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from tunediff.config.adapt import LORA, Adapt
from tunediff.config.model import BITSANDBYTES, Model, Quantization
from tunediff.models.heads import Head
from tunediff.models.layouts import layout, reads_both_ways
from tunediff.models.modules import inside, matched_targets, new_head, new_pooler, unpacked_modules
from tunediff.models.parameters import ParameterRow

Method = Literal["qlora", "lora", "head", "full"]

# Weights that are trained on a frozen base are float32: peft upcasts half-precision adapters, and gradient scaling does
# not support half-precision parameters.
TRAINED_DTYPE = "float32"


def count_parameters(
    config: Mapping[str, Any],
    *,
    head: Head = "lm",
    labels: int = 2,
    quantization: Quantization = "none",
    dtype: str = "float32",
    method: Method = "full",
    r: int = 0,
    target_modules: Sequence[str] | str = (),
) -> list[ParameterRow]:
    """Count the parameters of a base and of the tuned model, tensor by tensor.

    Args:
        config: as in `layout`.
        head: as in `layout`.
        labels: as in `layout`.
        quantization: "nf4", "fp4" and "int8" pack every linear layer of the base; embeddings, norms, biases, the
            output embedding and a new head keep `dtype`. "stored" is counted as unquantized, because the layout does
            not determine the size of the stored weights.
        dtype: dtype of the base ("float32", "bfloat16", "float16").
        method: "qlora" (on NF4) and "lora" train an adapter on a frozen base, "head" only the new head, "full"
            everything.
        r: rank of the adapter; only for "qlora" and "lora".
        target_modules: only for "qlora" and "lora"; each matched layer gains `r` x (in + out) parameters, see
            `matched_targets`.

    Raises:
        TunediffError: as `layout` and `matched_targets`.
    """
    model = layout(config, head, labels)
    heads = new_head(model)
    rows = []
    for row in _model_rows(model, quantization, dtype):
        if method == "full":
            row = row._replace(trainable=True)
        elif row.part == "head":
            size = row.stored * itemsize(TRAINED_DTYPE)
            row = row._replace(trainable=True, dtype=TRAINED_DTYPE, bytes=size)
        rows.append(row)
    if heads:
        rows += _removed_rows(model, _published_base(config))
    if method in LORA:
        rows += _adapter_rows(model, r, matched_targets(model, target_modules))
    return rows


def count_recipe(config: Mapping[str, Any], labels: Sequence[str], model: Model, adapt: Adapt) -> list[ParameterRow]:
    """Count the parameters of an experiment with the sections model and adapt.

    `dtype: auto` is counted as float32, so that the table is the same on every machine.

    Raises:
        TunediffError: as `count_parameters`.
    """
    return count_parameters(
        config,
        head=model.head,
        labels=len(labels),
        quantization=model.quantization,
        dtype="float32" if model.dtype == "auto" else model.dtype,
        method=adapt.method,
        r=adapt.r or 0,
        target_modules=adapt.target_modules or (),
    )


def untrained_rows(config: Mapping[str, Any], labels: Sequence[str], model: Model) -> list[ParameterRow]:
    """Count the parameters of a base with its head without training; arguments as for `count_recipe`."""
    network = layout(config, model.head, len(labels))
    rows = list(_model_rows(network, model.quantization, "float32" if model.dtype == "auto" else model.dtype))
    return rows + (list(_removed_rows(network, _published_base(config))) if new_head(network) else [])


def _model_rows(model: PreTrainedModel, quantization: Quantization, dtype: str) -> Iterator[ParameterRow]:
    heads, (unpacked, double) = new_head(model), packing(model)
    # named_parameters omits the second name of a tied tensor.
    for name, tensor in model.named_parameters():
        module, _, parameter = name.rpartition(".")
        owner, in_head = model.get_submodule(module), inside(module, heads)
        logical = tensor.numel()
        row = ParameterRow(
            module=module,
            parameter=parameter,
            part="head" if in_head else "base",
            kind=_kind(owner),
            shape=tuple(tensor.shape),
            dtype=dtype,
            base=0 if in_head else logical,
            tuned=logical,
            stored=logical,
            bytes=logical * itemsize(dtype),
            trainable=False,
        )
        if quantization in BITSANDBYTES and parameter == "weight" and is_packed(module, owner, unpacked):
            # In 8 bits each row (output) has a float32 scale.
            int8, rows = quantization == "int8", tensor.shape[1 if isinstance(owner, Conv1D) else 0]
            size = logical + rows * itemsize("float32") if int8 else nf4_bytes(logical, double)
            row = row._replace(dtype=quantization, stored=logical if int8 else ceil(logical / 2), bytes=size)
        yield row
    counted = {name for name, _ in model.named_parameters()}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if name not in counted:
            module, _, parameter = name.rpartition(".")
            kind = _kind(model.get_submodule(module))
            yield ParameterRow(module, parameter, "base", kind, tuple(tensor.shape), "tied", 0, 0, 0, 0, False)


def is_packed(name: str, module: nn.Module, unpacked: list[str]) -> bool:
    """Whether bitsandbytes packs a module: a plain linear layer, but not a subclass (such as Falcon's)."""
    return (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, unpacked)


def packing(model: PreTrainedModel) -> tuple[list[str], bool]:
    """Return the modules that 4-bit quantization skips, and whether its constants are quantized as well.

    For a checkpoint that is stored in 4 bits, both are in its config.
    """
    stored = getattr(model.config, "quantization_config", None)
    # transformers keeps some layers of some layouts in float32.
    kept = list(getattr(model, "_keep_in_fp32_modules", None) or [])
    if not isinstance(stored, dict):
        return unpacked_modules(model) + kept, True
    skipped = stored.get("llm_int8_skip_modules")
    names = get_keys_to_not_convert(model) if skipped is None else list(skipped)
    return names + kept, bool(stored.get("bnb_4bit_use_double_quant"))


def _kind(owner: nn.Module) -> str:
    if isinstance(owner, (nn.Linear, Conv1D)):
        return "linear"
    if isinstance(owner, nn.Embedding):
        return "embedding"
    return "norm" if "norm" in type(owner).__name__.lower() else "other"


def _published_base(config: Mapping[str, Any]) -> PreTrainedModel:
    """The model that a new head is put on: a decoder with its language-model head, an encoder without a head."""
    bare = layout(config, "none")
    causal = bare.config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return layout(config, "lm") if causal and not reads_both_ways(bare.config) else bare


def _removed_rows(model: PreTrainedModel, base: PreTrainedModel) -> Iterator[ParameterRow]:
    """Rows of the base that the model with a new head lacks, with the names that they would have in it."""
    kept = {name for name, _ in model.base_model.named_parameters()}
    prefix = "" if base.base_model is base else f"{base.base_model_prefix}."
    for row in _model_rows(base, "none", "float32"):
        if new_pooler(base) and inside(row.module, ["pooler"]):
            continue  # the base does not have it
        below = row.module.startswith(prefix)
        module = f"{model.base_model_prefix}.{row.module.removeprefix(prefix)}" if below else row.module
        if not below or f"{row.module.removeprefix(prefix)}.{row.parameter}" not in kept:
            yield row._replace(module=module, dtype="removed", tuned=0, stored=0, bytes=0)


def _adapter_rows(model: PreTrainedModel, r: int, matched: Mapping[str, list[str]]) -> Iterator[ParameterRow]:
    for module in dict.fromkeys(name for names in matched.values() for name in names):
        layer: Any = model.get_submodule(module)
        features = (layer.nx, layer.nf) if isinstance(layer, Conv1D) else (layer.in_features, layer.out_features)
        for parameter, shape in (("lora_A", (r, features[0])), ("lora_B", (features[1], r))):
            logical = shape[0] * shape[1]
            yield ParameterRow(
                module=module,
                parameter=parameter,
                part="adapter",
                kind="linear",
                shape=shape,
                dtype=TRAINED_DTYPE,
                base=0,
                tuned=logical,
                stored=logical,
                bytes=logical * itemsize(TRAINED_DTYPE),
                trainable=True,
            )


def itemsize(dtype: str) -> int:
    """Return the bytes per number of a dtype, by its name in torch."""
    return int(getattr(torch, dtype).itemsize)


def nf4_bytes(n: int, double: bool = True) -> int:
    """Return the bytes of one NF4 weight of `n` elements in bitsandbytes, by default with double quantization.

    Half a byte per element; one absmax per block of 64 elements, quantized to a byte; a float32 absmax per 256 of
    those, and the float32 offset that is subtracted before; and two float32 code books of 16 and 256 values. In
    `bitsandbytes.functional.quantize_4bit` and its `QuantState` these are the weight, `absmax`, `state2.absmax`,
    `offset`, `code` and `state2.code`. Except for the code books, this is the 4.127 bits per parameter of Dettmers et
    al. 2023, "QLoRA", section 3. Without double quantization each absmax is a float32, and there is one code book.
    """
    blocks = ceil(n / 64)
    if not double:
        return ceil(n / 2) + 4 * blocks + 4 * 16
    return ceil(n / 2) + blocks + 4 * ceil(blocks / 256) + 4 + 4 * (16 + 256)


def weight_bytes(
    config: Mapping[str, Any],
    *,
    head: Head = "lm",
    labels: int = 2,
    quantization: Quantization = "none",
    dtype: str = "float32",
) -> int:
    """Return the bytes of the weights of a loaded model without an adapter.

    This is a lower bound of the memory: activations, gradients, optimizer states and temporary copies add to it.
    """
    return sum(row.bytes for row in _model_rows(layout(config, head, labels), quantization, dtype))
