"""Cases in, one prediction row a case out: the table that the evidence wing compares.

    frame = predict_cases(loaded, cases, task, prompt, evaluate, title="base")   # cases.PREDICTION_COLUMNS

The probabilities of the labels are always there: where the answer is generated freely, the choices are scored too.
Questions are answered in text, by a span head or freely, and their rows have `cases.ANSWER_COLUMNS` besides.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.config.task import UNANSWERABLE, Task
from tunediff.data.cases import INVALID, PREDICTION_COLUMNS, RIGHT, WRONG, Case, outcome
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generation import generate
from tunediff.engines.local.labels import classify
from tunediff.engines.local.spans import find_spans, no_answer_log_probs
from tunediff.inputs.joins import join, stems, unusual_joins
from tunediff.inputs.prompts import Encoded, encode_cases, encode_text
from tunediff.inputs.windows import Document, read_documents
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.models.load import Loaded
from tunediff.runtime.files import ROWS
from tunediff.tasks import question_answering
from tunediff.tasks.classification import parse_answer

if TYPE_CHECKING:
    from torch import Tensor

# An answer's label (of a question: the answer), or None where it names none; its text; why it ended.
Written = tuple[str | None, str, str]


def predict_cases(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> pd.DataFrame:
    """Predictions of a model, one row a case, in the order of the cases; `ROWS` of them are tokens at a time.

    Args:
        loaded: the model and its tokenizer, ready to answer.
        cases: the cases.
        task: names the labels.
        prompt: how a case becomes input.
        evaluate: how the model answers.
        title: what the progress bar says.
    """
    parts = [cases[start : start + ROWS] for start in range(0, max(1, len(cases)), ROWS)]
    frames = [_predict(loaded, part, task, prompt, evaluate, title) for part in parts]
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def _predict(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> pd.DataFrame:
    if task.name == "question_answering":
        ask = _spans if evaluate.scoring_method == "head" else _written_answers
        return _answer_table(cases, evaluate.scoring_method, *ask(loaded, cases, task, prompt, evaluate, title))
    if evaluate.scoring_method == "head":
        encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context)
        log_probs = classify(loaded.model, encoded, loaded.pad, evaluate.batch_tokens, title)
        return _label_table(cases, task.labels, encoded, log_probs, evaluate.scoring_method, None)
    texts = {label: (prompt.choices or {})[label] for label in task.labels}
    longest = max(len(encode_text(loaded.tokenizer, text)) for text in texts.values())
    generating = evaluate.scoring_method == "generation"
    reserved = max(longest, evaluate.max_new_tokens) if generating else longest
    encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context, reserved)
    prompts, answers_of = [one.text for one in encoded], [list(texts.values())] * len(encoded)
    joined = join(loaded.tokenizer, prompts, answers_of, loaded.context)
    if notice := unusual_joins(loaded.tokenizer, prompts, answers_of, joined)[1]:
        print(f"{title}: {notice}")
    rows, choices = [one.prompt for one in joined], [one.answers for one in joined]
    scores = score_choices(loaded.model, rows, choices, evaluate.batch_tokens, title)
    answers = write_answers(loaded, encoded, texts, evaluate, f"{title}, writing") if generating else None
    return _label_table(cases, task.labels, encoded, scores.log_softmax(-1), evaluate.scoring_method, answers, texts)


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
    written = _generate(loaded, encoded, evaluate, title)
    return [(parse_answer(text, texts), text, reason) for text, reason in written]


def _generate(
    loaded: Loaded, encoded: Sequence[Encoded], evaluate: Evaluate, title: str, until: str | None = None
) -> list[tuple[str, str]]:
    """Text behind each prompt, less the blanks at the prompt's end that are written with it, and why it ended."""
    tokens, blanks = zip(*stems(loaded.tokenizer, [one.text for one in encoded]), strict=True)
    limits = evaluate.batch_tokens, evaluate.max_new_tokens
    ending: Any = {} if until is None else {"until": until}
    written = generate(loaded.model, loaded.tokenizer, tokens, *limits, title, **ending)
    return [(text.removeprefix(rest), reason) for (text, reason), rest in zip(written, blanks, strict=True)]


