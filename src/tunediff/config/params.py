"""params.yaml, read whole and checked whole: contradictions refused, all errors shown at once.

    params = read_params(Path("params.yaml"))
    params.train.learning_rate                 # 0.0005, also where the file says "5e-4"

A recipe is a complete params.yaml; `cp recipes/NAME.yaml params.yaml` uses it. Every stage checks the whole file, so
that a misspelt key of the last stage is found by the first one.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from tunediff.config.adapt import Adapt
from tunediff.config.checks import Checks
from tunediff.config.cost import Cost
from tunediff.config.data import Data
from tunediff.config.diff import Diff
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.pretrain import Pretrain
from tunediff.config.prompt import Prompt
from tunediff.config.report import Report
from tunediff.config.section import Section
from tunediff.config.task import Task
from tunediff.config.train import Train
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import NOT_TEXT, read_text, shown


class Params(Section):
    """The whole of params.yaml."""

    task: Task
    data: Data
    model: Model
    pretrain: Pretrain
    prompt: Prompt
    evaluate: Evaluate
    adapt: Adapt
    train: Train
    diff: Diff
    report: Report
    checks: Checks = Checks()
    cost: Cost = Cost()


def _columns_name_all(name: str, inputs: list[str], columns: dict[str, str]) -> str | None:
    gold = "answers" if name == "question_answering" else "label"
    expected = sorted({*inputs, gold})
    if sorted(columns) == expected:
        return None
    return f"data.columns: found {sorted(columns)}, expected task.inputs and {gold}: {expected}"


def _values_name_all(name: str, labels: list[str], values: dict[str | int, str] | None) -> str | None:
    if values is not None and name == "question_answering":
        return "data.labels: given, but task.name is question_answering, whose labels follow from the answers"
    if values is None or set(values.values()) == set(labels):
        return None
    return f"data.labels: maps to {sorted(set(values.values()))}, but task.labels is {labels}"


def _text_fits_source(source: str, text: str) -> str | None:
    if (source == "scratch") == (text != "none"):
        return None
    return (
        f"pretrain.text is {text}, but model.source is {source}: a model from scratch needs a text, any other has none"
    )


def _head_fits_task(name: str, head: str) -> str | None:
    if head == "lm" or (head == "span") == (name == "question_answering"):
        return None
    return f"model.head is {head}, but task.name is {name}"


def _scoring_fits_head(scorer: str, head: str) -> str | None:
    if (scorer == "head") == (head != "lm"):
        return None
    return f"evaluate.scoring_method is {scorer}, but model.head is {head}"


def _scoring_fits_task(scorer: str, name: str) -> str | None:
    if scorer != "choices" or name != "question_answering":
        return None
    return "evaluate.scoring_method is choices, but task.name is question_answering, whose answers are no choices"


def _settings_fit_head(protocols: list[str], few_shot: int, head: str) -> str | None:
    asked = ["evaluate.settings has generation"] if "generation" in protocols else []
    asked += [f"evaluate.few_shot is {few_shot}"] if few_shot else []
    if head == "lm" or not asked:
        return None
    return f"{' and '.join(asked)}, but model.head is {head}, which neither writes nor reads a text"


def _settings_fit_task(protocols: list[str], few_shot: int, name: str) -> str | None:
    asked = [f"evaluate.settings is {protocols}"] if protocols else []
    asked += [f"evaluate.few_shot is {few_shot}"] if few_shot else []
    if not asked or name != "question_answering":
        return None
    return f"{' and '.join(asked)}, but task.name is question_answering, which is asked in one way alone"


def _settings_fit_inputs(protocols: list[str], inputs: list[str]) -> str | None:
    if "partial_input" not in protocols or len(inputs) > 1:
        return None
    return f"evaluate.settings has partial_input, but task.inputs {inputs} has no other input to leave out"


def _noise_seed_fits_head(noise_seed: int | None, head: str, head_seed: int) -> str | None:
    if noise_seed is None:
        return None
    if head == "lm":
        return f"evaluate.noise_seed is {noise_seed}, but model.head is lm: nothing in the base depends on a seed"
    if noise_seed != head_seed:
        return None
    return (
        f"evaluate.noise_seed is {noise_seed}, and so is model.head_seed: the same head shows no noise; expected "
        "another number"
    )


def _method_fits_head(method: str, head: str) -> str | None:
    if method != "head" or head != "lm":
        return None
    return f"adapt.method is head, but model.head is {head}, which adds no head to train"


def _method_fits_weights(method: str, quantization: str) -> str | None:
    expected = {"qlora": "nf4", "lora": "none", "full": "none"}.get(method, quantization)
    if quantization == expected:
        return None
    return f"adapt.method is {method}, but model.quantization is {quantization}; expected {expected}"


def _sharing_fits_weights(fsdp: dict[str, Any] | None, quantization: str) -> str | None:
    if fsdp is None or quantization == "none":
        return None
    return f"train.fsdp is given, but model.quantization is {quantization}; expected none"


def _choices_fit_head(name: str, head: str, labels: list[str], choices: dict[str, str] | None) -> str | None:
    if head != "lm":
        if choices is None:
            return None
        return f"prompt.choices: given, but model.head is {head}, which answers without a text"
    if name == "question_answering":
        return None if choices is None else "prompt.choices: given, but task.name is question_answering"
    if set(choices or {}) == set(labels):
        return None
    return f"prompt.choices: found {sorted(choices or {})}, expected a text for each of task.labels {labels}"


def _choices_differ(choices: dict[str, str] | None) -> str | None:
    texts = list((choices or {}).values())
    if len({text.strip() for text in texts} - {""}) == len(texts):
        return None
    return f"prompt.choices: found {texts}, expected a text of its own for each label"


def _template_fits(head: str, inputs: list[str], template: str | None) -> str | None:
    if template is None:
        if head != "lm":
            return None
        return "prompt.template: missing, expected a text with the names of task.inputs in braces"
    if head == "span":
        return "prompt.template: given, but model.head is span, which reads question and context side by side"
    used = set(re.findall(r"\{(\w+)\}", template))
    if used == set(inputs):
        return None
    return f"prompt.template: names {sorted(used)}, expected exactly task.inputs {inputs}"


def _stride_fits(head: str, max_tokens: int | None, doc_stride: int) -> str | None:
    if head != "span" or max_tokens is None or doc_stride < max_tokens:
        return None
    return f"prompt.doc_stride: found {doc_stride}, expected less than prompt.max_tokens {max_tokens}"


# Each rule, and the keys whose values it takes: it is judged where these are valid, whatever is wrong elsewhere.
_RULES: dict[Callable[..., str | None], tuple[str, ...]] = {
    _columns_name_all: ("task.name", "task.inputs", "data.columns"),
    _values_name_all: ("task.name", "task.labels", "data.labels"),
    _text_fits_source: ("model.source", "pretrain.text"),
    _head_fits_task: ("task.name", "model.head"),
    _scoring_fits_head: ("evaluate.scoring_method", "model.head"),
    _scoring_fits_task: ("evaluate.scoring_method", "task.name"),
    _settings_fit_head: ("evaluate.settings", "evaluate.few_shot", "model.head"),
    _settings_fit_task: ("evaluate.settings", "evaluate.few_shot", "task.name"),
    _settings_fit_inputs: ("evaluate.settings", "task.inputs"),
    _noise_seed_fits_head: ("evaluate.noise_seed", "model.head", "model.head_seed"),
    _method_fits_head: ("adapt.method", "model.head"),
    _method_fits_weights: ("adapt.method", "model.quantization"),
    _sharing_fits_weights: ("train.fsdp", "model.quantization"),
    _template_fits: ("model.head", "task.inputs", "prompt.template"),
    _choices_fit_head: ("task.name", "model.head", "task.labels", "prompt.choices"),
    _choices_differ: ("prompt.choices",),
    _stride_fits: ("model.head", "prompt.max_tokens", "prompt.doc_stride"),
}


def read_params(path: Path) -> Params:
    """Load and check params.yaml.

    Raises:
        TunediffError: a line for every key that is missing, misspelt, repeated, of the wrong kind or in contradiction.
    """
    values, lines = _load(path)
    if not isinstance(values, dict):
        raise TunediffError(f"{path}: found {shown(values)}, expected sections {', '.join(Params.model_fields)}")
    params = None
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        lines += [f"{path}: {line}" for problem in error.errors() for line in _lines(problem)]
    lines += [f"{path}: {line}" for line in _contradictions(values)]
    if params is None or lines:
        raise TunediffError(*dict.fromkeys(lines))
    return params


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Where sections contradict each other, judged wherever the keys in question are valid by themselves."""
    for rule, keys in _RULES.items():
        try:
            found = [_valid(values, *key.split(".")) for key in keys]
        except (LookupError, ValidationError):
            continue
        if line := rule(*found):
            yield line


