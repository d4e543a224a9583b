"""The sections of params.yaml: a sentence per key, and the rules that hold within one section.

    Train(learning_rate="5e-4", num_train_epochs=3, per_device_train_batch_size=16).learning_rate   # 0.0005

Keys that an upstream library knows carry that library's name (`lora_alpha`, `learning_rate`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

# A task, and its labels.
QUESTION_ANSWERING = "question_answering"
ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"

# Names that stand beside the inputs in a record of a case.
RESERVED = frozenset(
    ["case_id", "label", "tags", "answers", "prediction", "transition", "slices", "evidence", "clauses", "explanation"]
    + [f"{model}_{value}" for model in ("base", "tuned") for value in ("prediction", "log_probs", "margin", "f1")]
)


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):  # which pydantic would take for 0 or 1
        raise PydanticCustomError("expected", "number")
    return value


def _expected(what: LiteralString) -> WrapValidator:
    """What a union expects, in one phrase: pydantic would tell of each of its types by itself."""

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> object:
        if not isinstance(value, bool):
            try:
                return validate(value)
            except ValidationError:
                pass
        raise PydanticCustomError("expected", what)

    return WrapValidator(check)


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth_value)]
# NumPy and transformers take no other seeds.
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
Word = Annotated[str, Field(min_length=1)]
SourceValue = Annotated[str | int, _expected("text in quotes or whole number")]
LoraTargets = Annotated[
    Annotated[list[Word], Field(min_length=1)] | Literal["all-linear"],
    _expected("list of names of linear layers, or all-linear"),
]
# A label may be written as a bare word that YAML reads as a number.
LabelName = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) and not isinstance(v, bool) else v)]


class Section(BaseModel):
    """One section of params.yaml: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if lines := list(self._contradictions()):
            raise ValueError("\n".join(lines))
        return self

    def _contradictions(self) -> Iterator[str]:
        """A line for each contradiction between keys that are valid by themselves."""
        yield from ()


class Task(Section):
    """What a case is: its input fields and its labels."""

    name: Literal["nli", "classification", "question_answering"] = Field(description="which task the cases belong to")
    inputs: list[Word] = Field(
        min_length=1,
        description="names of a case's input fields, in reading order; question_answering: [question, context]",
    )
    labels: list[LabelName] = Field(
        min_length=1,
        description="the labels, in the order of their scores; question_answering: [answerable], or "
        "[answerable, unanswerable] where a question may have no answer",
    )
    source_input: Word = Field(description="the input whose text cases share (SNLI: premise); splits never share one")
    premise_free_input: Word = Field(description="the input that the premise-free baseline reads alone")

    def _contradictions(self) -> Iterator[str]:
        for key, values in (("inputs", self.inputs), ("labels", self.labels)):
            if len(set(values)) < len(values):
                yield f"task.{key}: found {values}, expected no name twice"
        for name in [name for name in self.inputs if name in RESERVED]:
            yield f"task.inputs: found '{name}', which names another field of a case, expected another name"
        if self.name == "question_answering":
            if self.inputs != ["question", "context"]:
                yield f"task.inputs: found {self.inputs}, expected [question, context] for question_answering"
            if self.labels not in ([ANSWERABLE], [ANSWERABLE, UNANSWERABLE]):
                yield (
                    f"task.labels: found {self.labels}, expected [answerable] or [answerable, unanswerable] for "
                    "question_answering"
                )
        elif len(self.labels) < 2:
            yield f"task.labels: found {self.labels}, expected at least two labels"
        if "invalid" in self.labels:
            yield "task.labels: found 'invalid', which names an answer without a label, expected another name"
        for key in ("source_input", "premise_free_input"):
            if getattr(self, key) not in self.inputs:
                yield f"task.{key}: found '{getattr(self, key)}', expected one of task.inputs {self.inputs}"


class Draw(Section):
    """How one split is drawn from the rows of a source split."""

    source: Word = Field(description="the source split that the rows come from")
    select: Literal["all", "stride", "random", "stratified"] = Field(
        default="all",
        description="every row; every k-th row; rows drawn at random; rows drawn at random within each label",
    )
    every: Whole | None = Field(default=None, ge=1, description="stride: take rows 0, every, 2 * every, ...")
    fraction: Number | None = Field(default=None, gt=0, le=1, description="random, stratified: share of the rows")
    seed: Seed = Field(default=0, description="random, stratified: seed of the draw")
    limit: Whole | None = Field(default=None, ge=1, description="at most so many rows")

    def _contradictions(self) -> Iterator[str]:
        if (self.every is None) == (self.select == "stride"):
            yield f"`every` goes with `select: stride`; found every: {self.every}, select: {self.select}"
        if self.fraction is not None and self.select not in ("random", "stratified"):
            yield f"`fraction` goes with `select: random` or `stratified`; found select: {self.select}"
        if self.select in ("random", "stratified") and self.fraction is None and self.limit is None:
            yield f"`select: {self.select}` needs `fraction` or `limit`; found neither"


