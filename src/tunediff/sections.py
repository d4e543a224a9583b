"""The sections of params.yaml: a sentence per key, and the rules that hold within one section.

    Train(learning_rate="5e-4", num_train_epochs=3, per_device_train_batch_size=16).learning_rate   # 0.0005

Keys that an upstream library knows carry that library's name (`lora_alpha`, `learning_rate`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LoraTargets = list[str] | Literal["all-linear"]
Word = Annotated[str, Field(min_length=1)]
# A label may be written as a bare YAML word that YAML reads as something else: `no`, `1`.
LabelName = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) and not isinstance(v, bool) else v)]


class Section(BaseModel):
    """One section of params.yaml: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Task(Section):
    """What a case is: its input fields and its labels."""

    name: Literal["nli", "classification"] = Field(description="which task the cases belong to")
    inputs: list[Word] = Field(min_length=1, description="names of a case's input fields, in reading order")
    labels: list[LabelName] = Field(min_length=2, description="the labels, in the order of their scores")
    source_input: Word = Field(description="the input whose text cases share (SNLI: premise); splits never share one")
    premise_free_input: Word = Field(description="the input that the premise-free baseline reads alone")

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for key, values in (("inputs", self.inputs), ("labels", self.labels)):
            if len(set(values)) < len(values):
                raise ValueError(f"task.{key}: found {values}, expected no name twice")
        for reserved in {"case_id", "label", "tags"} & set(self.inputs):
            raise ValueError(f"task.inputs: '{reserved}' is the name of another field of a case")
        for key in ("source_input", "premise_free_input"):
            if getattr(self, key) not in self.inputs:
                raise ValueError(f"task.{key}: found '{getattr(self, key)}', expected one of task.inputs {self.inputs}")
        return self


class Draw(Section):
    """How one split is drawn from the rows of a source split."""

    source: Word = Field(description="the source split that the rows come from")
    select: Literal["all", "stride", "random", "stratified"] = Field(
        default="all",
        description="every row; every k-th row; rows drawn at random; rows drawn at random within each label",
    )
    every: int | None = Field(default=None, ge=1, description="stride: take rows 0, every, 2 * every, ...")
    fraction: float | None = Field(default=None, gt=0, le=1, description="random, stratified: share of the rows")
    seed: int = Field(default=0, ge=0, description="random, stratified: seed of the draw")
    limit: int | None = Field(default=None, ge=1, description="at most so many rows")

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        if (self.every is None) == (self.select == "stride"):
            raise ValueError(f"`every` goes with `select: stride`; found every: {self.every}, select: {self.select}")
        if self.fraction is not None and self.select not in ("random", "stratified"):
            raise ValueError(f"`fraction` goes with `select: random` or `stratified`; found select: {self.select}")
        if self.select in ("random", "stratified") and self.fraction is None and self.limit is None:
            raise ValueError(f"`select: {self.select}` needs `fraction` or `limit`; found neither")
        return self


class World(Section):
    """A built-in world that writes its own cases."""

    name: Literal["captions"] = Field(description="which world")
    seed: int = Field(ge=0, description="seed of the world's cases")
    train: int = Field(ge=1, description="rows to write for the source split `train`")
    validation: int = Field(ge=1, description="rows to write for the source split `validation`")
    test: int = Field(ge=1, description="rows to write for the source split `test`")


class HubData(Section):
    """A data set on the Hugging Face hub."""

    id: Word = Field(description="repository id, such as stanfordnlp/snli")
    config: str | None = Field(default=None, description="name of the data set's configuration")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="commit of the repository, 40 hexadecimal digits")


