"""Rules between the sections of params.yaml that hold for every task.

A rule reads keys of `Params` and returns a line if they contradict each other. `broken` applies a rule whenever the
keys that it reads are valid by themselves, so contradictions are reported together with invalid keys elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from tunediff.config.engine import SERVED
from tunediff.config.model import HEADS
from tunediff.config.params import Params
from tunediff.config.prompt import RENDERER_ARGUMENTS
from tunediff.config.section import Section, section_in

Rule = Callable[[Params], str | None]


class NotValidError(Exception):
    """A key that a rule reads is missing or invalid, which is reported elsewhere."""


class _CheckedSection:
    """A section whose keys are validated when they are read."""

    def __init__(self, kind: type[Section], values: Any) -> None:
        self._kind, self._values = kind, values

    def __getattr__(self, key: str) -> Any:
        field = self._kind.model_fields[key]
        if not isinstance(self._values, Mapping) or (key not in self._values and field.is_required()):
            raise NotValidError(key)
        if key not in self._values:
            return field.get_default()
        if self._values[key] is None and NoneType in get_args(field.annotation):
            return None
        section = section_in(field.annotation)
        if section is not None and get_origin(field.annotation) not in (dict, list):
            return _CheckedSection(section, self._values[key])
        annotated: Any = Annotated[field.annotation, field]
        try:
            return TypeAdapter(annotated).validate_python(self._values[key])
        except ValidationError:
            raise NotValidError(key) from None


def valid(values: Mapping[str, Any]) -> Params:
    """Wrap the values of a params.yaml so that reading an invalid key raises NotValidError."""
    return cast(Params, _CheckedSection(Params, values))


def broken(rules: Iterable[Rule], params: Params) -> Iterator[str]:
    """Yield a line for each rule that the parameters break; `params` comes from `valid`."""
    for rule in rules:
        try:
            line = rule(params)
        except NotValidError:
            continue
        if line:
            yield line


def _text_fits_source(params: Params) -> str | None:
    source, text = params.model.source, params.pretrain.text
    if (source == "scratch") == (text != "none"):
        return None
    return f"pretrain.text is {text}, but model.source is {source}: only a model from scratch needs a text"


def _fits_tuned_source(key: str, expected: str = "a section") -> Rule:
    """Require what training needs if the model is trained here, and refuse a section that only training reads."""

    def rule(params: Params) -> str | None:
        source, value = params.tuned.source, attrgetter(key)(params)
        if source == "train" and value is None:
            return f"{key}: missing, expected {expected}"
        if source != "train" and value is not None and not key.startswith("data."):
            return f"{key}: given, but tuned.source is {source}: nothing is trained here; expected no {key}"
        return None

    return rule


def _few_shot_fits_rows(params: Params) -> str | None:
    few_shot = params.evaluate.few_shot
    if not few_shot or params.data.validation is not None:
        return None
    return f"evaluate.few_shot is {few_shot}, but data.validation is missing, which the examples are drawn from"


def _head_labels_fit_head(params: Params) -> str | None:
    if params.tuned.head_labels is None or HEADS[params.model.head].scores_labels:
        return None
    return f"tuned.head_labels is given, but model.head is {params.model.head}; expected classification"


def _engine_fits_sources(params: Params) -> str | None:
    kind, base, tuned = params.engine.kind, params.model.source, params.tuned.source
    if kind == SERVED and tuned != SERVED:
        return f"engine.kind is server, but tuned.source is {tuned}; expected server: one server evaluates both models"
    if kind == SERVED and base == "scratch":
        return "engine.kind is server, but model.source is scratch; expected a model that the server has"
    if kind == "local" and SERVED in (base, tuned):
        key = "model" if base == SERVED else "tuned"
        return f"{key}.source is server, but engine.kind is local; expected server"
    return None


def _head_fits_engine(params: Params) -> str | None:
    if params.engine.kind != SERVED or HEADS[params.model.head].writes:
        return None
    return f"engine.kind is server, but model.head is {params.model.head}; expected lm: servers have no other heads"


def _processes_fit_engine(params: Params) -> str | None:
    if params.engine.kind != SERVED or params.evaluate.num_processes == 1:
        return None
    return (
        f"evaluate.num_processes is {params.evaluate.num_processes}, but engine.kind is server; expected 1: one "
        "process sends all requests; engine.num_concurrent sets how many are in flight"
    )


def _processes_fit_device_map(params: Params) -> str | None:
    processes, workers = params.evaluate.num_processes, params.evaluate.workers
    if params.engine.device_map is None or (processes == 1 and workers is None):
        return None
    key, number = ("num_processes", processes) if workers is None else ("workers", workers)
    return (
        f"engine.device_map is auto, but evaluate.{key} is {number}: each process has one GPU; expected one process "
        "for a model that takes all GPUs"
    )


def _served_chat_is_written(params: Params) -> str | None:
    if params.engine.kind != SERVED or params.prompt.messages is None:
        return None
    evaluate = params.evaluate
    scored = [f"evaluate.scoring_method is {evaluate.scoring_method}"] if evaluate.scoring_method == "choices" else []
    scored += ["evaluate.settings has partial_input"] if "partial_input" in evaluate.settings else []
    scored += [f"evaluate.few_shot is {evaluate.few_shot}"] if evaluate.few_shot else []
    if not scored:
        return None
    return (
        f"engine.kind is server and prompt.messages is given, but {' and '.join(scored)}: a server generates answers "
        "to messages but returns no log-probabilities for choices; expected only generation, or prompt.template"
    )


def _scoring_fits_head(params: Params) -> str | None:
    method, head = params.evaluate.scoring_method, params.model.head
    if (method == "head") != HEADS[head].writes:
        return None
    return f"evaluate.scoring_method is {method}, but model.head is {head}"


def _settings_fit_head(params: Params) -> str | None:
    head, few_shot = params.model.head, params.evaluate.few_shot
    given = ["evaluate.settings has generation"] if "generation" in params.evaluate.settings else []
    given += [f"evaluate.few_shot is {few_shot}"] if few_shot else []
    if HEADS[head].writes or not given:
        return None
    return f"{' and '.join(given)}, but model.head is {head}, which neither generates nor scores text"


def _settings_fit_inputs(params: Params) -> str | None:
    if "partial_input" not in params.evaluate.settings or len(params.task.inputs) > 1:
        return None
    return f"evaluate.settings has partial_input, but task.inputs {params.task.inputs} has no other input to omit"


def _noise_seed_fits_head(params: Params) -> str | None:
    noise_seed, head = params.evaluate.noise_seed, params.model.head
    if noise_seed is None:
        return None
    if HEADS[head].writes:
        return f"evaluate.noise_seed is {noise_seed}, but model.head is lm: nothing in the base depends on a seed"
    if noise_seed != params.model.head_seed:
        return None
    return (
        f"evaluate.noise_seed is {noise_seed}, and so is model.head_seed: an identical head shows no noise; expected "
        "another number"
    )


def _method_fits_head(params: Params) -> str | None:
    if params.adapt is None or params.adapt.method != "head" or not HEADS[params.model.head].writes:
        return None
    return "adapt.method is head, but model.head is lm, which adds no head to train"


def _method_fits_weights(params: Params) -> str | None:
    if params.adapt is None:
        return None
    method, quantization = params.adapt.method, params.model.quantization
    expected = {"qlora": "nf4", "lora": "none", "full": "none"}.get(method, quantization)
    if quantization == expected:
        return None
    return f"adapt.method is {method}, but model.quantization is {quantization}; expected {expected}"


def _sharding_fits_weights(params: Params) -> str | None:
    if params.train is None or params.train.fsdp is None or params.model.quantization == "none":
        return None
    return f"train.fsdp is given, but model.quantization is {params.model.quantization}; expected none"


def _template_fits(params: Params) -> str | None:
    head, inputs, template = params.model.head, params.task.inputs, params.prompt.template
    if template is None:
        if not HEADS[head].writes or params.prompt.messages is not None:
            return None
        return "prompt.template: missing, expected a text with the names of task.inputs in braces, or prompt.messages"
    if params.prompt.messages is not None:
        return "prompt.template and prompt.messages are both given, expected only one"
    if HEADS[head].in_windows:
        return "prompt.template: given, but model.head is span, which reads question and context as a pair"
    return _names_fit("prompt.template", [template], inputs)


def _names_fit(key: str, texts: Iterable[str], inputs: Iterable[str]) -> str | None:
    used = {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}
    if used == set(inputs):
        return None
    return f"{key}: names {sorted(used)}, expected exactly task.inputs {inputs}"


def _messages_fit(params: Params) -> str | None:
    messages, head = params.prompt.messages, params.model.head
    if messages is None:
        return None
    if not HEADS[head].writes:
        return f"prompt.messages: given, but model.head is {head}, which generates no turn; expected lm"
    roles = [message.role for message in messages]
    if roles[-1] != "user":
        return (
            f"prompt.messages: found {roles[-1]} as the role of the last message, expected user, whose message "
            "the model answers"
        )
    if "system" in roles[1:]:
        return "prompt.messages: found a system message that is not the first message, expected it first"
    return _names_fit("prompt.messages", [message.content for message in messages], params.task.inputs)


def _chat_choices_fit(params: Params) -> str | None:
    blank = [text for text in (params.prompt.choices or {}).values() if text != text.strip()]
    if params.prompt.messages is None or not blank:
        return None
    return (
        f"prompt.choices: found {blank[0]!r}, with spaces that chat models do not generate at the ends of a turn, "
        f"expected {blank[0].strip()!r}"
    )


def _chat_values_fit(params: Params) -> str | None:
    values = params.prompt.chat_template_kwargs
    if values and params.prompt.messages is None:
        return "prompt.chat_template_kwargs is given, but prompt.messages is missing; expected both or neither"
    reserved = sorted(RENDERER_ARGUMENTS & values.keys())
    if not reserved:
        return None
    return f"prompt.chat_template_kwargs: found {reserved[0]}, which the renderer sets itself, expected other names"


def _choices_fit_head(params: Params) -> str | None:
    if HEADS[params.model.head].writes or params.prompt.choices is None:
        return None
    return f"prompt.choices: given, but model.head is {params.model.head}, which answers without generating text"


def _choices_differ(params: Params) -> str | None:
    texts = list((params.prompt.choices or {}).values())
    if len({text.strip() for text in texts} - {""}) == len(texts):
        return None
    return f"prompt.choices: found {texts}, expected a different text for each label"


def _stride_fits(params: Params) -> str | None:
    longest, stride = params.prompt.max_tokens, params.prompt.doc_stride
    if not HEADS[params.model.head].in_windows or longest is None or stride < longest:
        return None
    return f"prompt.doc_stride: found {stride}, expected less than prompt.max_tokens {longest}"


PROMPT_RULES: tuple[Rule, ...] = (
    _template_fits,
    _messages_fit,
    _chat_choices_fit,
    _chat_values_fit,
    _choices_fit_head,
    _choices_differ,
    _stride_fits,
)
"""Rules for the prompt of every test set."""

RULES: tuple[Rule, ...] = (
    _fits_tuned_source("adapt"),
    _fits_tuned_source("train"),
    _fits_tuned_source("data.train", "the rows that the model learns from"),
    _fits_tuned_source("data.validation", "the rows that may choose the epoch"),
    _few_shot_fits_rows,
    _head_labels_fit_head,
    _text_fits_source,
    _engine_fits_sources,
    _head_fits_engine,
    _processes_fit_engine,
    _processes_fit_device_map,
    _served_chat_is_written,
    _scoring_fits_head,
    _settings_fit_head,
    _settings_fit_inputs,
    _noise_seed_fits_head,
    _method_fits_head,
    _method_fits_weights,
    _sharding_fits_weights,
    *PROMPT_RULES,
)
