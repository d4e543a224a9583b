"""The params.yaml of a new project."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunediff.commands.compare import default_template
from tunediff.commands.flow_yaml import flow
from tunediff.commands.starting_model import Start
from tunediff.data.survey import Survey
from tunediff.inputs.tokens import tokenize
from tunediff.runtime.files import UTF8

# Maximum number of generated tokens, and tokens to spare beyond the longest answer of the table.
MOST_NEW, SPARE = 256, 8


class Goal(NamedTuple):
    """The output of the model, a label or an answer, as values of params.yaml; `lines` belong to the section task."""

    task: str
    lines: list[tuple[str, str]]
    spellings: dict[str, str]
    draw: str
    prompt: dict[str, Any]
    evaluate: dict[str, Any]


def gold_column(args: argparse.Namespace) -> str:
    """Return the column of labels or answers."""
    return str(args.label or args.answer)


def gold_kind(args: argparse.Namespace) -> str:
    """Return "label" or "answer"."""
    return "label" if args.label else "answer"


def params_yaml(
    args: argparse.Namespace, columns: Mapping[str, str], found: Survey, start: Start, encoding: str
) -> str:
    """Return the params.yaml of a project, at most 30 lines, each with a comment."""
    inputs = list(columns)
    # Free text seldom repeats; equal values in the column with the most distinct values indicate related rows.
    source = max(inputs, key=lambda name: len(set(found.texts[columns[name]])))
    partial = min(inputs, key=lambda name: np.mean([len(text) for text in found.texts[columns[name]]] or [0]))
    name = re.sub(r"\W", "_", args.data.name.partition(".")[0]) or "table"
    goal = _for_an_answer(inputs, args, found, start) if args.answer else _for_a_label(inputs, args, found, start)
    draws = {"test": {"select": goal.draw, "fraction": 0.4, "seed": 1}}
    if args.tuned is not None:
        draws = {"test": {"select": "all"}}
    else:
        draws |= {"validation": {"select": goal.draw, "fraction": 0.1, "seed": 1}, "train": {"select": "all"}}
    kind, gold = gold_kind(args), {"answers" if args.answer else "label": gold_column(args)}
    lines = [
        ("task:", "the form of a case; tunediff's docs/params.md explains every key"),
        (f"  name: {goal.task}", f"one or more texts in, one {kind} out"),
        (f"  inputs: {flow(inputs)}", "the texts that a model reads"),
        *goal.lines,
        (f"  source_input: {flow(source)}", "cases with the same text in this input stay in one split"),
        (f"  partial_input: {flow(partial)}", "the only input that a trivial baseline reads"),
        ("data:", "where the cases come from"),
        (f"  files: {flow({name: args.data.name})}", "in data/raw"),
        (f"  columns: {flow({**columns, **gold})}", f"the column of each input, and of the {kind}"),
        *([(f"  labels: {flow(goal.spellings)}", "other spellings of a label")] if goal.spellings else []),
        *([('  unlabelled: [""]', f"rows with this {kind} are dropped and counted")] if found.unlabelled else []),
        *([("  empty: drop", "rows with an empty text are dropped and counted; or keep")] if found.empty else []),
        *([(f"  encoding: {encoding}", "of the file")] if encoding != UTF8 else []),
        *([(f"  group: {flow(args.group)}", "rows with the same value stay in one split")] if args.group else []),
        *((f"  {split}: {flow({'source': name, **draw})}", SPLITS[split]) for split, draw in draws.items()),
        *start.lines,
        (f"prompt: {flow({**goal.prompt, 'too_long': 'truncate'})}", "the text of a case for the model"),
        (f"evaluate: {flow(goal.evaluate)}", "how it answers"),
        (f"report: {flow({'title': f'{gold_column(args)} of {args.data.name}'})}", "the title of the report"),
    ]
    width = min(60, max(len(line) for line, _ in lines))
    return "".join(f"{line:<{width}}  # {comment}\n" for line, comment in lines)


def _for_a_label(inputs: list[str], args: argparse.Namespace, found: Survey, start: Start) -> Goal:
    labels = sorted(found.labels)
    prompt: dict[str, Any] = {"template": "\n".join(f"{{{one}}}" for one in inputs)}
    if start.writes:
        choices = {label: f" {label}" for label in labels}
        prompt = {"template": default_template(inputs, args.label), "choices": choices}
    evaluate: dict[str, Any] = {"scoring_method": "choices" if start.writes else "head"}
    evaluate |= {"settings": ["partial_input"]} if len(inputs) > 1 else {}
    lines = [(f"  labels: {flow(labels)}", "the possible answers")]
    return Goal("classification", lines, found.spellings, "stratified", prompt, evaluate)


def _for_an_answer(inputs: list[str], args: argparse.Namespace, found: Survey, start: Start) -> Goal:
    lengths, unit = text_lengths(found.golds, start.tokenizer)
    if unit != "tokens":  # the tokenizer is not trained yet; it needs at most one token per byte
        lengths = np.array([len(text.encode()) for text in found.golds] or [0])
    grades = [{"by": "exact", "ignore": ["case", "space"]}, "token_f1"]
    lines = [
        ("  labels: [answer]", "free text, no label"),
        (f"  grade: {flow(grades)}", "the first decides what is right, the other measures similarity"),
    ]
    room = min(MOST_NEW, int(lengths.max()) + SPARE)
    prompt = {"template": default_template(inputs, args.answer)}
    return Goal("generation", lines, {}, "random", prompt, {"scoring_method": "generation", "max_new_tokens": room})


SPLITS = {
    "test": "the cases that both models are evaluated on",
    "validation": "the cases for choosing the epoch",
    "train": "the remaining cases, for training",
}


def text_lengths(texts: Sequence[str], tokenizer: Path | None) -> tuple[np.ndarray, str]:
    """Return the lengths of texts, in tokens if there is a tokenizer, else in words."""
    if tokenizer is None:
        return np.array([len(text.split()) for text in texts] or [0]), "words"
    from tunediff.models.load import read_tokenizer

    return np.array([len(part) for part in tokenize(read_tokenizer(tokenizer), texts)] or [0]), "tokens"
