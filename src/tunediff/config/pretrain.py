"""Training from scratch: which text, which tokenizer, how long."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, StrictBool

from tunediff.config.data import HubData, leads_out
from tunediff.config.section import COMMIT, Number, Section, Seed, Whole, Word


class TextFiles(Section):
    """The files of a text, where `pretrain.path` is their folder."""

    train: Word = Field(description="file that the model learns from")
    validation: Word | None = Field(
        default=None, description="file to validate on; none: part of the documents is held out"
    )


class Tokenizer(Section):
    """An existing tokenizer."""

    source: Literal["hub", "folder"] = Field(description="pinned on the hub, or a local folder")
    id: Word = Field(description="hub id or folder path")
    revision: str | None = Field(default=None, pattern=COMMIT, description="hub: commit, 40 hexadecimal digits")

    def _contradictions(self) -> Iterator[str]:
        if (self.revision is None) == (self.source == "hub"):
            yield f"pretrain.tokenizer.revision goes with source hub; found {self.revision} and {self.source}"


class Pretrain(Section):
    """Training from scratch (model.source scratch): which text, which tokenizer, how long.

    A decoder learns to continue the text, an encoder to fill in masks; an encoder with BERT's pretraining head also
    learns next-sentence prediction.
    """

    path: Word = Field(
        default="data/raw", description="file of the text, or the folder of its files; hashed, so a change is noticed"
    )
    text: Literal["none", "synthetic", "columns", "wikitext", "plain"] = Field(
        default="none",
        description="no pretraining, generated text, columns of a file of rows, WikiText's articles, or plain "
        "text with empty lines between documents",
    )
    synthetic: Literal["captions", "sums", "orders", "rankings"] | None = Field(
        default=None, description="text synthetic: which one"
    )
    columns: list[str] = Field(default=[], description="text columns: the columns whose sentences are read")
    files: TextFiles | None = Field(default=None, description="files in the folder `pretrain.path`")
    hub: HubData | None = Field(
        default=None, description="text wikitext: the data set to read, with splits train and validation"
    )
    documents: Whole | None = Field(
        default=None, ge=1, description="maximum number of documents to learn from (synthetic: the exact number)"
    )
    held_out: Number = Field(
        default=0.01, gt=0, le=0.5, description="share of documents to validate on, if no file or split is given"
    )
    seed: Seed = Field(
        default=0, description="seed of the held-out documents, the weights, the order, the pairs and the masks"
    )
    tokenizer: Tokenizer | None = Field(default=None, description="an existing tokenizer; none: trained on the text")
    vocab_size: Whole = Field(
        default=1000,
        ge=300,
        description="maximum vocabulary of a tokenizer trained here: byte-level BPE, or uncased WordPiece (encoder)",
    )
    max_tokens: Whole = Field(default=128, ge=8, description="tokens of one training sequence")
    mlm_probability: Number = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="encoder: share of tokens to predict; of these 80 % are masked, 10 % replaced, 10 % left",
    )
    whole_word_mask: StrictBool = Field(default=False, description="encoder: all tokens of a word are chosen together")
    num_train_epochs: Number = Field(default=1.0, gt=0, description="passes over the text")
    per_device_train_batch_size: Whole = Field(default=32, ge=1, description="sequences of one step")
    learning_rate: Number = Field(default=1e-3, gt=0, description="peak learning rate; cosine decay")
    warmup_steps: Number = Field(default=0.05, ge=0, description="warm-up steps; below 1: their share of all steps")
    weight_decay: Number = Field(default=0.01, ge=0, description="AdamW: weight decay")

    def _contradictions(self) -> Iterator[str]:
        if (self.synthetic is None) == (self.text == "synthetic"):
            yield f"pretrain.synthetic goes with pretrain.text synthetic; found {self.synthetic} and {self.text}"
        if self.text == "synthetic" and self.documents is None:
            yield "pretrain.documents: missing, expected the number of documents to generate"
        if (not self.columns) == (self.text == "columns"):
            yield f"pretrain.columns goes with pretrain.text columns; found {self.columns} and {self.text}"
        if self.files is not None and self.text in ("none", "synthetic"):
            yield f"pretrain.files: given, but pretrain.text is {self.text}, which reads no file"
        if self.hub is not None and self.text != "wikitext":
            yield f"pretrain.hub goes with pretrain.text wikitext; found {self.text}"
        if self.hub is not None and self.files is not None:
            yield "pretrain.hub and pretrain.files: found both, expected one of them"
        for name, file in (self.files.model_dump() if self.files else {}).items():
            if file and leads_out(file):
                yield f"pretrain.files.{name}: found '{file}', expected a file inside pretrain.path {self.path}"