class Data(Section):
    """Where rows come from and how the three splits are drawn from them."""

    source: Literal["world", "files", "hub"] = Field(description="a built-in world, files on disk, or the hub")
    path: Word = Field(description="folder of the files; it is hashed, so a changed file is noticed")
    world: World | None = Field(default=None, description="source world: which one")
    files: dict[str, str] | None = Field(
        default=None, description="source files: file (.jsonl .csv .tsv .parquet) per source split"
    )
    hub: HubData | None = Field(default=None, description="source hub: which data set")
    columns: dict[str, str] = Field(description="column of the source for each input field and for `label`")
    labels: dict[str | int, LabelName] | None = Field(
        default=None,
        description="label for each value of the label column, where the source does not use the labels' names",
    )
    unlabelled: list[str | int | None] = Field(
        default=[],
        description="values of the label column that mean: no gold label; such rows are dropped and counted",
    )
    train: Draw = Field(description="the rows that the model learns from")
    validation: Draw = Field(description="the rows that may choose the epoch")
    test: Draw = Field(description="the rows that both models are measured on")
    shared_premises: Literal["drop", "keep"] = Field(
        default="drop",
        description="rows of train and validation whose source input also stands in a later split",
    )

    @model_validator(mode="after")
    def _source_is_there(self) -> Self:
        for kind in ("world", "files", "hub"):
            if (getattr(self, kind) is None) == (self.source == kind):
                state = "missing" if self.source == kind else "given"
                raise ValueError(f"data.source is {self.source}, but data.{kind} is {state}")
        for name, file in (self.files or {}).items():
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise ValueError(f"data.files.{name}: found '{file}', expected a file inside data.path {self.path}")
        return self

    @model_validator(mode="after")
    def _draws_fit(self) -> Self:
        splits = {"train", "validation", "test"} if self.world else set(self.files or {})
        shares: dict[str, float] = {}
        for name, draw in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if self.hub is None and draw.source not in splits:
                raise ValueError(f"data.{name}.source: found '{draw.source}', expected one of {sorted(splits)}")
            shares[draw.source] = shares.get(draw.source, 0) + (draw.fraction or 0)
        for source, share in shares.items():
            if share > 1 + 1e-9:
                raise ValueError(f"data: the fractions drawn from '{source}' add up to {share:g}, expected at most 1")
        both = {str(value) for value in self.labels or {}} & {str(value) for value in self.unlabelled}
        if both:
            raise ValueError(f"data.unlabelled: found {sorted(both)}, which data.labels gives a label")
        return self


class Model(Section):
    """The base model: where it comes from, its layout, how its weights are stored."""

    source: Literal["scratch", "hub", "package", "folder"] = Field(
        description="trained from scratch here, pinned on the hub, shipped inside a Python package, or a local folder"
    )
    id: str | None = Field(default=None, description="hub id, package name or folder path")
    revision: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{40}$", description="hub: commit, 40 hexadecimal digits"
    )
    config: dict[str, Any] | None = Field(
        default=None, description="layout as in config.json; lets a gated model be counted offline"
    )
    head: Literal["lm", "classification"] = Field(
        description="language-model head, or a classification head over the labels"
    )
    head_seed: int = Field(default=0, ge=0, description="classification: seed of the new head's weights")
    quantization: Literal["nf4", "none"] = Field(description="nf4: 4-bit with double quantisation by bitsandbytes")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the computation; auto: bfloat16 where a GPU has it, float32 elsewhere"
    )

    @model_validator(mode="after")
    def _source_fits(self) -> Self:
        if self.source == "scratch" and (self.config is None or self.id is not None):
            raise ValueError("model.source is scratch: expected model.config (the layout) and no model.id")
        if self.source != "scratch" and self.id is None:
            raise ValueError(f"model.source is {self.source}, but model.id is missing")
        if (self.revision is None) == (self.source == "hub"):
            raise ValueError(f"model.revision goes with model.source hub; found {self.revision} and {self.source}")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("model.config.model_type: missing, expected a layout's name such as llama, phi or bert")
        return self


