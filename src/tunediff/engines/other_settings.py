"""The other ways to ask a model the same cases: free text, one input alone, another batch size, solved examples.

    frame = predict_cases(loaded, cases, task, prompt, evaluate, "eval_base")
    frame = frame.assign(**other_settings(frame, loaded, cases, task, prompt, evaluate, "eval_base"))

Without the premise means: the same template with every input empty but the partial-input one. It is the same prompt for
both models, and no other text comes in that one of them could know better.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.config.task import Task
from tunediff.data.cases import Case
from tunediff.engines.asking import predict_cases, write_answers
from tunediff.inputs.prompts import encode_cases, render
from tunediff.models.load import Loaded
from tunediff.runtime.errors import TunediffError

# Stands between two examples, and between the last one and the case.
BETWEEN = "\n\n"
_BRACE = "_opening_brace"


def other_settings(
    frame: pd.DataFrame,
    loaded: Loaded,
    cases: Sequence[Case],
    task: Task,
    prompt: Prompt,
    evaluate: Evaluate,
    title: str,
) -> dict[str, list[Any]]:
    """Return the columns of the protocols that `evaluate.settings` asks for, a value a case.

    Args:
        frame: what `predict_cases` returns for the same arguments: answers that are there are not asked for again.
        loaded: the model and its tokenizer.
        cases: the cases.
        task: names of inputs and labels.
        prompt: how a case becomes input.
        evaluate: how the model answers.
        title: what the progress bar says.

    Returns:
        generated, generated_text; premise_free_log_probs: see `tunediff.data.cases.SETTING_COLUMNS`.
    """
    columns: dict[str, list[Any]] = {}
    if "generation" in evaluate.settings:
        if evaluate.scoring_method == "generation":
            labels, texts = _labels(frame), frame["text"].tolist()
        else:
            encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context, evaluate.max_new_tokens)
            written = write_answers(loaded, encoded, prompt.choices or {}, evaluate, f"{title}, free text")
            labels, texts = [label for label, _, _ in written], [text for _, text, _ in written]
        columns |= {"generated": labels, "generated_text": texts}
    if "partial_input" in evaluate.settings:
        alone = [partial_input(case, task) for case in cases]
        columns["premise_free_log_probs"] = _log_probs(
            loaded, alone, task, prompt, evaluate, f"{title}, {task.partial_input} alone"
        )
    return columns


def answered_again(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> list[str | None]:
    """Return the model's predictions with batches of `evaluate.noise_batch_tokens`; arguments as `predict_cases`."""
    other = evaluate.model_copy(update={"batch_tokens": evaluate.noise_batch_tokens})
    return _labels(predict_cases(loaded, cases, task, prompt, other, f"{title}, other batches"))


def few_shot_log_probs(
    loaded: Loaded,
    cases: Sequence[Case],
    solved: Sequence[Case],
    task: Task,
    prompt: Prompt,
    evaluate: Evaluate,
    title: str,
) -> list[list[float]]:
    """Return the log-probabilities of the labels after a prompt that starts with solved examples.

    Args:
        loaded: a language model and its tokenizer.
        cases: the cases to answer.
        solved: the cases that the `evaluate.few_shot` examples are drawn from.
        task: names of inputs and labels.
        prompt: how a case becomes input; the examples are written in the same way.
        evaluate: how the model answers.
        title: what the progress bar says.

    Raises:
        TunediffError: too few cases to draw from, or prompts that are too long with the examples before them.
    """
    examples = [
        f"{render(prompt.template or '', case.inputs)}{(prompt.choices or {})[case.label]}"
        for case in drawn_examples(solved, task.labels, evaluate.few_shot)
    ]
    # An example's own braces must stay text; as an input of the case it would be cut with the case where that is long.
    shown = [text.replace("{", f"{{{_BRACE}}}") for text in examples]
    template = BETWEEN.join([*shown, prompt.template or ""])
    longer = [replace(case, inputs={**case.inputs, _BRACE: "{"}) for case in cases]
    title = f"{title}, {evaluate.few_shot} examples"
    try:
        return _log_probs(loaded, longer, task, prompt.model_copy(update={"template": template}), evaluate, title)
    except TunediffError as error:
        raise TunediffError(f"evaluate.few_shot is {evaluate.few_shot}: {error}") from None


def partial_input(case: Case, task: Task) -> Case:
    """Return the case with every input empty but the partial-input one."""
    return replace(case, inputs={k: text if k == task.partial_input else "" for k, text in case.inputs.items()})


def drawn_examples(solved: Sequence[Case], labels: Sequence[str], k: int) -> list[Case]:
    """Return k cases, the labels in turn, of each label the shortest ones; of equals, the first.

    Short ones, because every prompt carries them and has to fit into the model's context.

    Raises:
        TunediffError: a label has too few cases.
    """
    shortest = sorted(solved, key=lambda case: sum(map(len, case.inputs.values())))
    by_label = {label: iter([case for case in shortest if case.label == label]) for label in labels}
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


def _labels(frame: pd.DataFrame) -> list[str | None]:
    """The predictions; a table may store a missing one as NaN."""
    return [None if pd.isna(answer) else str(answer) for answer in frame["prediction"]]


def _log_probs(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> list[list[float]]:
    """The labels' log-probabilities; free text is not asked for, because they come from the choices anyway."""
    scorer = "head" if evaluate.scoring_method == "head" else "choices"
    scoring = evaluate.model_copy(update={"scorer": scorer})
    log_probs: list[list[float]] = predict_cases(loaded, cases, task, prompt, scoring, title)["log_probs"].tolist()
    return log_probs
