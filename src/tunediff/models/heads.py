"""Classes of transformers for a base with a head, and the outputs of classification heads.

    head_class(configuration, "span")           # builds or loads any layout with a span head
    label_scores(model, inputs)                 # logits of shape (n_rows, n_labels) of a classification head

Two things differ from transformers. Its span models of Llama and Qwen name their base `transformer`, so weights saved
under `model` are not loaded; and it has no span models for Phi or Gemma. Its classifiers of decoders read the last
token that is not the padding token, which is the wrong one if a text ends with that token.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForQuestionAnswering, GenericForSequenceClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling

if TYPE_CHECKING:
    from torch import Tensor

Head = Literal["lm", "classification", "span", "none"]

_AUTO_CLASSES: dict[Head, Any] = {
    "lm": AutoModelForCausalLM,
    "classification": AutoModelForSequenceClassification,
    "span": AutoModelForQuestionAnswering,
    "none": AutoModel,
}


def adds_head(head: Head) -> bool:
    """Whether fine-tuning adds this head to the published model."""
    return head in ("classification", "span")


def n_outputs(head: Head, labels: int) -> int:
    """Return the number of outputs of a new head: one per label, or start and end of a span."""
    return labels if head == "classification" else 2


def head_class(configuration: PreTrainedConfig, head: Head) -> Any:
    """Return the class with `from_config` and `from_pretrained` for this layout with this head.

    This is transformers' Auto class. If transformers has no span model of a decoder, or one whose base is named
    differently, it is a class composed like transformers' own span models; not all versions of transformers allow to
    register such a class.
    """
    kind, auto = type(configuration), _AUTO_CLASSES[head]
    if head == "span":
        known: Any = auto._model_mapping.get(kind, None)
        classifier: Any = AutoModelForSequenceClassification._model_mapping.get(kind, None)
        is_decoder = classifier is not None and issubclass(classifier, GenericForSequenceClassification)
        if is_decoder and (known is None or known.base_model_prefix != classifier.base_model_prefix):
            return _span_class(classifier)
    return auto


@cache
def _span_class(classifier: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The span model for the layout of a classifier."""

    def from_config(cls: Any, /, config: PreTrainedConfig, trust_remote_code: bool = False, **options: Any) -> Any:
        """See the Auto classes."""
        assert not trust_remote_code, "there is no remote code"
        return cls._from_config(config, **options)

    [parent] = [base for base in classifier.__bases__ if issubclass(base, PreTrainedModel)]
    name = classifier.__name__.replace("SequenceClassification", "QuestionAnswering")
    parts = {"__module__": __name__, "base_model_prefix": classifier.base_model_prefix}
    return type(name, (GenericForQuestionAnswering, parent), {**parts, "from_config": classmethod(from_config)})


def read_mean(network: PreTrainedModel) -> None:
    """Let the classification head of an encoder read the mean of the last hidden states of a row, by a forward hook.

    The mean replaces the first token and the pooler's output; the head of every encoder reads one of them.
    """

    def mean(_: Any, __: Any, inputs: dict[str, Any], output: Any) -> Any:
        weights = inputs["attention_mask"].unsqueeze(-1).to(output.last_hidden_state)
        means = (output.last_hidden_state * weights).sum(1) / weights.sum(1)
        return BaseModelOutputWithPooling(last_hidden_state=means[:, None], pooler_output=means)

    network.base_model.register_forward_hook(mean, with_kwargs=True)


def label_scores(model: Any, inputs: Mapping[str, "Tensor"]) -> "Tensor":
    """Return the logits of a classification head, of shape (n_rows, n_labels).

    The head of a decoder reads the last token of a row, whichever token that is.

    Args:
        model: a classifier of transformers, with or without an adapter.
        inputs: a batch padded on the right, each tensor of shape (n_rows, width).
    """
    network = model.get_base_model() if hasattr(model, "peft_config") else model
    if not hasattr(network, "score"):  # an encoder
        logits: Tensor = network(**inputs).logits
        return logits
    hidden = network.base_model(**inputs, use_cache=False).last_hidden_state
    last = inputs["attention_mask"].sum(-1) - 1
    scores: Tensor = network.score(hidden[torch.arange(len(hidden), device=hidden.device), last.to(hidden.device)])
    return scores.to(last.device)


def name_labels(network: PreTrainedModel, labels: Sequence[str]) -> None:
    """Write the labels of a classification head to the model's config, in the order of its outputs."""
    if "ForSequenceClassification" in type(network).__name__:
        network.config.update(label_names(labels))


def label_names(labels: Sequence[str]) -> dict[str, Any]:
    """Return the keys of config.json that name the outputs of a classification head."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