class Pretrain(Section):
    """Training from scratch (model.source scratch): which text, which tokenizer, how long."""

    path: Word = Field(description="file or folder of the text; it is hashed, so a changed file is noticed")
    text: Literal["none", "world", "files"] = Field(
        description="no pretraining, the world's own text, or columns of files"
    )
    world: Literal["captions"] | None = Field(default=None, description="text world: which one")
    columns: list[str] = Field(default=[], description="text files: the columns whose sentences are read")
    documents: int | None = Field(default=None, ge=1, description="at most so many documents (world: exactly)")
    seed: int = Field(default=0, ge=0, description="of the text, the weights and the order")
    vocab_size: int = Field(default=1000, ge=300, description="of the byte-level BPE tokenizer")
    max_tokens: int = Field(default=128, ge=8, description="tokens of one training sequence")
    num_train_epochs: float = Field(default=1.0, gt=0, description="passes over the text")
    per_device_train_batch_size: int = Field(default=32, ge=1, description="sequences of one step")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate; cosine decay")
    warmup_steps: float = Field(default=0.05, ge=0, description="steps that warm up; below 1: their share of all steps")
    weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")

    @model_validator(mode="after")
    def _text_is_there(self) -> Self:
        if (self.world is None) == (self.text == "world"):
            raise ValueError(f"pretrain.world goes with pretrain.text world; found {self.world} and {self.text}")
        if self.text == "world" and self.documents is None:
            raise ValueError("pretrain.documents: missing, expected how many documents the world shall write")
        if (not self.columns) == (self.text == "files"):
            raise ValueError(f"pretrain.columns goes with pretrain.text files; found {self.columns} and {self.text}")
        return self


class Prompt(Section):
    """How a case becomes the model's input, in training and in both evaluations."""

    template: str | None = Field(
        default=None, description="text with {input} names; none: the tokenizer's own (pair) form, for heads"
    )
    choices: dict[LabelName, str] | None = Field(default=None, description="the answer text of each label")
    max_tokens: int | None = Field(default=None, ge=8, description="longest input; none: the model's context")
    too_long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="a longer input stops the run, or loses the end of its longest field and is counted",
    )


class Adapt(Section):
    """Which weights are trained."""

    method: Literal["qlora", "lora", "head", "full"] = Field(
        description="LoRA on NF4 weights, LoRA on plain weights, the new head alone, or every weight"
    )
    r: int | None = Field(default=None, ge=1, description="lora: rank")
    lora_alpha: float | None = Field(default=None, gt=0, description="lora: scale, divided by r")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="lora: dropout of the adapter's input")
    bias: Literal["none"] = Field(default="none", description="lora: biases stay frozen")
    target_modules: LoraTargets | None = Field(default=None, description="lora: names of linear layers, or all-linear")

    @model_validator(mode="after")
    def _lora_keys_fit(self) -> Self:
        uses_lora = self.method in ("qlora", "lora")
        for key in ("r", "lora_alpha", "target_modules"):
            if (getattr(self, key) is None) == uses_lora:
                raise ValueError(
                    f"adapt.{key} goes with adapt.method qlora or lora; found {getattr(self, key)} and {self.method}"
                )
        return self


class Train(Section):
    """The fine-tuning run; names as in transformers.TrainingArguments."""

    learning_rate: float = Field(gt=0, description="peak learning rate")
    num_train_epochs: int = Field(ge=1, description="passes over the training split")
    per_device_train_batch_size: int = Field(ge=1, description="cases of one forward pass")
    gradient_accumulation_steps: int = Field(default=1, ge=1, description="forward passes of one step")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="how the learning rate falls"
    )
    warmup_steps: float = Field(default=0, ge=0, description="steps that warm up; below 1: their share of all steps")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    optim: Literal["adamw_torch", "paged_adamw_8bit", "paged_adamw_32bit"] = Field(
        default="adamw_torch", description="optimizer; the paged ones need a GPU"
    )
    logging_steps: int = Field(default=10, ge=1, description="steps between two lines of the log")
    save_total_limit: int | None = Field(default=None, ge=1, description="keep so many of the per-epoch saves")
    choose_epoch: Literal["last", "best"] = Field(
        default="last",
        description="the model after the last epoch, or after the one with the lowest validation loss",
    )
    seed: int = Field(default=0, ge=0, description="of adapter weights, dropout and order")


class Evaluate(Section):
    """How a model answers a case."""

    scorer: Literal["choices", "generation", "head"] = Field(
        description="most likely choice after the prompt, text generated freely and parsed, or the classification head"
    )
    batch_tokens: int = Field(default=8192, ge=1, description="tokens of one batch; halved where memory runs out")
    max_new_tokens: int = Field(default=8, ge=1, description="generation: longest answer")


class Diff(Section):
    """How the two prediction files are compared."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of every interval")


class Report(Section):
    """What the report shows."""

    title: Word = Field(description="heading of the report")
    cases_per_transition: int = Field(default=5, ge=1, description="example cases of each transition")
