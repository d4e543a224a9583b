"""Match the outputs of a checkpoint's classification head to the labels of the task by name.

    put_in_order(network, ["entailment", "neutral", "contradiction"], names=None)

`id2label` in config.json names the outputs. Case, spaces, hyphens and underscores are ignored, and the short forms in
`ALIASES` are expanded.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tunediff.models.modules import new_head
from tunediff.runtime.errors import TunediffError

# Short forms of label names.
ALIASES = {
    **{"pos": "positive", "neg": "negative", "neu": "neutral", "neut": "neutral"},
    **{"entail": "entailment", "entails": "entailment", "entailed": "entailment"},
    **{"contradict": "contradiction", "contradicts": "contradiction", "contradictory": "contradiction"},
    **{"nonentailment": "notentailment", "notentailed": "notentailment"},
}


def put_in_order(
    network: Any, labels: Sequence[str], names: Sequence[str] | None, key: str = "model.head_labels"
) -> None:
    """Reorder the outputs of a checkpoint's head, in place, such that output i is label i.

    Args:
        network: a classifier with as many outputs as labels.
        labels: labels of the task, in order.
        names: names of the outputs, in order, from params.yaml; None: those in the checkpoint's config.
        key: key of params.yaml for the names.

    Raises:
        TunediffError: the checkpoint does not name its outputs, or names other labels.
    """
    found = [str(network.config.id2label.get(i)) for i in range(len(labels))] if names is None else list(names)
    if names is None and all(re.fullmatch(r"(?i)label_?\d+|none|\d+", name) for name in found):
        raise TunediffError(
            f"config.json: id2label: found {', '.join(found)}, which are not labels; expected {', '.join(labels)}, "
            f"or in params.yaml {key}: the label of each output of the checkpoint's head, in order"
        )
    outputs = {_plain(name): i for i, name in enumerate(found)}
    if len(outputs) < len(found) or outputs.keys() != {_plain(label) for label in labels}:
        where = "config.json: id2label" if names is None else f"params.yaml: {key}"
        raise TunediffError(
            f"{where}: found {', '.join(found)}, expected those of task.labels: {', '.join(labels)}; if they mean "
            f"the same, set {key} in params.yaml: the label of each output, in order"
        )
    order = [outputs[_plain(label)] for label in labels]
    layer = _last_layer(network, len(labels))
    with torch.no_grad():
        for values in layer.parameters():
            values.copy_(values[order].clone())


def is_new(network: Any, report: dict[str, Any], labels: Sequence[str]) -> bool:
    """Whether the output layer of a classifier is new: the checkpoint has none, or one of another width.

    Args:
        network: the classifier.
        report: missing and mismatched weights, as reported by transformers.
        labels: labels of the task.
    """
    drawn = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    outputs = {id(parameter) for parameter in _last_layer(network, len(labels)).parameters()}
    return any(name in drawn and id(value) in outputs for name, value in network.named_parameters())


def _last_layer(network: Any, n: int) -> nn.Module:
    """The last linear layer of the head with n outputs."""
    layers = [
        module
        for head in new_head(network)
        for module in network.get_submodule(head).modules()
        if isinstance(module, nn.Linear) and module.out_features == n
    ]
    if not layers:
        raise TunediffError(f"{network.config.model_type}: found no layer of {n} outputs in the head, expected one")
    return layers[-1]


def _plain(name: str) -> str:
    plain = re.sub(r"[\s_-]+", "", name).casefold()
    return ALIASES.get(plain, plain)
