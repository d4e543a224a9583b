"""Write the model card for the hub, from the metrics.

    card = model_card(contents, setup)    # Setup: the sections of params.yaml
    write_text(Path("reports/model_card.md"), card)

The front matter has a model index (task, data set, metrics with their values), which the hub shows next to the model.
The user chooses the licence. `tunediff publish` replaces `NAME` by the name on the hub.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from tunediff.config.adapt import LORA, Adapt
from tunediff.config.data import Data
from tunediff.config.engine import SERVED
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import BITSANDBYTES, Model
from tunediff.config.model import HEADS as HEAD_KINDS
from tunediff.config.prompt import Prompt
from tunediff.config.tuned import Tuned, loaded_as
from tunediff.report.page import markdown_page, markdown_text
from tunediff.runtime.hashing import content_hash
from tunediff.tasks.task import Task

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

NAME = "NAMESPACE/NAME"


class Head(NamedTuple):
    """How to load a published model with this head: the class of transformers, the pipeline, and a note."""

    kind: str
    pipeline: str
    words: str  # after "adapter"
    names_labels: bool
    note: str


HEADS = {
    "lm": Head(
        "AutoModelForCausalLM",
        "text-generation",
        "",
        False,
        "`params.yaml` holds the prompt (`prompt`) and how answers were scored (`evaluate`).",
    ),
    "classification": Head(
        "AutoModelForSequenceClassification",
        "text-classification",
        " with a classification head",
        True,
        "The head's outputs are, in this order: {labels}.",
    ),
    "span": Head(
        "AutoModelForQuestionAnswering",
        "question-answering",
        " with a span head",
        False,
        "The head predicts where an answer starts and ends. transformers' span models for decoders do not find "
        "these weights; for them,\n`tunediff.models.heads.head_class` gives the class to load with.",
    ),
}
# Keys of metrics/eval_tuned.json that are metrics of the hub, with the hub's id and our name.
METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "exact": ("exact_match", "Exact match"),
    "f1": ("f1", "F1"),
}


class Setup(NamedTuple):
    """The sections of params.yaml that the model card describes, in addition to the task."""

    data: Data
    model: Model
    prompt: Prompt
    evaluate: Evaluate
    adapt: Adapt | None
    tuned: Tuned


def protocol_hash(
    prompt: Prompt, evaluate: Evaluate, case_ids: Sequence[str], windows: bool = False, chat_template: str | None = None
) -> str:
    """Return a hash of the evaluation (template, answers, decoding, scorer, cases), 16 hexadecimal digits.

    Settings that cannot change the answers do not count: names of labels, and lengths if nothing is truncated. Figures
    of models with the same hash can be compared, because they come from the same inputs and settings.

    Args:
        prompt: how a case becomes input.
        evaluate: how the model answers.
        case_ids: ids of the cases, in any order.
        windows: whether long inputs are read in windows, as by a span head.
        chat_template: the hash of the chat template that renders prompt.messages.
    """
    lengths = [prompt.max_tokens] if windows or prompt.too_long == "truncate" else []
    template: Any = prompt.template
    if prompt.messages is not None:
        turns = [[message.role, message.content] for message in prompt.messages]
        template = [turns, prompt.chat_template_kwargs, chat_template]
    read = [template, sorted((prompt.choices or {}).values()), *lengths, *[prompt.doc_stride] * windows]
    generated = (
        {"greedy": True, "max_new_tokens": evaluate.max_new_tokens} | ({"stop": prompt.stop} if prompt.stop else {})
        if evaluate.scoring_method == "generation"
        else None
    )
    return content_hash(
        {"prompt": read, "scorer": evaluate.scoring_method, "decoding": generated, "cases": sorted(case_ids)}
    )


def model_card(contents: Mapping[str, Any], setup: Setup) -> str:
    """Return the model card in the hub's Markdown: front matter, results, and how to load the model.

    Args:
        contents: the result of `page.page_contents` for a pipeline.
        setup: the sections of params.yaml.
    """
    from huggingface_hub import ModelCardData

    model, adapt, task = setup.model, setup.adapt, contents["task"]
    if adapt is not None:
        is_adapter, tags = adapt.method in LORA, [adapt.method] if adapt.method in LORA else []
    else:
        is_adapter, tags = any(row["part"] == "adapter" for row in contents["results"].parameters), []
    on_hub = model.source == "hub"
    front = ModelCardData(
        license="unknown",
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=HEADS[model.head].pipeline,
        base_model=model.id if on_hub else None,
        base_model_relation=("adapter" if is_adapter else "finetune") if on_hub else None,
        datasets=[setup.data.hub.id] if setup.data.hub else None,
        tags=["tunediff", *tags],
        model_name=contents["title"],
        eval_results=list(_results(contents["results"].eval_tuned, task, setup.data)),
        ignore_metadata_errors=False,
    )
    card = {
        "what": _what(setup, is_adapter),
        "served": setup.tuned.source == SERVED,
        "model": model,
        "loading": Markup(loading_code(loaded_as(model, setup.tuned.model_dump()), is_adapter, task.labels)),  # noqa: S704  (code of ours, in a code block)
        "note": Markup(HEADS[model.head].note.format(labels=markdown_text(", ".join(task.labels)))),  # noqa: S704
        "data_name": data_name(setup.data),
        "scorer": setup.evaluate.scoring_method,
        "protocol": protocol_hash(
            setup.prompt,
            setup.evaluate,
            [case["case_id"] for case in contents["results"].cases],
            windows=HEAD_KINDS[model.head].in_windows,
            chat_template=contents["results"].environments.get("predict_base", {}).get("chat_template"),
        ),
    }
    return f"---\n{front.to_yaml()}\n---\n\n{markdown_page({**contents, **card}, 'model_card.md.j2').lstrip()}"


def data_name(data: Data) -> str:
    """Return the name of the data, without any path of this machine."""
    if data.hub:
        return data.hub.id if data.hub.config is None else f"{data.hub.id}, {data.hub.config}"
    return f"{data.synthetic.name}, a synthetic data set" if data.synthetic else PurePath(data.path).name


def loading_code(model: Model, is_adapter: bool, labels: Sequence[str]) -> str:
    """Return Python code that loads the published model and its tokenizer, with `NAME` for its name on the hub."""
    head = HEADS[model.head]
    kind, options = head.kind, ""
    imports, lines = [f"from transformers import {kind}, AutoTokenizer"], []
    if model.quantization in BITSANDBYTES:
        imports[0] += ", BitsAndBytesConfig"
        packed = ", ".join(
            f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
            for key, value in BITSANDBYTES[model.quantization].items()
        )
        lines.append(f"quantization = BitsAndBytesConfig({packed})")
        options = ", quantization_config=quantization"
    if not is_adapter:
        lines.append(f'model = {kind}.from_pretrained("{NAME}"{options})')
        lines.append(f'tokenizer = AutoTokenizer.from_pretrained("{NAME}")')
        return "\n".join([*imports, "", *lines])
    imports.insert(0, "from peft import PeftModel")
    if head.names_labels:  # the base may have other labels, or another number of them
        lines.append(f"labels = {list(labels)}")
        options = (
            ", id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}, "
            f"ignore_mismatched_sizes=True{options}"
        )
    base, adapter = f'"{model.id}", revision="{model.revision}"', f'"{NAME}"'
    if model.source != "hub":
        imports.insert(0, "from huggingface_hub import snapshot_download")
        lines.append(f'folder = snapshot_download("{NAME}")')
        base, adapter = 'f"{folder}/base"', "folder"
    lines.append(f"base = {kind}.from_pretrained({base}{options})")
    lines.append(f"model = PeftModel.from_pretrained(base, {adapter})")
    lines.append(f"tokenizer = AutoTokenizer.from_pretrained({base})")
    return "\n".join([*imports, "", *lines])


def _what(setup: Setup, is_adapter: bool) -> str:
    """A description of the published model, at the beginning of a sentence."""
    model, adapt, tuned = setup.model, setup.adapt, setup.tuned
    base = f"{model.id} at commit {model.revision}" if model.source == "hub" else "a base model included in this one"
    head = HEADS[model.head].words
    if tuned.source == SERVED:
        return f"Not trained here, and available only from a server: {tuned.id}"
    if adapt is None:
        # The name of a folder would be a path of this machine.
        named = f"{tuned.id} at commit {tuned.revision}" if tuned.source == "hub" else "a model trained elsewhere"
        return f"An adapter{head} for {base}: {named}" if is_adapter else f"Not trained here: {named}"
    if is_adapter:
        return f"A LoRA adapter{head} for {base}"
    return f"{'All weights' if adapt.method == 'full' else 'A head'} trained on {base}{head}"


def _results(metrics: Mapping[str, float], task: Task, data: Data) -> Iterator["EvalResult"]:
    """One entry of the model index per metric of the hub."""
    from huggingface_hub import EvalResult

    task_type, task_name = task.hub
    for key, (metric_type, metric_name) in METRICS.items():
        if key in metrics:
            yield EvalResult(
                task_type=task_type,
                task_name=task_name,
                dataset_type=data.hub.id
                if data.hub
                else data.synthetic.name
                if data.synthetic
                else PurePath(data.path).name,
                dataset_name=data_name(data),
                dataset_config=data.hub.config if data.hub else None,
                dataset_split=data.test.source,
                dataset_revision=data.hub.revision if data.hub else None,
                metric_type=metric_type,
                metric_name=metric_name,
                metric_value=metrics[key],
            )
