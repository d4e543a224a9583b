"""Find the modules of a model that are quantized, adapted, or trained as a new head.

new_head(layout(config, "classification"))                       # ["score"] of a Llama, ["classifier"] of a BERT
matched_targets(layout(config), ["q_proj"])["q_proj"][0]         # model.layers.0.self_attn.q_proj

All functions accept a layout without weights or a loaded model.
"""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunediff.runtime.errors import TunediffError

ALL_LINEAR = "all-linear"


def unpacked_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that 4-bit quantization must skip: the output embedding or the new head.

    They are passed as `llm_int8_skip_modules`. By default, transformers 5.23 looks for the module of the last
    parameter, finds it only by the suffix `.weight`, and so makes an unpacked, half-precision `Linear4bit` of a head
    with a bias (BERT's).
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
    """Return the names of the modules of a new head; empty for a language model or a model without a head.

    They are fully trained and not adapted (peft's `modules_to_save`). They include a pooler that the base's weights
    lack, as in a BERT without next-sentence prediction; config.json then has `new_pooler`.
    """
    return unpacked_modules(model) if _output_embedding(model) is None else []


def new_pooler(model: PreTrainedModel) -> bool:
    """Whether the layout has a pooler that the base's weights lack."""
    return bool(getattr(model.config, "new_pooler", False))


def inside(name: str, modules: Sequence[str]) -> bool:
    """Whether a dotted name is one of the modules, or is inside one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_bypassed(model: PreTrainedModel, name: str) -> bool:
    """Whether a layer is a dt_proj of Mamba and similar layouts, which use its weights without calling it."""
    holder, _, last = name.rpartition(".")
    return last == "dt_proj" and hasattr(model.get_submodule(holder), "x_proj")


def _output_embedding(model: PreTrainedModel) -> nn.Module | None:
    embedding: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return embedding


def matched_targets(model: PreTrainedModel, target_modules: Sequence[str] | str) -> dict[str, list[str]]:
    """Return the linear layers that match each LoRA target, by peft's rule.

    A target matches a layer if it is its full name or the last part of it ("q_proj" for
    "model.layers.0.self_attn.q_proj"). "all-linear" matches every linear layer except the output embedding. Targets
    never match a new head, which is fully trained, or a layer that would bypass an adapter. The model may be on the
    meta device, loaded, or in 4 bits (`Linear4bit` is an `nn.Linear`), but without an adapter.

    Returns:
        Full names of the layers by target, in the model's order.

    Raises:
        TunediffError: a target matches no linear layer; the message lists the existing ones.
    """
    heads = new_head(model)
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not inside(name, heads) and not _is_bypassed(model, name)
    }
    if target_modules == ALL_LINEAR:
        output = _output_embedding(model)
        return {ALL_LINEAR: [name for name, module in linear.items() if module is not output]}
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