def _spans(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> tuple[list[Document], list[Written], list[list[float] | None]]:
    """What a span head answers: documents, answers and log-probabilities, of each a value a case.

    The text of an answer is the likeliest span, also where it is less likely than that there is no answer.
    """
    documents = read_documents(loaded.tokenizer, cases, prompt, loaded.context)
    found = find_spans(loaded.model, documents, loaded.pad, evaluate.batch_tokens, evaluate.max_answer_tokens, title)
    log_probs = [no_answer_log_probs(one) if UNANSWERABLE in task.labels else None for one in found]
    answers: list[Written] = []
    for case, one, probabilities in zip(cases, found, log_probs, strict=True):
        text = case.inputs["context"][one.spans[0].start : one.spans[0].end] if one.spans else ""
        likelier = probabilities is None or probabilities[0] > probabilities[1]
        answers.append((text if likelier else "", text, "none"))
    return documents, answers, log_probs


def _written_answers(
    loaded: Loaded, cases: Sequence[Case], task: Task, prompt: Prompt, evaluate: Evaluate, title: str
) -> tuple[list[Encoded], list[Written], list[None]]:
    """What a language model writes about each question, to the end of the line: as `_spans`, without probabilities."""
    encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context, evaluate.max_new_tokens)
    written = _generate(loaded, encoded, evaluate, title, until="\n")
    answers = [(question_answering.parse_answer(text, task.labels), text, reason) for text, reason in written]
    return encoded, answers, [None] * len(cases)


def _answer_table(
    cases: Sequence[Case],
    scorer: str,
    encoded: Sequence[Encoded | Document],
    answers: Sequence[Written],
    log_probs: Sequence[list[float] | None],
) -> pd.DataFrame:
    """The prediction rows of questions: an answer is right where it is one of the gold ones, by SQuAD's measure."""
    gold = [[answer.text for answer in case.answers] for case in cases]
    outcomes = [
        INVALID if answer is None else RIGHT if exact_match(texts, answer) else WRONG
        for texts, (answer, _, _) in zip(gold, answers, strict=True)
    ]
    scores = [
        0.0 if answer is None else token_f1(texts, answer) for texts, (answer, _, _) in zip(gold, answers, strict=True)
    ]
    frame = _table(cases, encoded, log_probs, scorer, answers, outcomes)
    return frame.assign(answers=pd.Series(gold, dtype=object), f1=scores)


def _label_table(
    cases: Sequence[Case],
    labels: Sequence[str],
    encoded: Sequence[Encoded],
    log_probs: "Tensor",
    scorer: str,
    answers: Sequence[Written] | None,
    texts: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The prediction rows of labels; without generated `answers`, the most likely label is the prediction."""
    best = [labels[i] for i in log_probs.argmax(-1).tolist()]
    answers = answers or [(label, (texts or {}).get(label, label), "none") for label in best]
    outcomes = [outcome(answer, case.label) for (answer, _, _), case in zip(answers, cases, strict=True)]
    return _table(cases, encoded, log_probs.tolist(), scorer, answers, outcomes)


def _table(
    cases: Sequence[Case],
    encoded: Sequence[Encoded | Document],
    log_probs: Sequence[list[float] | None],
    scorer: str,
    answers: Sequence[Written],
    outcomes: Sequence[str],
) -> pd.DataFrame:
    rows = [
        {
            "case_id": case.case_id,
            "label": case.label,
            "prediction": prediction,
            "outcome": verdict,
            "log_probs": probabilities,
            "text": text,
            "finish_reason": reason,
            "scorer": scorer,
            "prompt_hash": one.prompt_hash,
            "n_tokens": one.n_tokens,
            "truncated": one.truncated,
        }
        for case, one, probabilities, (prediction, text, reason), verdict in zip(
            cases, encoded, log_probs, answers, outcomes, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
