"""Cases in, one prediction row a case out: the table that the evidence wing compares.

    frame = predict_cases(loaded, cases, task, prompt, evaluate, title="base")   # cases.PREDICTION_COLUMNS

The probabilities of the labels are always there: where the answer is generated freely, the choices are scored too.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tunediff.cases import PREDICTION_COLUMNS, Case, outcome
from tunediff.models.load import Loaded
from tunediff.predict.choices import score_choices
from tunediff.predict.generation import generate
from tunediff.predict.heads import classify
from tunediff.predict.prompts import Encoded, encode_cases, encode_choices
from tunediff.sections import Evaluate, Prompt, Task
from tunediff.tasks.classification import parse_answer

if TYPE_CHECKING:
    from torch import Tensor

# An answer's label, or None where it names none; its text; why it ended.
Written = tuple[str | None, str, str]


def predict_cases(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> pd.DataFrame:
    """Predictions of a model, one row a case, in the order of the cases.

    Args:
        loaded: the model and its tokenizer, ready to answer.
        cases: the cases.
        task: names the labels.
        prompt: how a case becomes input.
        evaluate: how the model answers.
        title: what the progress bar says.
    """
    if evaluate.scorer == "head":
        encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context)
        log_probs = classify(loaded.model, encoded, loaded.pad, evaluate.batch_tokens, title)
        return _table(cases, task.labels, encoded, log_probs, evaluate.scorer, None)
    texts = {label: (prompt.choices or {})[label] for label in task.labels}
    choices = encode_choices(loaded.tokenizer, texts)
    longest = max(len(choice) for choice in choices.values())
    generating = evaluate.scorer == "generation"
    reserved = max(longest, evaluate.max_new_tokens) if generating else longest
    encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context, reserved)
    prompts = [one.tokens for one in encoded]
    scores = score_choices(loaded.model, prompts, list(choices.values()), evaluate.batch_tokens, title)
    answers = write_answers(loaded, encoded, texts, evaluate, f"{title}, writing") if generating else None
    return _table(cases, task.labels, encoded, scores.log_softmax(-1), evaluate.scorer, answers, texts)


def write_answers(
    loaded: Loaded, encoded: Sequence[Encoded], texts: Mapping[str, str], evaluate: Evaluate, title: str
) -> list[Written]:
    """What the model writes freely about each case: the label that it names or None, the text, why it ended.

    Args:
        loaded: the model and its tokenizer.
        encoded: the cases as the model reads them.
        texts: the answer text of each label.
        evaluate: how the model answers.
        title: what the progress bar says.
    """
    prompts = [one.tokens for one in encoded]
    written = generate(loaded.model, loaded.tokenizer, prompts, evaluate.batch_tokens, evaluate.max_new_tokens, title)
    return [(parse_answer(text, texts), text, reason) for text, reason in written]


def _table(
    cases: Sequence[Case],
    labels: Sequence[str],
    encoded: Sequence[Encoded],
    log_probs: "Tensor",
    scorer: str,
    answers: Sequence[Written] | None,
    texts: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The prediction rows; without generated `answers`, the most likely label is the prediction."""
    best = [labels[i] for i in log_probs.argmax(-1).tolist()]
    answers = answers or [(label, (texts or {}).get(label, label), "none") for label in best]
    rows = [
        {
            "case_id": case.case_id,
            "label": case.label,
            "prediction": prediction,
            "outcome": outcome(prediction, case.label),
            "log_probs": probabilities,
            "text": text,
            "finish_reason": reason,
            "scorer": scorer,
            "prompt_hash": one.prompt_hash,
            "n_tokens": len(one.tokens),
            "truncated": one.truncated,
        }
        for case, one, probabilities, (prediction, text, reason) in zip(
            cases, encoded, log_probs.tolist(), answers, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