class World(Section):
    """A built-in world that writes its own cases."""

    name: Literal["captions", "reviews", "questions"] = Field(
        description="pairs of captions (nli), film reviews (classification), reports and questions (question_answering)"
    )
    seed: Seed = Field(description="seed of the world's cases")
    train: Whole = Field(ge=1, description="rows to write for the source split `train`")
    validation: Whole = Field(ge=1, description="rows to write for the source split `validation`")
    test: Whole = Field(ge=1, description="rows to write for the source split `test`")


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
        default=None, description="source files: file (.jsonl .csv .tsv .parquet, SQuAD's .json) per source split"
    )
    hub: HubData | None = Field(default=None, description="source hub: which data set")
    columns: dict[str, str] = Field(
        description="column of the source for each input field and for `label` (question_answering: `answers`)"
    )
    labels: dict[SourceValue, LabelName] | None = Field(
        default=None,
        description="label for each value of the label column, where the source does not use the labels' names",
    )
    unlabelled: list[SourceValue | None] = Field(
        default=[],
        description="values of the label column that mean: no gold label; such rows are dropped and counted",
    )
    train: Draw = Field(description="the rows that the model learns from")
    validation: Draw = Field(description="the rows that may choose the epoch")
    test: Draw = Field(description="the rows that both models are measured on")
    group: Word | None = Field(
        default=None,
        description="column whose rows stay together: a random or stratified draw takes whole groups, and no group "
        "stands in two splits",
    )
    shared_premises: Literal["drop", "keep"] = Field(
        default="drop",
        description="rows of train and validation whose source input also stands in a later split",
    )

    def _contradictions(self) -> Iterator[str]:
        sources = list(self._source_contradictions())
        # Without the right source nothing is known of its splits.
        yield from sources or self._draw_contradictions()
        both = {str(value) for value in self.labels or {}} & {str(value) for value in self.unlabelled}
        if both:
            yield f"data.unlabelled: found {sorted(both)}, which data.labels gives a label"

    def _source_contradictions(self) -> Iterator[str]:
        for kind in ("world", "files", "hub"):
            if (getattr(self, kind) is None) == (self.source == kind):
                state = "missing" if self.source == kind else "given"
                yield f"data.source is {self.source}, but data.{kind} is {state}"
        for name, file in (self.files or {}).items():
            if Path(file).is_absolute() or ".." in Path(file).parts:
                yield f"data.files.{name}: found '{file}', expected a file inside data.path {self.path}"

    def _draw_contradictions(self) -> Iterator[str]:
        splits = {"train", "validation", "test"} if self.world else set(self.files or {})
        shares: dict[str, float] = {}
        for name, draw in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if self.hub is None and draw.source not in splits:
                yield f"data.{name}.source: found '{draw.source}', expected one of {sorted(splits)}"
            shares[draw.source] = shares.get(draw.source, 0) + (draw.fraction or 0)
        for source, share in shares.items():
            if share > 1 + 1e-9:
                yield f"data: the fractions drawn from '{source}' add up to {share:g}, expected at most 1"


class Base(Section):
    """Where the base model comes from, and its layout: all of it that the stage base_model reads."""

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
        description="language-model head, a classification head over the labels, or a span head: where an answer "
        "starts and ends in its context"
    )
    head_seed: Seed = Field(default=0, description="classification, span: seed of the new head's weights")
    pooling: Literal["own", "mean"] = Field(
        default="own",
        description="classification: an encoder's head reads what the layout gives it (first token or pooler), or the "
        "mean of all tokens, as sentence encoders were trained to be read; transformers by itself reads the first",
    )
    quantization: Literal["nf4", "none"] = Field(description="nf4: 4-bit with double quantisation by bitsandbytes")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="of the computation; auto: bfloat16 on a GPU that has it, float16 on others, float32 on the CPU",
    )

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()
        if self.pooling == "mean" and self.head != "classification":
            yield f"model.pooling is mean, but model.head is {self.head}; expected classification"


class TextFiles(Section):
    """The files of a text, where `pretrain.path` is their folder."""

    train: Word = Field(description="file that the model learns from")
    validation: Word | None = Field(
        default=None, description="file that it is validated on; none: part of the documents is held out"
    )


class Tokenizer(Section):
    """A tokenizer that others made."""

    source: Literal["hub", "folder"] = Field(description="pinned on the hub, or a local folder")
    id: Word = Field(description="hub id or folder path")
    revision: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{40}$", description="hub: commit, 40 hexadecimal digits"
    )

    def _contradictions(self) -> Iterator[str]:
        if (self.revision is None) == (self.source == "hub"):
            yield f"pretrain.tokenizer.revision goes with source hub; found {self.revision} and {self.source}"


