"""Data of the page's case explorer: the cases as JSON, limited to a number that browsers handle quickly.

    data = explorer_data(results)
    data["cases"][0]     # {"id": "3f...", "texts": ["A man ...", "He ..."], "label": "neutral", "before": None, ...}

Keys without a value are omitted. Margins, the lead of the gold label over the best other label, are in nats.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.data.cases import MODELS
from tunediff.report.drawing import WHEN
from tunediff.report.notation import decimal
from tunediff.report.results import Record, Results
from tunediff.report.tables import gold_log_prob, margin
from tunediff.runtime.files import visible
from tunediff.tasks.task import Task

MOST_CASES = 10_000
# Texts are truncated to this length, so that ten thousand long paragraphs fit; cases.jsonl has the full texts.
LONGEST = 2_000
# Number of characters before the answer in a truncated context.
BEFORE = 500
# Number of labels up to which there is a menu.
MOST_LABELS = 50
# Fields of the evidence that the page shows elsewhere.
SHOWN = {
    *("case_id", "transition", "label", "base_prediction", "tuned_prediction", "base_margin", "tuned_margin"),
    *("clauses", "explanation", "alone", "others", "base_f1", "tuned_f1", "base_answered", "tuned_answered"),
    *("base_score", "tuned_score", "score_name"),
}
# Fields of both models, which are named base_FIELD and tuned_FIELD.
OF_BOTH = {
    "calibrated_margin": "calibrated margin {}, nats",
    "parse": "answer parsed {}",
    "stable": "same answer at another batch size, {}",
    "text": "generated text {}",
    "words": "words in the answer {}",
    "repetition": "repeated sequences of four words {}",
    "other_script": "answer {} in another script",
    "in_sentence": "answer {} is in the sentence of the gold answer",
    "no_answer_odds": "log-odds of no answer {}, nats",
}
NAMES = {
    **{f"{who}_{key}": words.format(WHEN[who]) for key, words in OF_BOTH.items() for who in MODELS},
    "overlap": "share of its words that occur in the rest",
    "subsequence": "occurs verbatim in the rest",
    "negation": "negation",
    "nearest": "nearest training cases",
    "question_word": "question word",
    "answer_words": "words in the gold answer",
    "answer_overlap": "share of the question's words in the sentence with the answer",
    "position": "position of the answer in the context, 0 to 1",
}


# The sort criterion if the task has no score: its name, and the key of a record with its values before and after.
MARGIN = ("margin", "margins")


def chosen(transitions: Sequence[str] | pd.Series, most: int = MOST_CASES) -> npt.NDArray[np.int64]:
    """Return the indices of the cases that the page shows: all cases, or flips only if there are too many.

    Broken and repaired cases get half of the places each; either can use places that the other does not need.
    """
    if len(transitions) <= most:
        return np.arange(len(transitions))
    names = pd.Series(transitions)
    broken, repaired = (np.flatnonzero(names == flip) for flip in ("broken", "repaired"))
    kept = broken[: max(most // 2, most - len(repaired))]
    return np.sort(np.concatenate([kept, repaired[: most - len(kept)]]))


def explorer_data(results: Results) -> dict[str, Any]:
    """Return the data of the case explorer, JSON-ready.

    Args:
        results: results of the experiment.

    Returns:
        inputs: names of the inputs. labels: gold labels that occur, empty if there are too many for a menu. slices:
        names of the slices; cases refer to them by index. score, key: the sort criterion, margin or the task's first
        score, and its key in a case; empty if there is neither. total: number of test cases. cases: the fields of each
        case; a text may be a list of pieces, of which every second one is marked.
    """
    cases = [results.cases[at] for at in chosen([case["transition"] for case in results.cases]).tolist()]
    slices: dict[str, int] = {}
    records = [_record(case, results.task, slices) for case in cases]
    gold = sorted({record["label"] for record in records})
    scores = () if results.task.answers_are_labels else results.task.scores.items()
    key, score = next(iter(scores), MARGIN[::-1])
    if not any(key in record for record in records):
        key, score = "", ""
    return {
        "inputs": list(results.task.inputs),
        "labels": gold if len(gold) <= MOST_LABELS else [],
        "slices": list(slices),
        "score": score,
        "key": key,
        "total": int(results.diff_cases["n"]),
        "cases": records,
    }


def _record(case: Record, task: Task, slices: dict[str, int]) -> dict[str, Any]:
    names = case.get("slices") or [f"tag: {tag}" for tag in case["tags"]]
    record: dict[str, Any] = {
        "id": visible(case["case_id"]),
        "texts": [_text(case, name) for name in task.inputs],
        "label": shortened(case["label"]),
        "before": shortened(case["base_prediction"]),
        "after": shortened(case["tuned_prediction"]),
        "transition": TRANSITIONS.index(case["transition"]),
        "slices": [slices.setdefault(name, len(slices)) for name in dict.fromkeys(names)],
    }
    for name in task.shared_columns:
        record[name] = list(dict.fromkeys(map(shortened, task.gold_texts(case))))
    for stem in task.scores:
        record[stem] = [round(case[f"{who}_{stem}"], 4) for who in MODELS]
    if task.answers_are_labels:
        record |= _probabilities(case, task.labels)
    if case.get("explanation"):
        record["explanation"] = visible(str(case["explanation"]))
    if case.get("evidence"):
        record["evidence"] = _evidence(case["evidence"])
    return record


def _probabilities(case: Record, labels: Sequence[str]) -> dict[str, list[float]]:
    """The probability of the gold label and its margin, before and after, if known."""
    found = {}
    gold = [gold_log_prob(case, labels, who) for who in MODELS]
    if gold[0] is not None and gold[1] is not None:
        found["gold"] = [round(math.exp(gold[0]), 4), round(math.exp(gold[1]), 4)]
    margins = [margin(case, labels, who) for who in MODELS]
    if margins[0] is not None and margins[1] is not None:
        found["margins"] = [round(margins[0], 3), round(margins[1], 3)]
    return found


def _text(case: Record, name: str) -> str | list[str] | None:
    """An input for the page: text, or a context in pieces, of which every second one is a gold answer."""
    pieces = pieces_of(case[name], case["answers"]) if name == "context" and case.get("answers") else []
    return pieces if len(pieces) > 1 else shortened(case[name])


def pieces_of(context: str, answers: Sequence[Record]) -> list[str]:
    """Split a context at its gold answers (plain, answer, plain, ...), truncated to a part around the first answer.

    Args:
        context: visible text.
        answers: gold answers with text and start, which is None if the answer is not in the context.
    """
    marked: list[list[int]] = []
    for start, end in sorted(
        (one["start"], one["start"] + len(one["text"])) for one in answers if one["start"] is not None
    ):
        if marked and start <= marked[-1][1]:
            marked[-1][1] = max(marked[-1][1], end)
        elif end > start:
            marked.append([start, end])
    first = max(0, min(marked[0][0] - BEFORE, len(context) - LONGEST)) if marked and len(context) > LONGEST else 0
    last = min(len(context), first + LONGEST)
    places = [first, *(min(place, last) for span in marked for place in span if span[0] < last), last]
    pieces = [context[start:end] for start, end in pairwise(places)]
    pieces[0] = "…" * (first > 0) + pieces[0]
    pieces[-1] += "…" * (last < len(context))
    return pieces


def shortened(text: object) -> str | None:
    """Return text truncated for the page; None stays None."""
    if text is None:
        return None
    plain = visible(str(text))
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def _evidence(fields: Mapping[str, Any]) -> list[list[str]]:
    """The evidence as pairs of names and values for readers."""
    alone = fields.get("alone", "one input")
    names = {f"{who}_partial_input": f"answer from the {alone} alone, {when}" for who, when in WHEN.items()}
    return [
        [NAMES.get(key) or names.get(key) or visible(key.replace("_", " ")), _words(value)]
        for key, value in fields.items()
        if key not in SHOWN and value is not None
    ]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return decimal(value, 2)
    if isinstance(value, Mapping) and {"case_id", "label", "distance"} <= set(value):
        return visible(f"{value['label']} at distance {float(value['distance']):.2f} ({value['case_id']})")
    if isinstance(value, Mapping) and {"question", "answer", "distance"} <= set(value):
        answer = value["answer"] or "no answer"
        return visible(
            f"{value['question']} → {answer}, at distance {float(value['distance']):.2f} ({value['case_id']})"
        )
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "none"
    return visible(str(value))
