"""Which class of transformers holds a base with which head, and what such a model says of each row.

    head_class(configuration, "span")           # builds or loads any layout with the scores of start and end
    label_scores(model, inputs)                 # of shape (n_rows, n_labels), of a classification head

Two things are not left to transformers. Its span models of Llama and Qwen name their base `transformer`, so weights
that were saved under `model` do not reach it; and it has none for Phi or Gemma. And its classifiers of decoders look
for the last token that is not the padding's, which is another one than the last where a text ends with that token.
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
    """Whether this head is put on the published model, which has none of the kind."""
    return head in ("classification", "span")


def n_outputs(head: Head, labels: int) -> int:
    """How many numbers a new head gives: one per label, or (span) that of a start and that of an end."""
    return labels if head == "classification" else 2


def head_class(configuration: PreTrainedConfig, head: Head) -> Any:
    """The class that makes a model with this head of this layout: `from_config` and `from_pretrained` are its.

    It is transformers' Auto class. Where transformers has no span model of a decoder, or one whose base has a name of
    its own, it is one made of the parts that its span models are made of; not every version of transformers lets such
    a class be registered for a layout of its own.
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
    """The span model of the layout that a classifier is of."""

    def from_config(cls: Any, /, config: PreTrainedConfig, trust_remote_code: bool = False, **options: Any) -> Any:
        """As that of the Auto classes."""
        assert not trust_remote_code, "the code is our own"
        return cls._from_config(config, **options)

    [parent] = [base for base in classifier.__bases__ if issubclass(base, PreTrainedModel)]
    name = classifier.__name__.replace("SequenceClassification", "QuestionAnswering")
    parts = {"__module__": __name__, "base_model_prefix": classifier.base_model_prefix}
    return type(name, (GenericForQuestionAnswering, parent), {**parts, "from_config": classmethod(from_config)})


def read_mean(network: PreTrainedModel) -> None:
    """Let the classification head of an encoder read the mean of a row's last hidden states, from now on.

    It is put in the place of the first token and of the pooler's output, of which every encoder's head reads one.
    """

    def mean(_: Any, __: Any, inputs: dict[str, Any], output: Any) -> Any:
        weights = inputs["attention_mask"].unsqueeze(-1).to(output.last_hidden_state.dtype)
        means = (output.last_hidden_state * weights).sum(1) / weights.sum(1)
        return BaseModelOutputWithPooling(last_hidden_state=means[:, None], pooler_output=means)

    network.base_model.register_forward_hook(mean, with_kwargs=True)


def label_scores(model: Any, inputs: Mapping[str, "Tensor"]) -> "Tensor":
    """What a classification head says of each row, as logits of shape (n_rows, n_labels).

    A decoder's head reads the last token of a row, whichever token that is.

    Args:
        model: a classifier of transformers, with or without an adapter.
        inputs: a batch padded on the right; of shape (n_rows, width) each.
    """
    network = model.get_base_model() if hasattr(model, "peft_config") else model
    if not hasattr(network, "score"):  # an encoder, which reads its first token or, see `read_mean`, the mean
        logits: Tensor = network(**inputs).logits
        return logits
    hidden = network.base_model(**inputs, use_cache=False).last_hidden_state
    last = inputs["attention_mask"].sum(-1) - 1
    scores: Tensor = network.score(hidden[torch.arange(len(hidden), device=hidden.device), last])
    return scores


def name_labels(network: PreTrainedModel, labels: Sequence[str]) -> None:
    """Let the layout of a model with a classification head name the labels, in the order of its outputs."""
    if "ForSequenceClassification" in type(network).__name__:
        network.config.update(label_names(labels))


def label_names(labels: Sequence[str]) -> dict[str, Any]:
    """The keys of config.json that name the outputs of a classification head."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
