"""The other ways to ask a model the same cases: free text, one input alone, another batch size, solved examples.

    frame = ask_cases(engine, cases, case_set, evaluate, "base")
    frame = frame.assign(**other_settings(frame, engine, cases, solved, case_set, evaluate, "base"))

One input alone means: the same template with every other input empty. It is the same prompt for both models, and no
other text comes in that one of them could know better.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any

import pandas as pd

from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Message, Prompt
from tunediff.data.cases import Case
from tunediff.engines.asking import ask_cases, generate_texts
from tunediff.engines.engine import Engine
from tunediff.inputs.prompts import render
from tunediff.inputs.settings import CaseSet
from tunediff.runtime.errors import TunediffError

# Stands between two examples, and between the last one and the case.
BETWEEN = "\n\n"
_BRACE = "_opening_brace"


def other_settings(
    frame: pd.DataFrame,
    engine: Engine,
    cases: Sequence[Case],
    solved: Sequence[Case],
    case_set: CaseSet,
    evaluate: Evaluate,
    title: str,
) -> dict[str, list[Any]]:
    """The columns of the settings that `evaluate` asks for, a value per case.

    Args:
        frame: what `ask_cases` returns for the same arguments: answers that are there are not asked for again.
        engine: answers with the model.
        cases: the cases.
        solved: the examples of few-shot prompts (`drawn_examples`).
        case_set: how a case becomes a prompt, and what is asked about it.
        evaluate: the settings, and how long an answer may be.
        title: what the progress bar says.

    Returns:
        generated_text; premise_free_log_probs; again_text, again_log_probs; few_shot_log_probs.
    """
    columns: dict[str, list[Any]] = {}
    if "generation" in evaluate.settings:
        written = case_set.ask.answer == "text"
        columns["generated_text"] = (
            frame["text"].tolist()
            if written
            else generate_texts(engine, cases, case_set, evaluate, f"{title}, free text")
        )
    if "partial_input" in evaluate.settings:
        name = case_set.partial_input
        alone = [partial_input(case, name) for case in cases]
        columns["premise_free_log_probs"] = _log_probs(engine, alone, case_set, evaluate, f"{title}, {name} alone")
    if evaluate.noise_batch_tokens is not None:
        other = engine.batched(evaluate.noise_batch_tokens)
        again = ask_cases(other, cases, case_set, evaluate, f"{title}, other batches")
        columns |= answers_of("again", again)
    if evaluate.few_shot:
        columns["few_shot_log_probs"] = few_shot_log_probs(engine, cases, solved, case_set, evaluate, title)
    return columns


def answers_of(setting: str, frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The columns that raw answers in another setting add to those of the first one."""
    names = [name for name in ("text", "log_probs", "sum_log_probs", "token_log_probs") if name in frame]
    return {f"{setting}_{name}": frame[name].tolist() for name in names}


def few_shot_log_probs(
    engine: Engine, cases: Sequence[Case], solved: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> list[list[float]]:
    """The log-probabilities of the choices after a prompt that starts with solved examples.

    The examples are written as the cases are; arguments as `other_settings`.

    Raises:
        TunediffError: prompts are too long with the examples before them.
    """
    choices = case_set.ask.choices
    examples = [(case.inputs, choices[case.label]) for case in solved]
    longer = [replace(case, inputs={**case.inputs, _BRACE: "{"}) for case in cases]
    changed = case_set.model_copy(update={"prompt": _with_examples(case_set.prompt, examples)})
    try:
        return _log_probs(engine, longer, changed, evaluate, f"{title}, {evaluate.few_shot} examples")
    except TunediffError as error:
        raise TunediffError(f"evaluate.few_shot is {evaluate.few_shot}: {error}") from None


def _with_examples(prompt: Prompt, examples: Sequence[tuple[Mapping[str, str], str]]) -> Prompt:
    """The prompt with solved examples before the case: in the template, or as turns behind the system's."""
    if prompt.messages is None:
        template = prompt.template or ""
        shown = [_kept(render(template, inputs) + answer) for inputs, answer in examples]
        return prompt.model_copy(update={"template": BETWEEN.join([*shown, template])})
    system = [message for message in prompt.messages if message.role == "system"]
    asked = [message for message in prompt.messages if message.role != "system"]
    turns = []
    for inputs, answer in examples:
        turns += [Message(role=one.role, content=_kept(render(one.content, inputs))) for one in asked]
        turns.append(Message(role="assistant", content=_kept(answer)))
    return prompt.model_copy(update={"messages": [*system, *turns, *asked]})


def _kept(text: str) -> str:
    """An example as a part of a template: its own braces stay text.

    As an input of the case it would be cut with the case where that is long.
    """
    return text.replace("{", f"{{{_BRACE}}}")


def partial_input(case: Case, name: str) -> Case:
    """The case with every input empty but one."""
    return replace(case, inputs={key: text if key == name else "" for key, text in case.inputs.items()})


def drawn_examples(solved: Iterable[Case], labels: Sequence[str], k: int) -> list[Case]:
    """K cases, the labels in turn, of each label the shortest ones; of equals, the first.

    Short ones, because every prompt carries them and has to fit into the model's context.

    Args:
        solved: cases to draw from; gone through once per label.
        labels: of the task.
        k: how many to draw.

    Raises:
        TunediffError: a label has too few cases.
    """

    def length(case: Case) -> int:
        return sum(map(len, case.inputs.values()))

    by_label = {
        label: iter(nsmallest(k, (case for case in solved if case.label == label), key=length)) for label in labels[:k]
    }
    drawn = []
    for number in range(k):
        label = labels[number % len(labels)]
        case = next(by_label[label], None)
        if case is None:
            raise TunediffError(
                f"params.yaml: evaluate.few_shot: found too few validation cases labelled {label}, expected at least "
                f"{number // len(labels) + 1} for {k} examples"
            )
        drawn.append(case)
    return drawn


def _log_probs(
    engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> list[list[float]]:
    """The log-probabilities alone; free text is not asked for, because they come from the choices anyway."""
    ask = case_set.ask
    scored = ask.model_copy(update={"answer": "choices"}) if ask.answer == "text" else ask
    frame = ask_cases(engine, cases, case_set.model_copy(update={"ask": scored}), evaluate, title)
    log_probs: list[list[float]] = frame["log_probs"].tolist()
    return log_probs
