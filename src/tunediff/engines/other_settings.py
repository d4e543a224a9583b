"""Further evaluation settings: generated text, partial input, another batch size, few-shot prompts.

    frame = ask_cases(engine, cases, case_set, evaluate, "base")
    frame = frame.assign(**other_settings(frame, engine, cases, solved, case_set, evaluate, "base"))

The partial-input prompt is the same template with every other input empty, so both models read the same prompt and
there is no additional text that one of them could know better.
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

# Separates the examples from each other and from the case.
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
    """Return the columns of the evaluation settings in `evaluate`, a value per case.

    Args:
        frame: the result of `ask_cases` for the same arguments, whose answers are reused.
        engine: the engine of the model.
        cases: the cases.
        solved: the examples of few-shot prompts (`drawn_examples`).
        case_set: the prompt, and what is asked about a case.
        evaluate: the settings, and the limits of the answers.
        title: label of the progress bar.

    Returns:
        generated_text; premise_free_log_probs; again_text, again_log_probs; few_shot_log_probs.
    """
    columns: dict[str, list[Any]] = {}
    if "generation" in evaluate.settings:
        generated = case_set.ask.answer == "text"
        columns["generated_text"] = (
            frame["text"].tolist()
            if generated
            else generate_texts(engine, cases, case_set, evaluate, f"{title}, generated text")
        )
    if "partial_input" in evaluate.settings:
        name = case_set.partial_input
        partial = [partial_input(case, name) for case in cases]
        columns["premise_free_log_probs"] = _log_probs(engine, partial, case_set, evaluate, f"{title}, {name} alone")
    if evaluate.noise_batch_tokens is not None:
        rebatched = engine.batched(evaluate.noise_batch_tokens)
        again = ask_cases(rebatched, cases, case_set, evaluate, f"{title}, other batches")
        columns |= answers_of("again", again)
    if evaluate.few_shot:
        columns["few_shot_log_probs"] = few_shot_log_probs(engine, cases, solved, case_set, evaluate, title)
    return columns


def answers_of(setting: str, frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns of raw answers in another evaluation setting, with the setting as prefix."""
    names = [name for name in ("text", "log_probs", "sum_log_probs", "token_log_probs") if name in frame]
    return {f"{setting}_{name}": frame[name].tolist() for name in names}


def few_shot_log_probs(
    engine: Engine, cases: Sequence[Case], solved: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> list[list[float]]:
    """Return the log-probabilities of the choices after a few-shot prompt; arguments as for `other_settings`.

    Raises:
        TunediffError: prompts with the examples are too long.
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
    """The prompt with solved examples before the case: in the template, or as turns after the system message."""
    if prompt.messages is None:
        template = prompt.template or ""
        shown = [_escaped(render(template, inputs) + answer) for inputs, answer in examples]
        return prompt.model_copy(update={"template": BETWEEN.join([*shown, template])})
    system = [message for message in prompt.messages if message.role == "system"]
    question = [message for message in prompt.messages if message.role != "system"]
    turns = []
    for inputs, answer in examples:
        turns += [Message(role=turn.role, content=_escaped(render(turn.content, inputs))) for turn in question]
        turns.append(Message(role="assistant", content=_escaped(answer)))
    return prompt.model_copy(update={"messages": [*system, *turns, *question]})


def _escaped(text: str) -> str:
    """An example as part of a template, with its braces escaped.

    An example is not passed as an input of the case, because long inputs are cut.
    """
    return text.replace("{", f"{{{_BRACE}}}")


def partial_input(case: Case, name: str) -> Case:
    """Return the case with all inputs empty except the named one."""
    return replace(case, inputs={key: text if key == name else "" for key, text in case.inputs.items()})


def drawn_examples(solved: Iterable[Case], labels: Sequence[str], k: int) -> list[Case]:
    """Draw k cases, the labels in turn, and of each label the shortest cases; the earlier case wins ties.

    Short cases are preferred because every prompt contains them and must fit into the model's context.

    Args:
        solved: cases to draw from; iterated over once per label.
        labels: labels of the task.
        k: number of cases to draw.

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
    """The log-probabilities without generated text; they are those of the choices in either case."""
    ask = case_set.ask
    scored = ask.model_copy(update={"answer": "choices"}) if ask.answer == "text" else ask
    frame = ask_cases(engine, cases, case_set.model_copy(update={"ask": scored}), evaluate, title)
    log_probs: list[list[float]] = frame["log_probs"].tolist()
    return log_probs