def _valid(values: Mapping[str, Any], section: str, key: str) -> Any:
    """The value of a key, or its default; raises where it is missing or wrong."""
    holder, given = _section_at((section, key)), values[section]
    if holder is None or not isinstance(given, dict):
        raise LookupError(section)
    field = holder.model_fields[key]
    if key not in given and not field.is_required():
        return field.get_default()
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind).validate_python(given[key])


# Characters and values of a params.yaml. Those of the recipes have 2,000 and 150.
LARGEST = 200_000
_BOOLEAN, _TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"


def _load(path: Path) -> tuple[Any, list[str]]:
    """The values of a YAML file, and a line for each word of it that YAML would take for another or drop."""
    text = read_text(path)
    if len(text) > LARGEST:
        raise TunediffError(f"{path}: found {len(text):,} characters, expected at most {LARGEST:,}")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, []
        if _grown(root) > LARGEST:
            raise ValueError(f"its aliases make more than {LARGEST:,} values of it")
        faults = [f"{path}, line {number}: {fault}" for number, fault in _faults(root, "", set())]
        return loader.construct_document(root), faults
    except Exception as error:  # PyYAML lets through what its own conversions raise: ValueError for 2026-02-30
        raise TunediffError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None


def _grown(node: yaml.Node, known: dict[int, float] | None = None) -> float:
    """How many values a file holds where each alias is written out; infinite where one stands inside of what it names.

    Nine aliases of nine aliases, nine times over, are nothing in memory, but everything that walks them, as a message
    that shows them does, would never end.
    """
    known = {} if known is None else known
    if id(node) not in known:
        known[id(node)] = math.inf
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
        known[id(node)] = 1 + sum(_grown(part, known) for part in parts)
    return known[id(node)]


