"""The modules of a model by what is done with them: packed in 4 bits, adapted, or trained whole as a new head.

new_head(layout(config, "classification"))                       # ["score"] of a Llama, ["classifier"] of a BERT
matched_targets(layout(config), ["q_proj"])["q_proj"][0]         # model.layers.0.self_attn.q_proj

All of it works on a layout without weights and on a loaded model alike.
"""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunediff.runtime.errors import TunediffError

ALL_LINEAR = "all-linear"


def unpacked_modules(model: PreTrainedModel) -> list[str]:
    """Names of the modules that 4-bit quantisation must leave alone: the output embedding or the new head.

    To be passed as `llm_int8_skip_modules`. Left to itself transformers 5.23 looks for the module that owns the
    last parameter, finds it by the suffix `.weight` only, and so makes an unpacked, half-precision `Linear4bit`
    of a head that has a bias (BERT's).
    """
    if model.base_model is model:
        return []
    names = [
        name
        for name, child in model.named_children()
        if child is not model.base_model and next(child.parameters(), None) is not None
    ]
    pooler = getattr(model.base_model, "pooler", None)
    return names + ([f"{model.base_model_prefix}.pooler"] if pooler is not None and new_pooler(model) else [])


def new_head(model: PreTrainedModel) -> list[str]:
    """Names of the modules that a task head adds to the base; empty for a language model or a bare one.

    These are trained whole and never adapted: they belong in peft's `modules_to_save`. A pooler that the base's
    weights lack (a BERT that was trained on masked words alone) is among them: config.json says `new_pooler` then.
    """
    return unpacked_modules(model) if _output_embedding(model) is None else []


def new_pooler(model: PreTrainedModel) -> bool:
    """Whether the model's layout has a pooler that the base's weights lack."""
    return bool(getattr(model.config, "new_pooler", False))


def inside(name: str, modules: Sequence[str]) -> bool:
    """Whether a dotted name is one of the modules, or lies in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_read_past(model: PreTrainedModel, name: str) -> bool:
    """Whether a layer is a dt_proj of Mamba's kind, whose weights are read without calling it, unless in 4 bits."""
    holder, _, last = name.rpartition(".")
    return last == "dt_proj" and hasattr(model.get_submodule(holder), "x_proj")


def _output_embedding(model: PreTrainedModel) -> nn.Module | None:
    embedding: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return embedding


def matched_targets(model: PreTrainedModel, target_modules: Sequence[str] | str | None) -> dict[str, list[str]]:
    """Linear layers that each LoRA target names, by peft's rule.

    A target names a layer when it is its whole name or its last part ("q_proj" for
    "model.layers.0.self_attn.q_proj"). "all-linear" names every linear layer but the output embedding. A new
    head is trained whole, so no target reaches it; nor does one reach a layer that computes past an adapter. Works on a
    meta layout, on a real model and on a 4-bit one (`Linear4bit` is an `nn.Linear`), before the adapter is put on.

    Returns:
        Full layer names per target, in the model's order.

    Raises:
        TunediffError: a target names no linear layer; the line names those targets and the linear layers that exist.
    """
    heads = new_head(model)
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not inside(name, heads) and not _is_read_past(model, name)
    }
    if target_modules == ALL_LINEAR:
        output = _output_embedding(model)
        return {ALL_LINEAR: [name for name, module in linear.items() if module is not output]}
    if isinstance(target_modules, str) or not target_modules:
        raise TunediffError(f"adapt.target_modules: found {target_modules!r}, expected layer names or {ALL_LINEAR!r}")
    matched = {
        target: [name for name in linear if name == target or name.endswith(f".{target}")] for target in target_modules
    }
    if unmatched := [target for target, names in matched.items() if not names]:
        existing = dict.fromkeys(name.rpartition(".")[2] for name in linear)
        raise TunediffError(
            f"adapt.target_modules: found {', '.join(unmatched)}, not linear layers of this "
            f"{model.config.model_type} model; expected some of {', '.join(existing)}, or {ALL_LINEAR!r}"
        )
    return matched
