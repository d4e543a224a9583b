"""params.yaml, read whole and checked whole: contradictions refused, all errors shown at once.

    params = read_params(Path("params.yaml"))
    params.train.learning_rate                 # 0.0005, also where the file says "5e-4"

A recipe is a complete params.yaml; `cp recipes/NAME.yaml params.yaml` uses it. Every stage checks the whole file, so
that a misspelt key of the last stage is found by the first one.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from tunediff.errors import TunediffError
from tunediff.files import read_text, shown
from tunediff.sections import Adapt, Data, Diff, Evaluate, Model, Pretrain, Prompt, Report, Section, Task, Train


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

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        problems = [*_data_problems(self), *_model_problems(self), *_prompt_problems(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _data_problems(params: Params) -> list[str]:
    """Where task and data contradict each other: lines that name both keys."""
    task, data, problems = params.task, params.data, []
    columns = {*task.inputs, "label"}
    if set(data.columns) != columns:
        problems.append(
            f"data.columns: found {sorted(data.columns)}, expected task.inputs and label: {sorted(columns)}"
        )
    if data.labels is not None and set(data.labels.values()) != set(task.labels):
        problems.append(f"data.labels: maps to {sorted(set(data.labels.values()))}, but task.labels is {task.labels}")
    return problems


def _model_problems(params: Params) -> list[str]:
    """Where model, pretrain, evaluate and adapt contradict each other."""
    model, scorer, method, problems = params.model, params.evaluate.scorer, params.adapt.method, []
    head = model.head == "classification"
    if (model.source == "scratch") != (params.pretrain.text != "none"):
        problems.append(
            f"pretrain.text is {params.pretrain.text}, but model.source is {model.source}: "
            "a model from scratch needs a text, any other has none"
        )
    if model.source == "scratch" and head:
        problems.append("model.head is classification, but model.source is scratch; expected lm")
    if (scorer == "head") != head:
        problems.append(f"evaluate.scorer is {scorer}, but model.head is {model.head}")
    if method == "head" and not head:
        problems.append(f"adapt.method is head, but model.head is {model.head}, which adds no head to train")
    if method == "qlora" and model.quantization != "nf4":
        problems.append(f"adapt.method is qlora, but model.quantization is {model.quantization}; expected nf4")
    if method in ("lora", "full") and model.quantization != "none":
        problems.append(f"adapt.method is {method}, but model.quantization is {model.quantization}; expected none")
    return problems


def _prompt_problems(params: Params) -> list[str]:
    """Where task, model and prompt contradict each other."""
    task, prompt, problems = params.task, params.prompt, []
    if params.model.head == "classification":
        if prompt.choices is not None:
            problems.append("prompt.choices: given, but model.head is classification, which answers without a text")
    else:
        if prompt.template is None:
            problems.append("prompt.template: missing, expected a text with the names of task.inputs in braces")
        if prompt.choices is None or set(prompt.choices) != set(task.labels):
            found = sorted(prompt.choices or {})
            problems.append(f"prompt.choices: found {found}, expected a text for each of task.labels {task.labels}")
    used = set(re.findall(r"\{(\w+)\}", prompt.template or ""))
    if prompt.template is not None and used != set(task.inputs):
        problems.append(f"prompt.template: names {sorted(used)}, expected exactly task.inputs {task.inputs}")
    texts = list((prompt.choices or {}).values())
    if len({text.strip() for text in texts} - {""}) < len(texts):
        problems.append(f"prompt.choices: found {texts}, expected a text of its own for each label")
    return problems


def read_params(path: Path) -> Params:
    """Load and check params.yaml.

    Raises:
        TunediffError: one line for every key that is missing, misspelt, of the wrong kind or in contradiction.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise TunediffError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise TunediffError(f"{path}: found {shown(values)}, expected sections {', '.join(Params.model_fields)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _lines(problem)]
        raise TunediffError(*(f"{path}: {line}" for line in dict.fromkeys(lines))) from None


def _lines(problem: Any) -> list[str]:
    """What a user reads of one pydantic error: key, found, expected."""
    key = ".".join(str(part) for part in problem["loc"])
    found = shown(problem["input"])
    match problem["type"]:
        case "extra_forbidden":
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
