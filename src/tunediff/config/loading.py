"""Load params.yaml: refuse duplicate keys and misread words, report all errors at once.

A recipe is a complete params.yaml; `cp recipes/NAME.yaml params.yaml` uses it. `tunediff.tasks.experiment` adds the
rules between sections.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import ValidationError

from tunediff.config.params import Params
from tunediff.config.section import Section, section_in
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import NOT_TEXT, read_text, shown


def read_params(path: Path, rules: Callable[[Mapping[str, Any]], Iterable[str]]) -> Params:
    """Load and check params.yaml.

    Args:
        path: the file.
        rules: yields a line per contradiction between sections; its argument may be any value.

    Raises:
        TunediffError: one line per key that is missing, misspelt, repeated, of the wrong type or contradicts another.
    """
    values, lines = _load(path)
    if not isinstance(values, dict):
        raise TunediffError(f"{path}: found {shown(values)}, expected sections {', '.join(Params.model_fields)}")
    params = None
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        lines += [f"{path}: {line}" for problem in error.errors() for line in _lines(problem)]
    lines += [f"{path}: {line}" for line in rules(values)]
    if params is None or lines:
        raise TunediffError(*dict.fromkeys(lines))
    return params


_BOOLEAN, _TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"


def _load(path: Path) -> tuple[Any, list[str]]:
    """Return the values of a YAML file, and a line for each word that YAML would misread or drop."""
    text = read_text(path)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, []
        faults = [f"{path}, line {number}: {fault}" for number, fault in _faults(root, "", set())]
        return loader.construct_document(root), faults
    except Exception as error:  # PyYAML does not wrap the errors of its own conversions: ValueError for 2026-02-30
        raise TunediffError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None


def _faults(node: yaml.Node, key: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    """Repeated keys, and bare words that YAML reads as booleans, each with its line number, from 1.

    The words are retagged as the text that was meant, so that the rest of the file can be checked.
    """
    if id(node) in seen:  # an alias may refer to a node that contains it
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[object, int] = {}
        for name, value in node.value:
            inner = f"{key}.{name.value}".removeprefix(".")
            if isinstance(name, yaml.ScalarNode):
                if name.tag == _BOOLEAN:
                    yield _bare_word(name, inner)
                yield from _invalid_characters(name, inner)
                line = name.start_mark.line + 1
                word = name.tag, name.value
                if word in first:
                    yield line, f"{inner}: found twice (first in line {first[word]}), expected once"
                first.setdefault(word, line)
            yield from _faults(value, inner, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _faults(item, f"{key}.{index}", seen)
    elif NOT_TEXT.search(node.value):
        yield from _invalid_characters(node, key)
    elif node.tag == _BOOLEAN and node.value.lower() not in ("true", "false"):
        number, fault = _bare_word(node, key)
        yield number, f"{fault}, or {_reading(node)}"


def _invalid_characters(node: yaml.Node, key: str) -> Iterator[tuple[int, str]]:
    if found := NOT_TEXT.search(node.value):
        yield node.start_mark.line + 1, f"{key}: found the character {found[0]!r}, expected text without it"


def _bare_word(node: yaml.Node, key: str) -> tuple[int, str]:
    node.tag = _TEXT
    found = f"found a bare {node.value}, which YAML reads as {_reading(node)}"
    return node.start_mark.line + 1, f"{key}: {found}, expected '{node.value}' in quotes"


def _reading(node: yaml.Node) -> str:
    return "true" if node.value.lower() in ("yes", "on", "true") else "false"


def _lines(problem: Any) -> list[str]:
    """One pydantic error as lines for the user: key, found, expected."""
    path, found = problem["loc"], shown(problem["input"])
    if path and path[-1] == "[key]":
        path, found = path[:-2], f"the key {found}"
    key = ".".join(str(part) for part in path)
    match problem["type"]:
        case "extra_forbidden" | "invalid_key":
            return [f"{key}: is not a known key{_nearest_key(problem['loc'])}"]
        case "missing":
            return [f"{key}: missing, expected {_description(problem['loc'])}"]
        case "value_error":
            messages = str(problem["ctx"]["error"]).split("\n")
            further = f"also.{path[1]}." if path[0] == "also" else ""
            return [
                f"{further}{line}" if line.startswith(tuple(Params.model_fields)) else f"{key}: {line}"
                for line in messages
            ]
        case "literal_error":
            expected = problem["ctx"]["expected"]
            near = nearest(str(problem["input"]), re.findall(r"'([^']+)'", expected))
            return [f"{key}: found {found}, expected {expected}{near}"]
        case "string_type" if isinstance(problem["input"], bool):
            return [f"{key}: found {found}, expected text in quotes"]
        case _:
            return [f"{key}: found {found}, expected {_expected(problem['msg'])}"]


def _expected(message: str) -> str:
    """What pydantic expects, as a noun.

    >>> _expected("Input should be a valid integer, unable to parse string as an integer")
    'an integer'
    >>> _expected("Input should be less than 1")
    'a number less than 1'
    >>> _expected("List should have at least 1 item after validation, not 0")
    'at least 1 item'
    """
    noun = re.sub(r"^(Input should be|\w+ should have) (a valid )?", "", message)
    noun = re.sub(r"( after validation)?, (unable|got|not) .*$", "", noun)
    noun = re.sub(r"^(greater|less) than", r"a number \g<0>", noun)
    return {"integer": "an integer", "boolean": "true or false"}.get(noun, f"a {noun}" if noun.isalpha() else noun)


def _section_at(loc: tuple[Any, ...]) -> type[Section] | None:
    """The section that holds the key at `loc`."""
    section: type[Section] = Params
    parts = iter(loc[:-1])
    for part in parts:
        field = section.model_fields.get(str(part))
        inner = None if field is None else section_in(field.annotation)
        if inner is None:
            return None
        section = inner
        if field is not None and get_origin(field.annotation) in (dict, list):
            next(parts, None)  # the name or index of the section among several
    return section


def _description(loc: tuple[Any, ...]) -> str:
    section = _section_at(loc)
    field = section.model_fields.get(str(loc[-1])) if section else None
    return (field.description if field else None) or "a section"


def nearest(given: str, names: Iterable[str]) -> str:
    """Return ` (did you mean NAME?)` if a valid name is close to the given one, else an empty string."""
    near = difflib.get_close_matches(given, names, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _nearest_key(loc: tuple[Any, ...]) -> str:
    section = _section_at(loc)
    return nearest(str(loc[-1]), section.model_fields if section else ())