class Pretrain(Section):
    """Training from scratch (model.source scratch): which text, which tokenizer, how long.

    A decoder learns to continue the text, an encoder to fill masks; one with BERT's head also which text comes next.
    """

    path: Word = Field(description="file of the text, or the folder of its files; hashed, so a change is noticed")
    text: Literal["none", "world", "columns", "wikitext", "plain"] = Field(
        description="no pretraining, the world's own text, columns of a file of rows, WikiText's articles, or plain "
        "text with empty lines between documents"
    )
    world: Literal["captions"] | None = Field(default=None, description="text world: which one")
    columns: list[str] = Field(default=[], description="text columns: those whose sentences are read")
    files: TextFiles | None = Field(default=None, description="which files of the folder `pretrain.path`")
    hub: HubData | None = Field(
        default=None, description="text wikitext: the data set that it is taken from, with splits train and validation"
    )
    documents: Whole | None = Field(
        default=None, ge=1, description="at most so many documents to learn from (world: exactly)"
    )
    held_out: Number = Field(
        default=0.01, gt=0, le=0.5, description="share of documents to validate on, where no file or split is for it"
    )
    seed: Seed = Field(default=0, description="of the documents held out, the weights, the order, pairs and masks")
    tokenizer: Tokenizer | None = Field(default=None, description="one that others made; none: trained on the text")
    vocab_size: Whole = Field(
        default=1000, ge=300, description="of a tokenizer trained here: byte-level BPE, or uncased WordPiece (encoder)"
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
    warmup_steps: Number = Field(
        default=0.05, ge=0, description="steps that warm up; below 1: their share of all steps"
    )
    weight_decay: Number = Field(default=0.01, ge=0, description="of AdamW")

    def _contradictions(self) -> Iterator[str]:
        if (self.world is None) == (self.text == "world"):
            yield f"pretrain.world goes with pretrain.text world; found {self.world} and {self.text}"
        if self.text == "world" and self.documents is None:
            yield "pretrain.documents: missing, expected how many documents the world shall write"
        if (not self.columns) == (self.text == "columns"):
            yield f"pretrain.columns goes with pretrain.text columns; found {self.columns} and {self.text}"
        if self.files is not None and self.text in ("none", "world"):
            yield f"pretrain.files: given, but pretrain.text is {self.text}, which reads no file"
        if self.hub is not None and self.text != "wikitext":
            yield f"pretrain.hub goes with pretrain.text wikitext; found {self.text}"
        if self.hub is not None and self.files is not None:
            yield "pretrain.hub and pretrain.files: found both, expected one of them"
        for name, file in (self.files.model_dump() if self.files else {}).items():
            if file and (Path(file).is_absolute() or ".." in Path(file).parts):
                yield f"pretrain.files.{name}: found '{file}', expected a file inside pretrain.path {self.path}"


class Prompt(Section):
    """How a case becomes the model's input, in training and in both evaluations."""

    template: str | None = Field(
        default=None, description="text with {input} names; none: the tokenizer's own (pair) form, for heads"
    )
    choices: dict[LabelName, str] | None = Field(default=None, description="the answer text of each label")
    max_tokens: Whole | None = Field(default=None, ge=8, description="longest input; none: the model's context")
    too_long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="a longer input stops the run, or loses the end of its longest field and is counted; a span head "
        "reads a longer context in windows, so this is of its questions alone",
    )
    doc_stride: Whole = Field(
        default=128, ge=0, description="span: tokens of a long context that a window has in common with the one before"
    )


class Adapt(Section):
    """Which weights are trained."""

    method: Literal["qlora", "lora", "head", "full"] = Field(
        description="LoRA on NF4 weights, LoRA on plain weights, the new head alone, or every weight"
    )
    r: Whole | None = Field(default=None, ge=1, description="lora: rank")
    lora_alpha: Number | None = Field(default=None, gt=0, description="lora: scale, divided by r")
    lora_dropout: Number = Field(default=0.0, ge=0, lt=1, description="lora: dropout of the adapter's input")
    target_modules: LoraTargets | None = Field(default=None, description="lora: names of linear layers, or all-linear")

    def _contradictions(self) -> Iterator[str]:
        uses_lora = self.method in ("qlora", "lora")
        for key in ("r", "lora_alpha", "target_modules"):
            if (getattr(self, key) is None) == uses_lora:
                yield (
                    f"adapt.{key} goes with adapt.method qlora or lora; found {getattr(self, key)} and {self.method}"
                )


