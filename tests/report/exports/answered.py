"""Answers of a model to a few cases, made up."""

import math

import pandas as pd

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Answer, make_cases
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet
from tunediff.report.exports.set_answers import SetAnswers

LABELS = ["entailment", "neutral", "contradiction"]
CHOICES = dict(zip(LABELS, (" yes", " maybe", " no"), strict=True))
TEXTS = [f"Text {number} with a | and a \u2028 in it." for number in range(6)]


def set_answers(model, case_set, cases, rows, **changes):
    """A SetAnswers of rows (prediction, outcome, log_probs, text)."""
    frame = pd.DataFrame(rows, columns=["prediction", "outcome", "log_probs", "text"])
    frame["prediction"] = frame["prediction"].astype(object).where(frame["prediction"].notna(), None)
    frame["case_id"] = [case.case_id for case in cases]
    frame["label"] = [case.label for case in cases]
    frame["prompt_hash"] = [f"p{number}" for number in range(len(cases))]
    frame["scorer"] = "generation" if frame["log_probs"].isna().any() else "choices"
    given = {
        **{"model": model, "model_id": f"local/{model}", "set_name": "test", "dataset": "synthetic test"},
        **{"hub_dataset": None, "case_set": case_set, "cases": cases, "predictions": frame},
        "figures": {"accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8},
        **{"score_names": {}, "confidence": 0.95},
    }
    return SetAnswers(**(given | changes))


def labelled_cases():
    return make_cases(
        ({"premise": text, "hypothesis": "Short."}, LABELS[at % 3], ["odd"] if at % 2 else [])
        for at, text in enumerate(TEXTS)
    )


def label_set(answer):
    ask = Ask(answer=answer, names=LABELS, choices=CHOICES, stop=["\n"])
    prompt = Prompt(template="{premise}\n{hypothesis}\nA sign says", choices=CHOICES)
    inputs = ["premise", "hypothesis"]
    return CaseSet(inputs=inputs, labels=LABELS, partial_input="hypothesis", prompt=prompt, ask=ask)


def scored(model, right):
    """Labels scored by likelihood: right where `right` says so, else the next label."""
    cases, rows = labelled_cases(), []
    for at, (case, one) in enumerate(zip(cases, right, strict=True)):
        taken = (LABELS.index(case.label) + (not one)) % 3
        rest = 0.05 + 0.01 * at
        log_probs = [math.log(1 - 2 * rest if label == taken else rest) for label in range(3)]
        rows.append((LABELS[taken], "right" if one else "wrong", log_probs, CHOICES[LABELS[taken]]))
    return set_answers(model, label_set("choices"), cases, rows)


def options(model, taken):
    """Multiple choice: the place of the option that was taken in each case; B is right."""
    cases = make_cases(({"question": text}, "B", [], (), ("a cat", "a dog", "a cat")) for text in TEXTS[: len(taken)])
    ask, prompt = Ask(answer="options", names=["A", "B", "C"]), Prompt(template="{question}\nAnswer:")
    case_set = CaseSet(inputs=["question"], labels=ask.names, partial_input="question", prompt=prompt, ask=ask)
    rows = []
    for place in taken:
        log_probs = [math.log(0.8 if at == place else 0.1) for at in range(3)]
        rows.append((ask.names[place], "right" if place == 1 else "wrong", log_probs, cases[0].options[place]))
    return set_answers(model, case_set, cases, rows)


def written(model, outcomes):
    """Labels written freely: right, wrong or invalid."""
    cases, rows = labelled_cases(), []
    for case, one in zip(cases, outcomes, strict=True):
        taken = None if one == "invalid" else LABELS[(LABELS.index(case.label) + (one == "wrong")) % 3]
        rows.append((taken, one, None, "I cannot say" if taken is None else f" {CHOICES[taken]}."))
    return set_answers(model, label_set("text"), cases, rows)


def questions(model, given):
    """Answers to questions, of which the last has none: (prediction, outcome) each."""
    gold = [[Answer("a red car", 0), Answer("the car", None)], [Answer("Rome", 3)], []]
    labels = ["answerable", "unanswerable"]
    cases = make_cases(
        ({"question": f"Question {at}?", "context": "Context."}, labels[not answers], [], answers)
        for at, answers in enumerate(gold)
    )
    ask, prompt = Ask(answer="text", stop=["\n"]), Prompt(template="{context} {question}")
    case_set = CaseSet(inputs=["question", "context"], labels=labels, partial_input="question", prompt=prompt, ask=ask)
    rows = [(prediction, outcome, None, prediction) for prediction, outcome in given]
    return set_answers(model, case_set, cases, rows, score_names={"f1": "token F1"}, figures={
        "accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8, "f1": 0.6})  # fmt: skip
