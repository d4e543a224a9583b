"""The base model: where it comes from, its head, how its weights are stored."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import Field

from tunediff.config.section import COMMIT, LabelName, Section, Seed, Whole, Word

# The values of model.source; `tunediff.models.sources.SOURCES` finds the weights, except for `scratch`.
ORIGINS = ["scratch", "hub", "package", "folder", "server"]


class HeadKind(NamedTuple):
    """Properties of a head that the rules between sections depend on."""

    writes: bool  # generates text with the base's own head
    scores_labels: bool  # has one output per label
    in_windows: bool  # reads question and context as a pair, in windows


HEADS = {
    "lm": HeadKind(writes=True, scores_labels=False, in_windows=False),
    "classification": HeadKind(writes=False, scores_labels=True, in_windows=False),
    "span": HeadKind(writes=False, scores_labels=False, in_windows=True),
}


Quantization = Literal["nf4", "fp4", "int8", "stored", "none"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
# Quantizations that bitsandbytes applies at load time, as arguments of transformers' BitsAndBytesConfig.
BITSANDBYTES: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
    # Outlier columns are found over a whole batch, so with them an answer would depend on the other cases of its batch.
    "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
}


class Base(Section):
    """Where the base model comes from, and its layout: the keys that the stage base_model reads."""

    source: Word = Field(
        description="scratch: trained from scratch here; hub: pinned on the hub; package: shipped inside a Python "
        "package; folder: a local folder; server: available only from a server (engine.kind server)"
    )
    id: str | None = Field(
        default=None,
        description="hub id, package name, path of a folder or a GGUF file, or its name on a server",
    )
    revision: str | None = Field(default=None, pattern=COMMIT, description="hub: commit, 40 hexadecimal digits")
    config: dict[str, Any] | None = Field(
        default=None, description="layout as in config.json; allows counting a gated model offline"
    )

    def _contradictions(self) -> Iterator[str]:
        if self.source == "scratch" and (self.config is None or self.id is not None):
            yield "model.source is scratch: expected model.config (the layout) and no model.id"
        if self.source != "scratch" and self.id is None:
            yield f"model.source is {self.source}, but model.id is missing"
        if (self.revision is None) == (self.source == "hub"):
            yield f"model.revision goes with model.source hub; found {self.revision} and {self.source}"
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            yield "model.config.model_type: missing, expected a layout's name such as llama, phi or bert"


class Model(Base):
    """The base model, its head and how its weights are stored."""

    published_parameters: Whole | None = Field(
        default=None, ge=1, description="a parameter count as published; compared in count_params"
    )
    head: Literal["lm", "classification", "span"] = Field(
        description="a language-model head, a classification head over the labels, or a span head, which predicts "
        "where an answer starts and ends in its context"
    )
    head_seed: Seed = Field(default=0, description="classification, span: seed of the new head's weights")
    head_labels: list[LabelName] | None = Field(
        default=None,
        description="classification: the label of each output of the checkpoint's own head, in order; none: those "
        "that its config.json names (id2label)",
    )
    pooling: Literal["own", "mean"] = Field(
        default="own",
        description="classification: what an encoder's head reads: the layout's default (first token or pooler), or "
        "the mean of all tokens, as sentence encoders are trained; transformers uses the default",
    )
    quantization: Quantization = Field(
        default="none",
        description="nf4, fp4: 4-bit with double quantization, int8: 8-bit, each by bitsandbytes at load time; "
        "stored: as in the checkpoint's config.json (GPTQ, AWQ, compressed-tensors, FP8, ...)",
    )
    dtype: Dtype = Field(
        default="auto",
        description="dtype of the computation; auto: bfloat16 on GPUs that support it, float16 on others, float32 on "
        "the CPU",
    )

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()
        if self.head_labels is not None and not HEADS[self.head].scores_labels:
            yield f"model.head_labels is given, but model.head is {self.head}; expected classification"
        if self.pooling == "mean" and not HEADS[self.head].scores_labels:
            yield f"model.pooling is mean, but model.head is {self.head}; expected classification"