class Train(Section):
    """The fine-tuning run; names as in transformers.TrainingArguments."""

    learning_rate: Number = Field(gt=0, description="peak learning rate")
    num_train_epochs: Whole = Field(ge=1, description="passes over the training split")
    per_device_train_batch_size: Whole = Field(ge=1, description="cases of one forward pass")
    gradient_accumulation_steps: Whole = Field(default=1, ge=1, description="forward passes of one step")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="how the learning rate falls"
    )
    warmup_steps: Number = Field(default=0, ge=0, description="steps that warm up; below 1: their share of all steps")
    weight_decay: Number = Field(default=0.0, ge=0, description="of AdamW")
    adam_beta2: Number = Field(
        default=0.999, gt=0, lt=1, description="of AdamW: how long squared gradients are remembered"
    )
    max_grad_norm: Number = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    optim: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "paged_adamw_32bit"] = Field(
        default="adamw_torch", description="optimizer; the paged ones need a GPU"
    )
    logging_steps: Whole = Field(default=10, ge=1, description="steps between two lines of the log")
    save_total_limit: Whole | None = Field(default=None, ge=1, description="keep so many of the per-epoch saves")
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        default="random", description="order of the cases: by chance, or such that a batch holds cases of like length"
    )
    prompt_loss_weight: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight of a prompt's tokens in the loss of a language model; an answer's: 1",
    )
    disable_dropout: bool = Field(default=False, description="train without the base's own dropout")
    num_processes: Whole = Field(
        default=1, ge=1, description="processes, one a GPU, of all hosts; a step learns from the batches of all"
    )
    fsdp: dict[str, Any] | None = Field(
        default=None, description="fsdp_config of transformers: weights are shared out over the processes; none: copied"
    )
    choose_epoch: Literal["last", "best"] = Field(
        default="last",
        description="the model after the last epoch, or after the one with the lowest validation loss",
    )
    seed: Seed = Field(default=0, description="of adapter weights, dropout and order")

    def _contradictions(self) -> Iterator[str]:
        if self.fsdp is not None and self.num_processes == 1:
            yield "train.fsdp goes with train.num_processes above 1; found 1"


class Evaluate(Section):
    """How a model answers a case."""

    scorer: Literal["choices", "generation", "head"] = Field(
        description="most likely choice after the prompt, text generated freely and parsed, or the model's new head"
    )
    batch_tokens: Whole = Field(default=8192, ge=1, description="tokens of one batch; halved where memory runs out")
    num_processes: Whole = Field(
        default=1, ge=1, description="processes, one a GPU, of all hosts; they share the cases"
    )
    max_new_tokens: Whole = Field(default=8, ge=1, description="generation: longest answer")
    max_answer_tokens: Whole = Field(default=30, ge=1, description="span: longest answer")
    protocols: list[Literal["generation", "premise_free"]] = Field(
        default=[],
        description="ways to ask beside the scorer: free text, and without all inputs but the premise-free one",
    )
    noise_batch_tokens: Whole | None = Field(
        default=None, ge=1, description="tokens of a batch when the base model answers again; none: it does not"
    )
    noise_seed: Seed | None = Field(
        default=None, description="seed of another new head that the base model answers with too; none: it does not"
    )
    metrics: list[Word] = Field(
        default=[],
        description="modules that `evaluate.load` finds: folders, or names on the hub; their code runs here, their "
        "numbers stand beside the metrics as evaluate_NAME_KEY",
    )
    few_shot: Whole = Field(
        default=0, ge=0, description="solved validation cases before the prompt of a cheap baseline; 0: no baseline"
    )

    def _contradictions(self) -> Iterator[str]:
        if len(set(self.protocols)) < len(self.protocols):
            yield f"evaluate.protocols: found {self.protocols}, expected no name twice"
        if len(set(self.metrics)) < len(self.metrics):
            yield f"evaluate.metrics: found {self.metrics}, expected no name twice"
        if self.noise_batch_tokens == self.batch_tokens:
            yield (
                f"evaluate.noise_batch_tokens is {self.noise_batch_tokens}, and so is evaluate.batch_tokens: "
                "the same batches show no noise; expected another number"
            )


class Diff(Section):
    """How the two prediction files are compared."""

    confidence: Number = Field(default=0.95, gt=0.5, lt=1, description="of every interval")
    slice_min_cases: Whole = Field(default=20, ge=1, description="a slice of fewer test cases is not compared")
    causes_limit: Whole = Field(
        default=200, ge=0, description="flips that are explained, repaired and broken in turn, the clearest first"
    )


class Report(Section):
    """What the report shows."""

    title: Word = Field(description="heading of the report")
    cases_per_transition: Whole = Field(default=5, ge=1, description="example cases of each transition")


class Cost(Section):
    """What the machine costs that the stages run on."""

    price_per_hour: Number | None = Field(default=None, ge=0, description="of the whole machine, its GPUs included")
    currency: Word = Field(default="USD", description="of the price")