def _faults(node: yaml.Node, key: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    """Repeated keys and bare words that YAML takes for truth values, each with the number of its line, from 1.

    The words are marked as text, which they were meant to be, so that the rest of the file can be judged.
    """
    if id(node) in seen:  # an alias may stand inside of what it names
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[object, int] = {}
        for name, value in node.value:
            inner = f"{key}.{name.value}".removeprefix(".")
            if isinstance(name, yaml.ScalarNode):
                if name.tag == _BOOLEAN:
                    yield _bare_word(name, inner)
                yield from _no_text(name, inner)
                line = name.start_mark.line + 1
                word = name.tag, name.value
                if word in first:
                    yield line, f"{inner}: found a second time, first in line {first[word]}, expected once"
                first.setdefault(word, line)
            yield from _faults(value, inner, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _faults(item, f"{key}.{index}", seen)
    elif NOT_TEXT.search(node.value):
        yield from _no_text(node, key)
    elif node.tag == _BOOLEAN and node.value.lower() not in ("true", "false"):
        number, fault = _bare_word(node, key)
        yield number, f"{fault}, or {_reading(node)}"


def _no_text(node: yaml.Node, key: str) -> Iterator[tuple[int, str]]:
    if found := NOT_TEXT.search(node.value):
        yield node.start_mark.line + 1, f"{key}: found the character {found[0]!r}, expected text without it"


def _bare_word(node: yaml.Node, key: str) -> tuple[int, str]:
    node.tag = _TEXT
    found = f"found a bare {node.value}, which YAML reads as {_reading(node)}"
    return node.start_mark.line + 1, f"{key}: {found}, expected '{node.value}' in quotes"


def _reading(node: yaml.Node) -> str:
    return "true" if node.value.lower() in ("yes", "on", "true") else "false"


def _lines(problem: Any) -> list[str]:
    """What a user reads of one pydantic error: key, found, expected."""
    path, found = problem["loc"], shown(problem["input"])
    if path and path[-1] == "[key]":
        path, found = path[:-2], f"the key {found}"
    key = ".".join(str(part) for part in path)
    match problem["type"]:
        case "extra_forbidden" | "invalid_key":
            return [f"{key}: is not a known key{_nearest(problem['loc'])}"]
        case "missing":
            return [f"{key}: missing, expected {_description(problem['loc'])}"]
        case "value_error":
            message = str(problem["ctx"]["error"])
            return [
                line if line.startswith(tuple(Params.model_fields)) else f"{key}: {line}"
                for line in message.split("\n")
            ]
        case "literal_error":
            return [f"{key}: found {found}, expected {problem['ctx']['expected']}{_nearest(problem['loc'], problem)}"]
        case "string_type" if isinstance(problem["input"], bool):
            return [f"{key}: found {found}, expected text in quotes"]
        case _:
            expected = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            return [f"{key}: found {found}, expected {expected[0].lower() + expected[1:]}"]


def _section_at(loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The section that holds the key at `loc`."""
    section: type[BaseModel] = Params
    for part in loc[:-1]:
        field = section.model_fields.get(str(part))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return None
        section = inner[0]
    return section


def _description(loc: tuple[Any, ...]) -> str:
    section = _section_at(loc)
    field = section.model_fields.get(str(loc[-1])) if section else None
    return (field.description if field else None) or "a section"


def _nearest(loc: tuple[Any, ...], problem: Any = None) -> str:
    """` (did you mean NAME?)` where a right name is near the given one."""
    if problem is not None:
        given, names = str(problem["input"]), re.findall(r"'([^']+)'", problem["ctx"]["expected"])
    else:
        section = _section_at(loc)
        given, names = str(loc[-1]), list(section.model_fields) if section else []
    near = difflib.get_close_matches(given, names, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
